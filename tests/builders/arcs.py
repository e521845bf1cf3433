"""Arcs with known truth: a grism perturbed as real ones are, and a lamp that the list knows badly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from nightpipe.maths.lines import gaussian_shape
from nightpipe.maths.poly import Poly1
from nightpipe.model.disperser import Disperser
from nightpipe.model.frame import Frame
from nightpipe.model.references import LineList
from nightpipe.model.traces import Trace, TraceSet

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """An arc and what is true of it: Chebyshev `coef` of wavelength over the pixels of the reference row."""

    frame: Frame
    slit: TraceSet
    coef: F64

    def wave(self, x: F64) -> F64:
        return np.asarray(chebyshev.chebval(2 * x / (self.frame.shape[1] - 1) - 1, self.coef))


def arc(
    disperser: Disperser,
    lines: LineList,
    rng: np.random.Generator,
    *,
    n: int = 2052,
    ny: int = 21,
    shift: float = 150.0,
    stretch: float = 0.015,
    bend: float = 0.03,
    twist: float = 0.008,
    factor: float = 3.0,
    missing: float = 0.1,
    extra: float = 0.1,
    peak: float = 1e5,
    tilt: float = 0.0,
    curve: float = 0.0,
) -> Truth:
    """Return an arc of `disperser`: dispersion off by up to `stretch`, centre by `shift` pixels, bent and twisted.

    Intensities are wrong by up to `factor`, species mixed in unknown proportion, a share of lines `missing`, and lines
    that no list knows, as many as the share `extra` of those seen. `tilt` and `curve` [pixel] over half the slit.
    """
    half = 0.5 * (n - 1) * disperser.dispersion
    middle = disperser.centre + rng.uniform(-shift, shift) * disperser.dispersion
    power = np.array([middle, half * (1 + rng.uniform(-stretch, stretch)),
                      half * rng.uniform(-bend, bend), half * rng.uniform(-twist, twist)])  # fmt: skip
    coef = chebyshev.poly2cheb(power)
    wave, strength = _lamp(disperser, lines, rng, factor, missing, extra)
    pixels = np.arange(-0.05 * n, 1.05 * n, 0.25)
    scale = chebyshev.chebval(2 * pixels / (n - 1) - 1, coef)
    place = np.interp(wave, scale, pixels, left=-1e6, right=-1e6)
    seen = place > -5
    through = _throughput(wave[seen], disperser.range)
    return _frame(disperser, place[seen], strength[seen] * through, rng, (ny, n), peak, coef, (tilt, curve))


def _lamp(
    disperser: Disperser, lines: LineList, rng: np.random.Generator, factor: float, missing: float, extra: float
) -> tuple[F64, F64]:
    inside = (lines.wave > disperser.range[0] - 300) & (lines.wave < disperser.range[1] + 300)
    wave, species = lines.wave[inside], np.asarray(lines.species)[inside]
    strength = lines.intensity[inside].astype(float)
    for name in sorted(set(species)):
        strength[species == name] *= rng.uniform(0.3, 1.0) / strength[species == name].max()
    strength *= np.exp(rng.uniform(-np.log(factor), np.log(factor), len(wave)))
    keep = rng.uniform(size=len(wave)) > missing
    strong = np.sort(strength)[-60:]
    count = int(extra * len(strong))
    unknown = rng.uniform(disperser.range[0], disperser.range[1], count)
    return np.concatenate([wave[keep], unknown]), np.concatenate([strength[keep], rng.choice(strong, count)])


def _throughput(wave: F64, limits: tuple[float, float]) -> F64:
    middle, width = 0.5 * (limits[0] + limits[1]), 0.5 * (limits[1] - limits[0])
    return np.asarray(np.exp(-1.5 * ((wave - middle) / width) ** 4) * (np.abs(wave - middle) < 1.06 * width))


def _frame(
    disperser: Disperser,
    place: F64,
    strength: F64,
    rng: np.random.Generator,
    shape: tuple[int, int],
    peak: float,
    coef: F64,
    bending: tuple[float, float],
) -> Truth:
    ny, n = shape
    line = gaussian_shape(disperser.fwhm / disperser.dispersion, (0.0, n - 1.0))
    y = np.arange(ny) / max((ny - 1) / 2, 1) - 1
    offset = bending[0] * y + bending[1] * y**2
    image = np.zeros(shape)
    reach = int(5 * disperser.fwhm / disperser.dispersion) + 3
    for x, value in zip(place, strength, strict=True):
        at = np.arange(max(int(x) - reach, 0), min(int(x) + reach + 1, n))
        if len(at):
            image[:, at] += value * line(at[None, :] - x - offset[:, None], x)
    image = image * (peak / max(image.max(), 1e-30)) + 20.0
    data = rng.poisson(image) + rng.normal(0, 5, shape)
    frame = Frame(
        data.astype("f4"), (image + 25).astype("f4"), np.zeros(shape, dtype="u4"), "electron", disperser=disperser
    )
    return Truth(frame, whole_slit(shape), coef)


def whole_slit(shape: tuple[int, int]) -> TraceSet:
    ny, nx = shape
    edges = [Poly1(np.array([y]), (0.0, nx - 1.0)) for y in ((ny - 1) / 2, -0.5, ny - 0.5)]
    return TraceSet((Trace("slit", "slit", *edges),), measured=False)
