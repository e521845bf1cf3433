"""Where the slit lies: its edges from a flat, or the whole window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.poly import Poly1, fit1
from nightpipe.maths.robust import mad_std
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.frame import Frame
from nightpipe.model.traces import Trace, TraceSet

FloatArray = NDArray[np.float64]
COARSE = 0.25
"""The slit reaches as far as the level stays above this share of its plateau."""


class FindSlit(Step):
    """Find the slit's two edges on a lamp flat; dust that crosses the slit does not divide it."""

    fraction: float = parameter(0.5, "an edge lies where the light falls to this share of the level inside", gt=0, lt=1)
    blocks: int = parameter(16, "stretches of columns in which the edges are measured", ge=4, le=200)
    order: int = parameter(1, "order of the edges as polynomials of the column", ge=0, le=4)
    margin: int = parameter(3, "an edge nearer than this to the window's border is no edge", unit="pixel", ge=1)

    def run(self, flat: Frame) -> TraceSet:
        """Return one slit with edges to a fraction of a pixel; where the window holds no edge, its border.

        Raises
        ------
        BadFrameError
            The flat has no light.
        """
        columns = np.array_split(np.arange(flat.shape[1]), self.blocks)
        profiles = [_profile(flat, part) for part in columns]
        levels = np.array([np.percentile(profile, 75) for profile in profiles])
        noise = float(np.median(np.sqrt(np.maximum(flat.var, 0.0))))
        lit = (levels > 0.02 * levels.max()) & (levels > noise)
        if not lit.any() or levels.max() <= 0:
            raise BadFrameError("a flat with light", f"a level of {levels.max():.3g}", "another flat, or none")
        x = np.array([part.mean() for part in columns])[lit]
        found = [self._edges(profile) for profile, ok in zip(profiles, lit, strict=True) if ok]
        lower = self._edge(x, np.array([pair[0] for pair in found]), flat.shape[1])
        upper = self._edge(x, np.array([pair[1] for pair in found]), flat.shape[1])
        return _slit(flat.shape, lower, upper)

    def _edges(self, profile: FloatArray) -> tuple[float, float]:
        """Return both edges of one profile; NaN where there is none within the window."""
        above = np.flatnonzero(profile > COARSE * np.percentile(profile, 75))
        first, last, top = int(above[0]), int(above[-1]), len(profile) - 1
        lower = _crossing(profile, first, self.fraction) if first >= self.margin else np.nan
        upper = _crossing(profile[::-1], top - last, self.fraction) if top - last >= self.margin else np.nan
        return lower, top - upper

    def _edge(self, x: FloatArray, y: FloatArray, nx: int) -> Poly1 | None:
        """Return the edge as a polynomial, outliers rejected; None when fewer than half of the blocks show it."""
        seen = np.isfinite(y)
        if seen.sum() < max(0.5 * len(y), self.order + 2):
            return None
        for _ in range(5):
            fit = fit1(x[seen], y[seen], self.order, domain=(0.0, nx - 1.0))
            residual = np.abs(np.where(np.isfinite(y), y, np.inf) - fit(x))
            keep = residual < max(4.0 * float(mad_std(residual[seen])), 0.5)
            if np.array_equal(keep, seen) or keep.sum() < self.order + 2:
                break
            seen = keep
        return fit


class WholeSlit(Step):
    """Take the whole window as the slit, when there is no flat to find its edges on."""

    def run(self, frame: Frame) -> TraceSet:
        """Return one slit that fills the window."""
        return _slit(frame.shape, None, None)


def _profile(flat: Frame, columns: NDArray[np.intp]) -> FloatArray:
    """Return the light along the slit over a stretch of columns; single bad rows smoothed over."""
    from scipy.ndimage import median_filter

    part = slice(int(columns[0]), int(columns[-1]) + 1)
    bad = (flat.mask[:, part] & np.uint32(UNUSABLE)) != 0
    data = flat.data[:, part].astype(np.float64)
    count = np.maximum((~bad).sum(axis=1), 1)
    mean = np.where(bad, 0.0, data).sum(axis=1) / count
    line = np.where(bad.any(axis=1), mean, np.median(data, axis=1))
    return np.asarray(median_filter(line, 3, mode="nearest"))


def _crossing(profile: FloatArray, first: int, fraction: float) -> float:
    """Return where a profile that rises near row `first` crosses `fraction` of the level inside; NaN if gradual."""
    inside = profile[first + 4 : first + 20]
    outside = profile[max(first - 6, 0) : max(first - 2, 1)]
    if len(inside) < 4:
        return np.nan
    ground = float(np.min(outside))
    level = float(np.median(inside))
    if ground > 0.4 * level:
        return np.nan
    target = ground + fraction * (level - ground)
    rows = np.arange(max(first - 6, 0), min(first + 12, len(profile)))
    above = np.flatnonzero(profile[rows] > target)
    k = int(rows[above[0]]) if len(above) else 0
    if k == 0:
        return np.nan
    low, high = profile[k - 1], profile[k]
    return float(k - (high - target) / max(high - low, 1e-30))


def _slit(shape: tuple[int, int], lower: Poly1 | None, upper: Poly1 | None) -> TraceSet:
    ny, nx = shape
    domain = (0.0, nx - 1.0)
    low = lower or Poly1(np.array([-0.5]), domain)
    high = upper or Poly1(np.array([ny - 0.5]), domain)
    x = np.linspace(0.0, nx - 1.0, 20)
    centre = fit1(x, 0.5 * (low(x) + high(x)), max(len(low.coef), len(high.coef)) - 1, domain=domain)
    missing = [name for name, edge in (("lower", lower), ("upper", upper)) if edge is None]
    caveats: tuple[Caveat, ...] = ()
    if missing:
        caveats = (
            Caveat(
                "slit.edges", f"The {' and '.join(missing)} edge of the slit is not seen: the window's border is taken."
            ),
        )
    return TraceSet((Trace("slit", "slit", centre, low, high),), len(missing) < 2, caveats)
