"""Fits of the light's distribution along the slit: a B-spline around the trace, or a Moffat of changing width."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.profile import moffat, width_of
from nightpipe.maths.surface import Normal, Surface, normal_equations, solve_surface, tiny_penalty
from nightpipe.steps.spectra.collapse import Chunks, Residual, row_range
from nightpipe.steps.spectra.columnfit import ColumnRules, fit_columns, running_mean

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

RULES = ColumnRules(clip=8.0, profile_error=0.1, rounds=6, smooth=15)
"""First fluxes are taken with a rough profile: only gross outliers may go."""

BEST_MOFFAT = 200.0
"""Signal-to-noise ratio to which a Moffat can fit a star: weights of brighter pixels are lowered to it."""

WINGS = 2.5
"""How far beyond the radius of the fit a Moffat's wings are followed, as a multiple of it."""

WING_BETA = 3.0
"""Exponent of the wings that are attached to an empirical profile: cores are steeper than seeing's wings."""

SEAM = 0.4
"""Relative error of the wings' scale where it is only taken over from the reliable part.

With 1.0 the noise beyond the seam ruled: the reliable part ends where the noise went down, and wings went to zero."""


@dataclass(frozen=True)
class Shape:
    """A profile on the pixels: `values` (ny, nx), columns sum to one, and its `fwhm` (nx) [pixel]."""

    values: Array
    fwhm: Array


def normalised(values: Array, inside: Mask) -> Array:
    """Return the profile without negative values, each column summing to one within the slit (zero where none is)."""
    positive = np.where(inside, np.maximum(values, 0.0), 0.0)
    total = positive.sum(axis=0)
    return np.where(total > 0, positive / np.where(total > 0, total, 1.0), 0.0)


def moffat_shape(offset: Array, inside: Mask, fwhm: Array, beta: float, radius: float) -> Shape:
    """Return a Moffat profile around the trace, cut at `radius` [pixel]."""
    values = np.zeros(offset.shape)
    near = np.abs(offset) <= radius
    values[near] = moffat(offset[near], np.broadcast_to(fwhm, offset.shape)[near], beta)
    return Shape(normalised(values, inside), np.broadcast_to(fwhm, offset.shape[1:]).copy())


@dataclass(frozen=True)
class MoffatFit:
    """`shift` [pixel] from the trace, `fwhm` [pixel] at the middle, its `gradient` per half frame, and `beta`."""

    shift: float
    fwhm: float
    gradient: float
    beta: float

    def widths(self, nx: int) -> Array:
        """Return the FWHM in every column."""
        return self.fwhm * np.clip(1.0 + self.gradient * np.linspace(-1, 1, nx), 0.5, 2.0)


def fit_moffat(chunks: Chunks, centres: list[Array], fwhm: float, nx: int) -> MoffatFit:
    """Fit shift, width, its gradient and beta of the first source; the others share the shape, each its own amplitude.

    `centres` are the y of every source in each chunk. Amplitudes are solved for inside (variable projection, Golub &
    Pereyra 1973). Weak priors (width within a third of `fwhm`, beta near 3, gradient 0 +- 0.15) lead faint sources.
    """
    from scipy.optimize import least_squares

    rows = np.arange(chunks.value.shape[1], dtype=np.float64)
    v = 2.0 * chunks.x / (nx - 1) - 1.0
    reach = np.min([np.abs(rows[None, :] - c[:, None]) for c in centres], axis=0) <= 4.0 * fwhm
    near = reach.any(axis=0)
    rows, value = rows[near], chunks.value[:, near]
    root = np.where(np.isfinite(chunks.error) & reach, 1.0 / chunks.error, 0.0)[:, near]
    root = root / max(float(np.max(value * root, initial=0.0)) / BEST_MOFFAT, 1.0)

    def pulls(p: Array) -> Array:
        width = math.exp(p[1]) * fwhm * np.clip(1.0 + p[2] * v, 0.5, 2.0)
        shapes = [moffat(rows[None, :] - c[:, None] - p[0], width[:, None], math.exp(p[3])) for c in centres]
        rest = _projected(value * root, [shape * root for shape in shapes])
        prior = (p[0] / (0.2 * fwhm), p[1] / 0.3, p[2] / 0.15, (p[3] - math.log(3.0)) / 0.4)
        return np.concatenate([rest.ravel(), prior])

    limits = ([-0.5 * fwhm, -0.7, -0.6, math.log(1.2)], [0.5 * fwhm, 0.7, 0.6, math.log(12.0)])
    result = least_squares(pulls, [0.0, 0.0, 0.0, math.log(3.0)], bounds=limits, x_scale=[0.1 * fwhm, 0.1, 0.1, 0.3])
    shift, log_width, gradient, log_beta = (float(value) for value in result.x)
    return MoffatFit(shift, fwhm * math.exp(log_width), gradient, math.exp(log_beta))


def _projected(data: Array, shapes: list[Array]) -> Array:
    """Return the data of each chunk less its best combination of the shapes (all weighted)."""
    basis = np.stack(shapes, axis=-1)
    matrix = np.einsum("cym,cyn->cmn", basis, basis) + 1e-12 * np.eye(len(shapes))
    right = np.einsum("cym,cy->cm", basis, data)
    amplitude = np.linalg.solve(matrix, right[..., None])[..., 0]
    return np.asarray(data - np.einsum("cym,cm->cy", basis, amplitude))


def fit_empirical(
    light: Residual, offset: Array, start: Shape, fwhm: float, radius: float, order: int, clip: float
) -> Shape:
    """Fit the profile as a B-spline in the distance from the trace, its coefficients polynomials in x (Horne 1986).

    Fluxes and profile are improved in turn, which is least squares for their product. The order along x is raised while
    chi-square falls by more than chance would have it.
    """
    cut = row_range(start.values > 0)
    result = np.zeros(offset.shape)
    shape = Shape(start.values[cut], start.fwhm)
    result[cut], fwhms = _empirical(light.rows(cut), offset[cut], shape, fwhm, radius, order, clip)
    return Shape(result, fwhms)


def _empirical(
    light: Residual, offset: Array, start: Shape, fwhm: float, radius: float, order: int, clip: float
) -> tuple[Array, Array]:
    inside, whole = light.inside & (np.abs(offset) <= radius), light.inside & (start.values > 0)
    wings = np.where(start.values > 0, moffat(offset, start.fwhm[None, :], WING_BETA), 0.0)
    shape = start
    for _ in range(3):
        flux, kept = _fluxes(light, shape)
        surface = _surface(light, offset, shape, flux, kept & inside, fwhm, radius, order, clip)
        values = np.zeros(offset.shape)
        v = np.broadcast_to(np.linspace(-1, 1, offset.shape[1])[None, :], offset.shape)
        values[inside] = surface(offset[inside], v[inside])
        values = _with_wings(values, wings, offset, surface, fwhm, radius)
        shape = Shape(normalised(values, whole), start.fwhm)
    return shape.values, _widths(surface, radius, offset.shape[1])


def _with_wings(core: Array, wings: Array, offset: Array, surface: Surface, fwhm: float, radius: float) -> Array:
    """Return `core` where it is reliable, and beyond it the `wings` of a Moffat, scaled on each side.

    A few thousandths of a star's light lie where no single exposure shows them; cut off, they would be missing from
    every flux. The scale is that of the last FWHM inside, improved by what the surface still says beyond.
    """
    within = reliable_range(surface, fwhm, radius)
    values = np.where((offset >= within[0]) & (offset <= within[1]), core, 0.0)
    for end, sign in zip(within, (-1.0, 1.0), strict=True):
        seam = (sign * offset <= sign * end) & (sign * offset > sign * end - fwhm)
        scale = float(np.clip(core[seam].sum() / max(float(wings[seam].sum()), 1e-12), 0.3, 3.0))
        beyond = sign * offset > sign * end
        values[beyond] = _wing_scale(surface, end, sign * radius, fwhm, scale) * wings[beyond]
    return values


def _wing_scale(surface: Surface, end: float, radius: float, fwhm: float, scale: float) -> float:
    """Return the wings' scale: the seam's, known to `SEAM`, averaged with the surface's values further out."""
    places = np.arange(end, radius, math.copysign(0.8 * fwhm, radius))[1:]
    if places.size == 0:
        return scale
    value, template = surface(places, np.zeros(places.size)), moffat(places, fwhm, WING_BETA)
    weight = template / np.maximum(surface.covariance(places, 1)[:, 0, 0], 1e-30)
    prior = 1.0 / (SEAM * scale) ** 2
    return max(float((prior * scale + np.sum(weight * value)) / (prior + np.sum(weight * template))), 0.0)


def reliable_range(surface: Surface, fwhm: float, radius: float) -> tuple[float, float]:
    """Return between which distances from the trace the surface stands three sigma above zero.

    Beyond, noise would be cut at zero from below only, and the profile grow wings that the star does not have.
    """
    ends = []
    for sign in (-1.0, 1.0):
        places = sign * np.arange(0.8 * fwhm, radius + 0.25, 0.25)
        value = surface(places, np.zeros(len(places)))
        sigma = np.sqrt(np.maximum(surface.covariance(places, 1)[:, 0, 0], 0.0))
        weak = np.flatnonzero(value < 3.0 * sigma)
        ends.append(float(places[weak[0]]) if weak.size else sign * radius)
    return ends[0], ends[1]


def _fluxes(light: Residual, shape: Shape) -> tuple[Array, Mask]:
    """Return fluxes smoothed just enough to be significant, and the pixels kept while extracting them."""
    fit = fit_columns(light, shape.values[None], RULES)
    sigma = np.sqrt(np.maximum(fit.cov[:, 0, 0], 1e-30))
    ratio = float(np.median((fit.flux[0] / sigma)[fit.solved])) if fit.solved.any() else 0.0
    width = int(np.clip(math.ceil((10.0 / max(ratio, 0.5)) ** 2), 1, 41))
    rejected = light.ok & (shape.values > 0) & ~fit.ok
    return running_mean(np.where(fit.solved, fit.flux[0], np.nan), width), light.ok & ~rejected


def _surface(
    light: Residual, offset: Array, shape: Shape, flux: Array, where: Mask, fwhm: float, radius: float, order: int,
    clip: float,
) -> Surface:  # fmt: skip
    where = where & (flux > 0)[None, :]
    u = offset[where]
    v = np.broadcast_to(np.linspace(-1, 1, offset.shape[1])[None, :], offset.shape)[where]
    scale = np.broadcast_to(flux[None, :], offset.shape)[where]
    var = light.variance(flux[None, :] * shape.values)[where] / scale**2
    value = light.data[where] / scale
    keep = np.ones(len(u), dtype=bool)
    breaks = profile_breaks(u, fwhm, radius)
    for _ in range(4):
        surface = _by_order(u, v, value, keep / var, breaks, order)
        model = surface(u, v)
        fresh = np.abs(value - model) <= clip * np.sqrt(var + (0.05 * np.maximum(model, 0.0)) ** 2)
        if np.array_equal(fresh, keep):
            break
        keep = fresh
    return surface


def _by_order(u: Array, v: Array, value: Array, weight: Array, breaks: Array, order: int) -> Surface:
    """Return the fit of the lowest order that the next ones do not improve by more than chance would."""
    full = normal_equations(u, v, value, weight, breaks, order)
    total = float(np.sum(weight * value**2))
    best, last = _lowered(full, 0, total)
    added = len(breaks) + 2
    for n in range(1, order + 1):
        surface, chi2 = _lowered(full, n, total)
        if last - chi2 < added + 4.0 * math.sqrt(2.0 * added):
            break
        best, last = surface, chi2
    return best


def _lowered(full: Normal, order: int, total: float) -> tuple[Surface, float]:
    normal = full.lowered(order)
    surface = solve_surface(normal, tiny_penalty(normal, 1e-6), covariance=True)
    return surface, normal.chi2(surface.coef, total)


def profile_breaks(u: Array, fwhm: float, radius: float) -> Array:
    """Return knots that are close in the core and wide in the wings; never closer than the pixels' phases allow."""
    spread = abs(np.mean(np.exp(2j * np.pi * u)))
    core = max(fwhm / 5.0, 1.0 if spread > 0.5 else 0.7)
    middle, outer = max(0.4 * fwhm, core), max(0.8 * fwhm, core)
    places = [0.0]
    while places[-1] < radius:
        step = core if places[-1] < 1.3 * fwhm else middle if places[-1] < 2.5 * fwhm else outer
        places.append(places[-1] + step)
    half = np.array(places[1:])
    phase = float(np.angle(np.mean(np.exp(2j * np.pi * u))) / (2 * np.pi)) if spread > 0.5 else 0.0
    return np.concatenate([-half[::-1], [0.0], half]) + phase


def _widths(surface: Surface, radius: float, nx: int) -> Array:
    """Return the FWHM of the surface in every column, from a few columns and interpolated."""
    places = np.arange(-radius, radius + 0.05, 0.1)
    nodes = np.linspace(-1, 1, 17)
    widths = [width_of(np.maximum(surface(places, np.full(len(places), v)), 0.0), places) for v in nodes]
    return np.interp(np.linspace(-1, 1, nx), nodes, widths)
