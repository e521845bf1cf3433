"""The iterated fit of the sky of one slit: robust start, rejection, knots and orders where the data ask for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError
from nightpipe.maths.photons import NoiseLaw
from nightpipe.maths.surface import Normal, Surface, normal_equations, solve_surface, tiny_penalty
from nightpipe.steps.spectra.slitgrid import SlitGrid

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

STIFF = 1e7
"""Penalty, in units of the data's weight, on terms along the slit that have shown no significance: they then vary over
about 50 knots. A global order for all would cost noise in the continuum for what only the lines need."""

MISFIT = 4.0
"""Standard deviations of chi-square above its mean at which an interval counts as badly fitted."""

LEAST = 40
"""Pixels without which no sky can be fitted."""


@dataclass(frozen=True)
class SkyRules:
    """How to fit: `order` along the slit, knot `spacing` [pixel], its `splits`, `clip` [sigma], rounds."""

    order: int
    spacing: float
    splits: int
    clip: float
    iterations: int
    significance: float


@dataclass(frozen=True)
class SkyPixels:
    """The pixels of one slit that may show sky, as flat arrays, column after column; `start` is a first guess.

    In that order neighbours in the arrays share knots, and the sums over them stay in the processor's nearest memory.
    """

    u: Array
    v: Array
    counts: Array
    start: Array
    floor: Array
    slope: Array
    flat: Array

    def sigma(self, sky: Array) -> Array:
        """Return the error of the counts where the sky is as given."""
        return np.sqrt(self.floor + np.maximum(sky, 0.0) * (self.slope + self.flat * sky))


@dataclass(frozen=True)
class SkyFit:
    """The surface of the sky and which of the pixels (flat) made it; `sky` on them; `chi` is their scatter in sigma.

    `normal` holds the equations of the pixels used, `sigma` the errors that weighted them.
    """

    surface: Surface
    used: Mask
    sky: Array
    normal: Normal
    sigma: Array
    chi: float = 1.0


def sky_pixels(data: Array, law: NoiseLaw, grid: SlitGrid, where: Mask, start: Array) -> SkyPixels:
    """Collect the pixels `where` sky is seen; `start` (ny, nx) is a first guess. Raises BadFrameError if too few."""
    if int(where.sum()) < LEAST:
        raise BadFrameError("pixels of sky in the slit", f"{int(where.sum())}", "check slit edges, mask and objects")
    parts = (grid.u, grid.v, data, start, law.floor, law.slope, law.flat)
    return SkyPixels(*(np.broadcast_to(part, data.shape).T[where.T] for part in parts))


def column_medians(data: Array, where: Mask) -> Array:
    """Return the median of each column over the pixels `where`, bridged where a column has none; error without any."""
    ordered = np.sort(np.where(where, data, np.inf), axis=0)
    count = where.sum(axis=0)
    columns = np.arange(data.shape[1])
    low = ordered[np.maximum(count - 1, 0) // 2, columns]
    high = ordered[np.minimum(count // 2, len(data) - 1), columns]
    known = count > 0
    if not known.any():
        raise BadFrameError("pixels of sky in the slit", "none", "check slit edges and mask")
    with np.errstate(invalid="ignore"):
        middle = 0.5 * (low + high)
    return np.interp(columns, columns[known], middle[known])


def fit_sky(pixels: SkyPixels, rules: SkyRules) -> SkyFit:
    """Fit the sky with evenly spaced knots, then with knots halved where that is needed; without its covariance."""
    breaks = first_breaks(pixels.u, rules.spacing)
    interval = _intervals(pixels.u, breaks)
    everything = np.ones(len(pixels.u), dtype=bool)
    used = agreeing(pixels.counts - pixels.start, pixels.sigma(pixels.start), everything, interval, rules.clip + 1.5)
    fit = _settle(pixels, breaks, interval, used, pixels.start, rules)
    for _ in range(rules.splits):
        split = badly_fitted(pixels, fit, interval)
        if not split.any():
            break
        middle = 0.5 * (breaks[1:] + breaks[:-1])
        interval = interval + (np.cumsum(split) - split)[interval] + (split[interval] & (pixels.u >= middle[interval]))
        breaks = np.sort(np.concatenate([breaks, middle[split]]))
        fit = _settle(pixels, breaks, interval, fit.used, fit.sky, rules)
    return fit


def first_breaks(u: Array, spacing: float) -> Array:
    """Return evenly spaced breaks that start on a pixel centre.

    Where lines are not tilted the pixels sample u at one phase only; knots half-way between them would leave the
    highest frequency undetermined.
    """
    phase = np.angle(np.mean(np.exp(2j * np.pi * u[:: max(len(u) // 20000, 1)]))) / (2 * np.pi)
    low, high = u.min(), u.max()
    first = np.floor(low - phase) + phase
    return np.asarray(first + spacing * np.arange(int(np.ceil((high - first) / spacing)) + 1))


def _intervals(u: Array, breaks: Array) -> NDArray[np.intp]:
    """Return the interval of each `u` among evenly spaced breaks."""
    cell = ((u - breaks[0]) / (breaks[1] - breaks[0])).astype(np.intp)
    return np.asarray(np.clip(cell, 0, len(breaks) - 2))


def _settle(
    pixels: SkyPixels, breaks: Array, interval: NDArray[np.intp], used: Mask, sky: Array, rules: SkyRules
) -> SkyFit:
    """Iterate fit and rejection until the same pixels stay; `sky` is the model that gives the weights.

    The weights are kept meanwhile, so that each round reads only the pixels that were taken or rejected since the last.
    """
    sigma = pixels.sigma(sky)
    normal = normal_equations(pixels.u, pixels.v, pixels.counts, used / sigma**2, breaks, rules.order)
    for _ in range(rules.iterations):
        surface = solve_surface(normal, freedom(normal, rules.significance))
        sky = surface(pixels.u, pixels.v)
        fresh = agreeing(pixels.counts - sky, pixels.sigma(sky), used, interval, rules.clip)
        taken, rejected = (
            _normal_of(pixels, ours & ~theirs, normal, sigma) for ours, theirs in ((fresh, used), (used, fresh))
        )
        normal, changed, used = normal.plus(taken, rejected), int(np.sum(fresh != used)), fresh
        if changed <= 3e-4 * len(used):
            break
    return SkyFit(surface, used, sky, normal, sigma)


def _normal_of(pixels: SkyPixels, few: Mask, like: Normal, sigma: Array) -> Normal:
    """Return the normal equations of a few of the pixels, with the breaks and order of others."""
    at = np.flatnonzero(few)
    return normal_equations(
        pixels.u[at], pixels.v[at], pixels.counts[at], 1.0 / sigma[at] ** 2, like.breaks, like.q - 1
    )


def freedom(normal: Normal, significance: float) -> Array:
    """Return the penalty (n + 3, q): nearly none along the dispersion, stiff for idle terms along the slit.

    A stiff fit is made first; where a coefficient pulls at it by more than `significance` sigma (the score test: the
    gradient of chi-square over the root of its variance) it and its neighbours are set free.
    """
    strength = tiny_penalty(normal)
    if normal.q == 1:
        return strength
    level = float(np.median(normal.diagonal[:, 0]))
    strength[:, 1:] = STIFF * max(level, 1e-30)
    pull = np.abs(normal.gradient(solve_surface(normal, strength).coef))
    free = pull > significance * np.sqrt(np.maximum(normal.diagonal, 1e-30))
    free[:, 0] = False
    wide = free.copy()
    for step in (1, 2):
        wide[step:] |= free[:-step]
        wide[:-step] |= free[step:]
    return np.where(wide, tiny_penalty(normal), strength)


def agreeing(residual: Array, sigma: Array, used: Mask, interval: NDArray[np.intp], clip: float) -> Mask:
    """Return the pixels within `clip` sigma of the sky, where sigma widens if a whole stretch of columns scatters more.

    The noise comes from the model and never shrinks with the rejection, so the rejected share of good pixels is the
    Gaussian one; the widening keeps a bright line whose shape is not met from being thrown out as a whole.
    """
    pull = np.abs(residual) / sigma
    return pull <= clip * local_scale(pull, used, interval)[interval]


def local_scale(pull: Array, used: Mask, interval: NDArray[np.intp]) -> Array:
    """Return the robust scatter of |residual| / sigma in every interval, one at least.

    It is taken from the 68th percentile, found in a histogram: exact enough, and fast.
    """
    cells, top = 64, 16.0
    cell = np.minimum((pull * (cells / top)).astype(np.intp), cells - 1) + interval * cells
    n = int(interval.max()) + 1
    table = np.bincount(cell[used], minlength=n * cells).reshape(n, cells)
    count = np.maximum(table.sum(axis=1), 1)
    share = np.cumsum(table, axis=1) / count[:, None]
    scale = (np.argmax(share >= 0.6827, axis=1) + 1) * (top / cells)
    return np.where(scale > 1.25 + 3.6 / np.sqrt(count), scale, 1.0)


def badly_fitted(pixels: SkyPixels, fit: SkyFit, interval: NDArray[np.intp]) -> Mask:
    """Return the intervals to halve: those where residuals hang together and both halves hold pixels enough.

    The residuals are averaged in quarters of each interval: a smooth misfit adds up there long before it shows in the
    chi-square of the pixels.
    """
    breaks = fit.surface.breaks
    n = len(breaks) - 1
    pull = (pixels.counts - fit.sky) / fit.sigma * fit.used
    within = (pixels.u - breaks[interval]) * (4.0 / np.diff(breaks))[interval]
    place = 4 * interval + np.clip(within.astype(np.intp), 0, 3)
    count = np.bincount(place[fit.used], minlength=4 * n)
    total = np.bincount(place, weights=pull, minlength=4 * n)
    square = (total**2 / np.maximum(count, 1)).reshape(n, 4).sum(axis=1)
    cells = np.maximum((count > 0).reshape(n, 4).sum(axis=1), 1)
    bad = square > cells + MISFIT * np.sqrt(2.0 * cells)
    bad[1:] |= bad[:-1].copy()
    bad[:-1] |= bad[1:].copy()
    halves = count.reshape(n, 2, 2).sum(axis=2).min(axis=1)
    supported = halves >= np.maximum(8, 4 * fit.surface.coef.shape[1])
    return np.asarray(bad & supported)


def finished(pixels: SkyPixels, fit: SkyFit, rules: SkyRules) -> SkyFit:
    """Solve once more, for the pixels that were used at last and with the covariance, and measure their scatter."""
    surface = solve_surface(fit.normal, freedom(fit.normal, rules.significance), covariance=True)
    sky = surface(pixels.u, pixels.v)
    pull = ((pixels.counts - sky) / pixels.sigma(sky))[fit.used]
    dof = max(len(pull) - len(surface.breaks) - 2, 1)
    return replace(fit, surface=surface, sky=sky, chi=float(np.sqrt(np.sum(pull**2) / dof)))
