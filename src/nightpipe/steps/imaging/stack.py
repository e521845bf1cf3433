"""Images of one field into one: resampled once, clipped, weighted, with what is known of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.stacking import Rules, Stacked, empty, stack_tile
from nightpipe.kernels.threads import each_strip
from nightpipe.kernels.warp import Nodes, Source, table, tiles, warp_window
from nightpipe.maths.covariance import resampled_covariance
from nightpipe.maths.warpmap import coarse
from nightpipe.model.exposure import Exposure
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.frame import Frame
from nightpipe.model.sources import ZeroPoint
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Astrometry, Wcs
from nightpipe.steps.detector.fit import name_of
from nightpipe.steps.imaging.grid import Grid, common_grid, mapping

FloatArray = NDArray[np.float64]
Window = tuple[slice, slice]
LAGS = 6
"""Kernels of pixels farther apart share no pixel of the input."""
HALO = 2
"""Clipping looks at neighbours, and at theirs."""


class _Piece(NamedTuple):
    """One frame as the stack needs it: `scale` makes counts electron/s at the reference zero point."""

    frame: Frame
    wcs: Wcs
    scale: float
    zp: float
    seeing: float
    nodes: Nodes
    covariance: FloatArray
    sky_var: float


class StackImages(Step):
    """Stack sky-subtracted images of one field on one grid of the sky: Lanczos resampling, clipping, weights."""

    weight: Literal["point", "surface", "none"] = parameter("point", "best for point sources, for surfaces, or equal")
    clip: float = parameter(5.0, "reject values this far from the median; 0: keep all", unit="sigma", ge=0)
    slack: float = parameter(0.15, "share of a source's light by which frames may differ beyond the noise", ge=0, le=1)
    scale: float = parameter(0.0, "pixel scale of the stack; 0: that of the frames", unit="arcsec", ge=0)
    extent: Literal["union", "common", "first"] = parameter("union", "what any frame sees, all frames, or the first")
    turned: bool = parameter(False, "keep the first frame's orientation instead of north up")
    area: Literal["local", "fixed"] = parameter(
        "local", "conserve each frame's counts; fixed: surface brightness, where flats hold the pixels' areas"
    )
    worst_seeing: float = parameter(1.8, "leave out frames with worse seeing, times the median", gt=1)
    least_scale: float = parameter(0.2, "leave out frames with less of the light of the clearest", ge=0, lt=1)
    least_matches: int = parameter(4, "leave out frames whose solution rests on fewer stars", ge=0)
    precision: float = parameter(1e-3, "largest error of the interpolated plate solution", unit="pixel", gt=0)

    def run(
        self,
        frames: Sequence[Frame],
        astrometry: Sequence[Astrometry],
        zeropoints: Sequence[ZeroPoint | None] | None = None,
        seeing: Sequence[float] | None = None,
        grid: Grid | None = None,
    ) -> Stack:
        """Return the stack of `frames` [electron], sky subtracted, each with its plate solution.

        `zeropoints` bring frames to the scale of the clearest one (without: exposure times alone), `seeing` are their
        FWHM [arcsec]; `grid` is that of another stack, to put several bands on one. Weights are one number a frame:
        per-pixel ones would follow the noise of the data and bias bright stars low. For point sources that number is
        1 / (variance of the sky times FWHM squared), at one flux scale (Fischer & Kochanski 1994, AJ 107, 802). Only
        windows of the frames' arrays are read, so these may lie in files.

        Raises
        ------
        BadFrameError
            No frame is left, units are not electrons, or the frames are of different fields.
        """
        _check(frames, astrometry, zeropoints, seeing)
        kept, left = self._chosen(frames, astrometry, zeropoints, seeing)
        known = [astrometry[k].wcs for k in kept]
        target = grid or common_grid(
            known, [frames[k].shape for k in kept], scale=self.scale, extent=self.extent, turned=self.turned
        )
        zps = [float("nan") if zeropoints is None or (z := zeropoints[k]) is None else z.zp for k in kept]
        reference = float(np.nanmax(zps)) if np.isfinite(zps).any() else float("nan")
        sizes = [float("nan") if seeing is None else float(seeing[k]) for k in kept]
        pieces = [
            self._piece(frames[k], wcs, zp, reference, size, target)
            for k, wcs, zp, size in zip(kept, known, zps, sizes, strict=True)
        ]
        rules = self._rules(pieces, target)
        result = _stacked(pieces, rules, target, self._stretches(pieces, target), local=self.area == "local")
        caveats = merged(*(p.frame.caveats for p in pieces), *(astrometry[k].caveats for k in kept), _warnings(pieces))
        return _described(result, pieces, rules, target, reference, left, caveats)

    def _chosen(
        self,
        frames: Sequence[Frame],
        astrometry: Sequence[Astrometry],
        zeropoints: Sequence[ZeroPoint | None] | None,
        seeing: Sequence[float] | None,
    ) -> tuple[list[int], tuple[tuple[str, str], ...]]:
        """Return which frames go in, and which do not and why."""
        zps = np.array([np.nan if z is None else z.zp for z in zeropoints or [None] * len(frames)])
        size = np.array([np.nan] * len(frames) if seeing is None else seeing, np.float64)
        clear = 10 ** (0.4 * (zps - (np.nanmax(zps) if np.isfinite(zps).any() else 0.0)))
        usual = float(np.nanmedian(size)) if np.isfinite(size).any() else float("nan")
        kept, left = [], []
        for k, frame in enumerate(frames):
            why = ""
            if astrometry[k].matches < self.least_matches:
                why = f"its plate solution rests on {astrometry[k].matches} stars, fewer than {self.least_matches}"
            elif clear[k] < self.least_scale:
                why = f"cloud: {clear[k]:.0%} of the light of the clearest frame, less than {self.least_scale:.0%}"
            elif size[k] > self.worst_seeing * usual:
                why = f"seeing {size[k]:.2f} arcsec, more than {self.worst_seeing:g} times the median {usual:.2f}"
            elif zeropoints is not None and np.isnan(zps[k]) and np.isfinite(zps).any():
                why = "it has no zero point, others have: its scale is not known"
            if why:
                left.append((name_of(frame), why))
            else:
                kept.append(k)
        if not kept:
            told = "; ".join(f"{name}: {why}" for name, why in left)
            raise BadFrameError("frames good enough to stack", told, "relax the limits of StackImages")
        return kept, tuple(left)

    def _piece(self, frame: Frame, wcs: Wcs, zp: float, reference: float, seeing: float, grid: Grid) -> _Piece:
        exptime = frame.exposure.exptime if frame.exposure else 0.0
        if exptime <= 0:
            raise BadFrameError("exposure times to scale by", f"{exptime} s for {name_of(frame)}", "mend the header")
        forward = mapping(grid.wcs, wcs)
        nodes = coarse(forward, grid.shape, tolerance=self.precision)
        factor = 10 ** (0.4 * (reference - zp)) if np.isfinite(zp) else 1.0
        covariance = resampled_covariance(forward, _samples(wcs, frame.shape, grid), LAGS, _stretch(wcs, grid))
        return _Piece(frame, wcs, factor / exptime, zp, seeing, nodes, covariance, _sky_variance(frame))

    def _rules(self, pieces: Sequence[_Piece], grid: Grid) -> Rules:
        unit = np.array([p.scale * self._area(p, grid) for p in pieces])
        sky = np.array([p.sky_var for p in pieces]) * unit**2
        mean = np.array([p.covariance[LAGS, LAGS] for p in pieces])
        size = np.array([p.seeing for p in pieces])
        usual = float(np.nanmedian(size)) if np.isfinite(size).any() else 1.0
        size = np.where(np.isfinite(size), size, usual)
        weight: FloatArray = {"point": 1 / (sky * size**2), "surface": 1 / sky, "none": np.ones(len(sky))}[self.weight]
        sharper = np.abs((usual / size) ** 2 - 1)  # how much the peak of a star differs from the usual one
        return Rules(weight / weight.sum(), sky * mean, unit * mean, self.slack + sharper, self.clip)

    def _area(self, piece: _Piece, grid: Grid) -> float:
        return (grid.wcs.scale / piece.wcs.scale) ** 2

    def _stretches(self, pieces: Sequence[_Piece], grid: Grid) -> list[float]:
        return [_stretch(piece.wcs, grid) for piece in pieces]


def _check(
    frames: Sequence[Frame],
    astrometry: Sequence[Astrometry],
    zeropoints: Sequence[ZeroPoint | None] | None,
    seeing: Sequence[float] | None,
) -> None:
    if not frames or any(len(given) != len(frames) for given in (astrometry, zeropoints, seeing) if given is not None):
        found = f"{len(frames)} frames, {len(astrometry)} solutions"
        raise BadFrameError("frames to stack, each with a plate solution, zero point and seeing", found, "add frames")
    units = {frame.unit for frame in frames}
    if units != {"electron"}:
        raise BadFrameError("frames in electrons", str(sorted(units)), "apply the gain before stacking")


def _stretch(wcs: Wcs, grid: Grid) -> float:
    """Return how much wider than a pixel of the frame the kernel must be, so that nothing is aliased."""
    ratio = grid.wcs.scale / wcs.scale
    return ratio if ratio > 1.05 else 1.0


def _samples(wcs: Wcs, shape: tuple[int, int], grid: Grid, count: int = 12) -> FloatArray:
    """Return whole pixels of the grid all over a frame, with no period in common with it."""
    ny, nx = shape
    t = np.mod(np.arange(count * count) * 0.6180339887, 1.0), (np.arange(count * count) + 0.5) / count**2
    x, y = grid.wcs.to_pixel(*wcs.to_sky(t[0] * (nx - 1), t[1] * (ny - 1)))
    return np.asarray(np.round(np.stack([x, y], axis=1)), np.float64)


def _sky_variance(frame: Frame) -> float:
    """Return the median variance of the good pixels, from 64 rows."""
    ny = frame.data.shape[0]
    rows = np.unique(np.linspace(0, ny - 1, 64).astype(int))
    parts = []
    for row in rows:
        good = (np.asarray(frame.mask[row]) & np.uint32(UNUSABLE)) == 0
        parts.append(np.asarray(frame.var[row], float)[good])
    var = np.concatenate(parts)
    var = var[var > 0]
    if not var.size:
        raise BadFrameError("good pixels with a variance", "none", f"leave out {name_of(frame)}")
    return float(np.median(var))


def _stacked(pieces: Sequence[_Piece], rules: Rules, grid: Grid, stretches: list[float], *, local: bool) -> Stacked:
    """Return the whole stack, tile by tile; threads share the tiles out."""
    ny, nx = grid.shape
    result = empty(ny, nx)
    taps = {stretch: table(stretch) for stretch in set(stretches)}
    sources = [Source(p.frame.data, p.frame.var, p.frame.mask, int(UNUSABLE)) for p in pieces]
    units = [p.scale if local else p.scale * (grid.wcs.scale / p.wcs.scale) ** 2 for p in pieces]
    parts = tiles(grid.shape)

    def work(start: int, stop: int) -> None:
        for y0, y1, x0, x1 in parts[start:stop]:
            window = (max(y0 - HALO, 0), min(y1 + HALO, ny), max(x0 - HALO, 0), min(x1 + HALO, nx))
            size = (len(pieces), window[1] - window[0], window[3] - window[2])
            value, var = np.empty(size, np.float32), np.empty(size, np.float32)
            bits = np.empty(size, np.uint32)
            for k, (source, piece, stretch) in enumerate(zip(sources, pieces, stretches, strict=True)):
                warped = warp_window(source, piece.nodes, window, taps[stretch], local=local)
                np.multiply(warped.value, np.float32(units[k]), out=value[k])
                np.multiply(warped.var, np.float32(units[k] ** 2), out=var[k])
                bits[k] = warped.bits
            tile = stack_tile(value, var, bits, rules)
            inner = (slice(y0 - window[0], y1 - window[0]), slice(x0 - window[2], x1 - window[2]))
            _place(result, tile, (slice(y0, y1), slice(x0, x1)), inner)

    each_strip(work, len(parts), 1)
    return result


def _place(whole: Stacked, tile: Stacked, outer: Window, inner: Window) -> None:
    images: list[tuple[NDArray[Any], NDArray[Any]]] = list(zip(whole, tile, strict=True))
    for image, part in images:
        image[outer] = part[inner]


def _described(
    result: Stacked,
    pieces: Sequence[_Piece],
    rules: Rules,
    grid: Grid,
    zp: float,
    left: tuple[tuple[str, str], ...],
    caveats: tuple[Caveat, ...],
) -> Stack:
    shares = rules.weight**2 * rules.base / [p.covariance[LAGS, LAGS] for p in pieces]
    total = np.einsum("k,kji->ji", shares, np.array([p.covariance for p in pieces]))
    correlation = total / total[LAGS, LAGS]
    first = pieces[0].frame
    return Stack(
        data=result.value, var=result.var, mask=result.bits, weight=result.weight, count=result.number, wcs=grid.wcs,
        exptime=float(sum(p.frame.exposure.exptime for p in pieces if p.frame.exposure)), zp=zp,
        correlation=correlation, covariance=float(correlation.sum()), frames=tuple(name_of(p.frame) for p in pieces),
        left_out=left, exposure=_mid_exposure(pieces), header=first.header | {"NCOMBINE": len(pieces)}, caveats=caveats,
    )  # fmt: skip


def _mid_exposure(pieces: Sequence[_Piece]) -> Exposure | None:
    """Return the first exposure's facts, at the mean time of all and with their exposure time together."""
    known = [p.frame.exposure for p in pieces if p.frame.exposure is not None]
    if not known:
        return None
    time = float(np.mean([exposure.mjd for exposure in known]))
    return replace(known[0], mjd=time, exptime=float(sum(exposure.exptime for exposure in known)))


def _warnings(pieces: Sequence[_Piece]) -> tuple[Caveat, ...]:
    told = []
    if len(pieces) < 3:
        text = f"a stack of {len(pieces)}: cosmic rays are rejected by comparison only from three frames on"
        told.append(Caveat("stack.few", text))
    if not np.isfinite([p.zp for p in pieces]).any():
        told.append(Caveat("stack.scale", "frames were scaled by exposure time alone: none has a zero point"))
    return tuple(told)
