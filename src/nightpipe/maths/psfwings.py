"""The light of a PSF far from its middle: its profile to infinity, what it sums to, and the curve of growth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels import psf as kernels
from nightpipe.kernels.psf import Grid, terms_of
from nightpipe.maths.psfgrid import Builder, offsets, stamps
from nightpipe.maths.robust import MAD_TO_SIGMA

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Wings:
    """The PSF's mean radial profile: `value` [share of the light per pixel] at `radius` [pixel], then a power law.

    `steep` is the exponent beyond the last radius, `level` the light that was found in every annulus however bright
    the star: the background's error.
    """

    radius: FloatArray
    value: FloatArray
    steep: float
    level: float

    def at(self, r: FloatArray) -> FloatArray:
        """Return the profile at radii `r` [pixel]."""
        inside = np.exp(np.interp(np.log(np.maximum(r, 1e-3)), np.log(self.radius), np.log(self.value)))
        outside = self.value[-1] * np.power(np.maximum(r, 1e-3) / self.radius[-1], -self.steep)
        return np.asarray(np.where(r > self.radius[-1], outside, inside))

    def beyond(self, r: float) -> float:
        """Return the share of the light farther out than `r` [pixel]."""
        fine = np.geomspace(r, max(50 * r, 2 * self.radius[-1]), 400)
        near = float(np.trapezoid(2 * np.pi * fine * self.at(fine), fine))
        end = fine[-1]
        return near + 2 * np.pi * float(self.at(np.array([end]))[0]) * end**2 / (self.steep - 2)


def measure_wings(build: Builder, reach: float) -> Wings:
    """Return the mean profile from 1.2 FWHM to `reach` [pixel] of the brightest stars.

    In each annulus the clipped mean light of a star is proportional to its flux, plus a level that all stars share: so
    an error of the background is not taken for wings.
    """
    edges = np.geomspace(1.2 * build.fwhm, reach, 12)
    order = np.argsort(-build.stars[:, 0])[:80]
    stars = build.stars[order]
    rows, columns, star = stamps(stars, int(np.ceil(reach)), build.sky.data.shape)
    r = np.hypot(columns - stars[star, 1], rows - stars[star, 2])
    good = ~build.sky.bad[rows, columns] & (r > edges[0]) & (r < reach)
    ring = np.searchsorted(edges, r) - 1
    value = _without_others(build, order, rows, columns, star)
    mean, error = _ring_means(value[good], star[good], ring[good], len(stars), len(edges) - 1)
    noise = float(np.sqrt(np.median(build.sky.var[::31, ::31])))
    level = _common_level(mean[:, -3:], error[:, -3:], stars[:, 0], 0.03 * noise)
    share, share_error = _per_flux(mean - level, error, stars[:, 0])
    middle = np.sqrt(edges[1:] * edges[:-1])
    return _profile(middle, share, share_error, level, build.fwhm)


def _without_others(
    build: Builder, order: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64],
    star: NDArray[np.int64],
) -> FloatArray:  # fmt: skip
    """Return the pixels' light with all modelled stars but their own removed: the residual plus the own model."""
    rest = build.fit(1)
    image = np.zeros_like(rest)
    own = np.zeros(len(rows))
    starts = np.searchsorted(star, np.arange(len(order) + 1))
    for n, which in enumerate(order):
        part = slice(starts[n], starts[n + 1])
        kernels.add(image, build.grid, build.stars[which : which + 1], np.array([build.grid.reach]), 1.0)
        own[part] = image[rows[part], columns[part]]
        image[rows[part], columns[part]] = 0
    return np.asarray(rest[rows, columns] + own, np.float64)


def _ring_means(
    value: FloatArray, star: NDArray[np.int64], ring: NDArray[np.int64], n: int, rings: int
) -> tuple[FloatArray, FloatArray]:
    """Return the clipped mean and its error of each star's annuli, (n, rings); inf errors where too little is left."""
    mean, error = np.zeros((n, rings)), np.full((n, rings), np.inf)
    cell = star * rings + ring
    order = np.argsort(cell, kind="stable")
    cells, starts = np.unique(cell[order], return_index=True)
    for where, part in zip(cells, np.split(value[order], starts[1:]), strict=True):
        if len(part) < 12:
            continue
        middle = np.median(part)
        sigma = MAD_TO_SIGMA * np.median(np.abs(part - middle))
        kept = part[np.abs(part - middle) <= 3 * sigma]
        if len(kept) > 8 and sigma > 0:
            mean[where // rings, where % rings] = kept.mean()
            error[where // rings, where % rings] = sigma / np.sqrt(len(kept))
    return mean, error


def _per_flux(mean: FloatArray, error: FloatArray, flux: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the annuli's light as a share of the flux, and its error: weighted means over the stars, outliers out."""
    share, var = mean / flux[:, None], np.square(error / flux[:, None])
    known = np.isfinite(var)
    middle = np.array([np.median(s[k]) if k.any() else 0.0 for s, k in zip(share.T, known.T, strict=True)])
    var = var + np.square(0.1 * middle)  # stars differ: none may weigh more than its likeness allows
    good = known & (np.square(share - middle) < 16 * var)
    weight = np.where(good, 1 / np.where(known, var, 1), 0.0)
    total = np.maximum(weight.sum(axis=0), 1e-30)
    return (weight * share).sum(axis=0) / total, 1 / np.sqrt(total)


def _common_level(mean: FloatArray, error: FloatArray, flux: FloatArray, usual: float) -> float:
    """Return the light of the outermost annuli that does not grow with the star's flux (one intercept for all).

    Stars of one brightness cannot tell it from wings: it is held at zero to within `usual`, an error that backgrounds
    have.
    """
    known = np.isfinite(error)
    if np.count_nonzero(known) < 12:
        return 0.0
    rings = mean.shape[1]
    design = np.concatenate([flux[:, None, None] * np.eye(rings), np.ones((len(flux), rings, 1))], axis=2)
    design = np.vstack([design[known], np.eye(rings + 1)[-1]])
    value, sigma = np.append(mean[known], 0.0), np.append(error[known], usual)
    weight = 1 / sigma
    for _ in range(4):
        found = np.linalg.lstsq(design * weight[:, None], value * weight, rcond=None)[0]
        off = np.abs(value - design @ found)
        weight = np.minimum(1 / sigma, 3 / np.maximum(off, 1e-30))  # Huber's weights at three sigma
    return float(found[-1])


def _profile(radius: FloatArray, share: FloatArray, error: FloatArray, level: float, fwhm: float) -> Wings:
    """Return the wings: what is measured where it is significant, the power law through all annuli beyond."""
    sure = share > 3 * error
    last = len(radius) if sure.all() else max(int(np.argmin(sure)), 3)
    outer = radius > 2.5 * fwhm
    if np.count_nonzero(outer & np.isfinite(error)) < 3:
        return Wings(radius[:last], np.minimum.accumulate(np.maximum(share[:last], 1e-12)), 4.5, level)
    at, steep = _power_law(radius[outer], share[outer], np.maximum(error[outer], 0.03 * np.abs(share[outer])))
    law = at * (radius / radius[outer][0]) ** -steep
    doubtful = outer & ((np.arange(len(radius)) >= last) | (error > 0.15 * share))
    value = np.minimum.accumulate(np.maximum(np.where(doubtful, law, share), 1e-12))
    return Wings(radius, value, steep, level)


def _power_law(r: FloatArray, share: FloatArray, error: FloatArray) -> tuple[float, float]:
    """Return the light at the first radius and the exponent of the power law that fits a profile.

    Where noise hides the exponent it is about 3.3: between that of turbulence, 11/3, and that of dust and scratches on
    mirrors, 2, which comes out farther away (King 1971, PASP 83, 199; Racine 1996, PASP 108, 699).
    """
    from scipy.optimize import least_squares

    known = np.isfinite(error)
    r, share, error = r[known] / r[0], share[known], error[known]

    def off(p: FloatArray) -> FloatArray:
        return np.append((np.exp(p[0]) * r ** -p[1] - share) / error, (p[1] - 3.3) / 0.3)

    first = np.log(max(float(share[0]), float(error[0]), 1e-12))
    found = least_squares(off, [first, 3.3], bounds=([-30.0, 2.3], [0.0, 8.0]))
    return float(np.exp(found.x[0])), float(found.x[1])


def normalised(build: Builder, wings: Wings) -> FloatArray:
    """Return the nodes with `wings` joined on, one everywhere when summed over infinity."""
    dx, dy = offsets(build.half, build.over)
    r = np.hypot(dx, dy)
    joint = np.clip((r / build.fwhm - 2.0) / 1.0, 0, 1)
    basis = build.basis.copy()
    basis[0] = basis[0] * (1 - joint) + wings.at(r) * joint
    inside = r <= build.half
    sums = basis[:, inside].sum(axis=1) / build.over**2
    basis[1:] -= basis[0] * (sums[1:] / sums[0])[:, None, None]
    return np.asarray(basis / (sums[0] + wings.beyond(build.half)))


def shares(grid: Grid, radius: float, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the share of the light within `radius` [pixel] at places (n,), relative to that in the field's middle."""
    over, _, ny, nx = grid.facts
    half = grid.nodes.shape[1] // 2
    axis = np.arange(-half, half + 1)
    inside = np.clip(radius * over - np.hypot(axis[:, None], axis[None, :]) + 0.5, 0, 1)
    sums = np.tensordot(np.asarray(grid.nodes, np.float64), inside, axes=2)
    u, v = 2 * x / (nx - 1) - 1, 2 * y / (ny - 1) - 1
    return np.asarray(
        sum(part * u**i * v**j for part, (i, j) in zip(sums, terms_of(int(grid.facts[1])), strict=True)) / sums[0]
    )


def growth_of(grid: Grid, wings: Wings, place: tuple[float, float], half: int) -> FloatArray:
    """Return the curve of growth (r, 2) at a place: radius [pixel], share of the light within."""
    fine = 4
    axis = (np.arange(-half * fine, half * fine + 1)) / fine
    dy, dx = np.meshgrid(axis, axis, indexing="ij")
    r = np.hypot(dx, dy).ravel()
    light = kernels.values(grid, *place, dx, dy).ravel() / fine**2
    edge = grid.reach
    near = np.arange(0.5, edge, 0.5)
    order = np.argsort(r)
    total = np.cumsum(light[order])
    inside = np.interp(near, r[order], total)
    far = np.geomspace(edge, 12 * edge, 24)
    outside = 1 - np.array([wings.beyond(float(part)) for part in far])
    scale = (outside[0] - inside[-1] * 0) if len(near) == 0 else 1.0
    curve = np.concatenate([[0.0], inside * scale, outside])
    return np.column_stack([np.concatenate([[0.0], near, far]), np.minimum(np.maximum.accumulate(curve), 1.0)])
