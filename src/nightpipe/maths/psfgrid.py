"""The effective PSF of an image on an oversampled grid, built from its stars by improving on what they leave over.

Anderson & King 2000 (PASP 112, 1360): start from a guess, fit the stars, spread the residuals over the nodes, repeat.
Here each node is a polynomial in the place on the field, and its residuals are pooled with those of its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels import psf as kernels
from nightpipe.kernels.arrays import flags, float32, plain
from nightpipe.kernels.psf import Grid, terms_of
from nightpipe.maths.robust import MAD_TO_SIGMA

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sky:
    """The image that stars are fitted on: `data` without background, blank `var`, `slope` [per unit light], `bad`."""

    data: Image
    var: Image
    slope: float
    bad: Bools


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


def oversampling_of(fwhm: float) -> int:
    """Return the nodes per pixel that leave about nine of them across the FWHM [pixel]."""
    return int(np.clip(np.ceil(9.0 / fwhm), 1, 5))


def offsets(half: int, over: int) -> tuple[FloatArray, FloatArray]:
    """Return (dx, dy) [pixel] of the nodes of a grid that reaches `half` pixels, (m, m)."""
    axis = np.arange(-half * over, half * over + 1) / over
    dy, dx = np.meshgrid(axis, axis, indexing="ij")
    return dx, dy


def guess(fwhm: float, ellipticity: float, theta: float, half: int, over: int, beta: float = 3.0) -> FloatArray:
    """Return a Moffat function on the grid (m, m), `theta` [deg], summing to one over infinity."""
    dx, dy = offsets(half, over)
    c, s = np.cos(np.radians(theta)), np.sin(np.radians(theta))
    axis = np.sqrt(max(1 - ellipticity, 0.2))
    along, across = (c * dx + s * dy) * axis, (c * dy - s * dx) / axis
    alpha2 = (fwhm / 2) ** 2 / (2 ** (1 / beta) - 1)
    return np.asarray((beta - 1) / (np.pi * alpha2) * (1 + (along**2 + across**2) / alpha2) ** -beta)


@dataclass
class Builder:
    """The PSF while it is built: nodes `basis` (k, m, m) and the stars (n, 3: flux, x, y) that make it."""

    sky: Sky
    basis: FloatArray
    over: int
    degree: int
    fwhm: float
    stars: FloatArray
    chi: FloatArray

    @property
    def half(self) -> int:
        """Return how far the grid reaches [pixel]."""
        return int(self.basis.shape[1] // 2 // self.over)

    @property
    def grid(self) -> Grid:
        """Return the PSF as kernels take it."""
        ny, nx = self.sky.data.shape
        return Grid(self.basis, self.over, self.degree, (ny, nx))

    def fit(self, turns: int = 2) -> Image:
        """Fit the stars and return what they leave over."""
        data, bad = float32(self.sky.data), flags(self.sky.bad)
        rest, n = data.copy(), len(self.stars)
        radius = np.full(n, self.grid.reach)
        kernels.add(rest, self.grid, self.stars, radius, -1.0)
        groups, hold = plain(np.arange(n + 1), np.int64), flags(np.zeros(n))
        var = float32(self.sky.var)
        for _ in range(turns):
            kernels.fit_pass(data, rest, var, bad, self.grid, self.stars, hold, groups, radius, 1.5 * self.fwhm,
                             self.sky.slope)  # fmt: skip
        found = kernels.judge(data, rest, var, bad, self.grid, self.stars, 1.5 * self.fwhm, self.sky.slope)
        self.chi = np.sqrt(found[:, 0] / np.maximum(found[:, 1] - 3, 1))
        return rest

    def drop(self, keep: Bools) -> None:
        """Leave out the stars that are not to be kept."""
        self.stars, self.chi = np.ascontiguousarray(self.stars[keep]), self.chi[keep]

    def improve(self, rest: Image, doubt: float) -> None:
        """Add to each node what its pixels leave over; `doubt` is the relative error granted to the PSF so far."""
        index, share, weight = self._samples(rest, doubt)
        m, k = self.basis.shape[1], len(self.basis)
        t = self._terms()[index[0]]
        node = index[1]
        pairs = [(a, b) for a in range(k) for b in range(a + 1)]
        moments = np.stack([_onto(node, weight * t[:, a] * t[:, b], m) for a, b in pairs])
        sums = np.stack([_onto(node, weight * t[:, a] * share, m) for a in range(k)])
        dx, dy = offsets(self.half, self.over)
        ramp = np.clip((np.hypot(dx, dy) / self.fwhm - 1.2) / 1.0, 0, 1)
        fine, coarse = (self._solved(moments, sums, pairs, s * self.over) for s in (0.3, 1.0))
        step = fine * (1 - ramp) + coarse * ramp
        step[1:] *= np.clip(3.0 - np.hypot(dx, dy) / self.fwhm, 0, 1)  # far out the shape is the same everywhere
        self.basis = self.basis + step

    def _solved(self, moments: FloatArray, sums: FloatArray, pairs: list[tuple[int, int]], width: float) -> FloatArray:
        """Return the nodes' polynomials (k, m, m), the residuals pooled over `width` [nodes]; nodes without data: 0."""
        from scipy.ndimage import gaussian_filter

        k, m = len(sums), sums.shape[1]
        pooled = [gaussian_filter(part, width, mode="constant") for part in (*moments, *sums)]
        matrix, right = np.zeros((m, m, k, k)), np.stack(pooled[len(pairs) :], axis=-1)
        for part, (a, b) in zip(pooled, pairs, strict=False):
            matrix[:, :, a, b] = matrix[:, :, b, a] = part
        typical = np.median(matrix[:, :, 0, 0]) + 1e-12
        ridge = np.full(k, 0.02 * typical)
        ridge[0] = 1e-3 * typical
        matrix[:, :, np.arange(k), np.arange(k)] += ridge
        return np.moveaxis(np.linalg.solve(matrix, right[..., None])[..., 0], -1, 0)

    def _samples(self, rest: Image, doubt: float) -> tuple[tuple[NDArray[np.int64], ...], FloatArray, FloatArray]:
        """Return (star, node) of every pixel near a star, what it leaves over as a share of the star, its weight."""
        rows, columns, star = stamps(self.stars, self.half, self.sky.data.shape)
        flux, x, y = self.stars[star].T
        node = _node(columns - x, rows - y, self.half, self.over)
        light = self.sky.data[rows, columns] - rest[rows, columns]
        share = rest[rows, columns] / flux
        var = (self.sky.var[rows, columns] + self.sky.slope * np.maximum(light, 0)) / flux**2
        var = var + (doubt * light / flux) ** 2
        good = ~self.sky.bad[rows, columns] & (np.square(share) < 36 * var)
        return (star[good], node[good]), share[good].astype(np.float64), 1 / var[good]

    def _terms(self) -> FloatArray:
        ny, nx = self.sky.data.shape
        u, v = 2 * self.stars[:, 1] / (nx - 1) - 1, 2 * self.stars[:, 2] / (ny - 1) - 1
        return np.stack([u**i * v**j for i, j in terms_of(self.degree)], axis=1)

    def centred(self) -> None:
        """Move the light's centre of the PSF onto the grid's, everywhere on the field: positions mean something."""
        dx, dy = offsets(self.half, self.over)
        core = np.hypot(dx, dy) < 1.5 * self.fwhm
        slopes = np.stack([np.gradient(self.basis[0], axis=a) * self.over for a in (1, 0)])
        for plane in range(len(self.basis)):
            part = self.basis[plane]
            for offset, slope in ((dx, slopes[0]), (dy, slopes[1])):
                lever = np.sum((offset * slope)[core])  # a shift by s changes the first moment by s times this
                self.basis[plane] = part = part - slope * np.sum((offset * part)[core]) / lever


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
    """Return the wings: what is measured as far as it is significant, then a power law through the outer half."""
    sure = share > 3 * error
    last = len(radius) if sure.all() else max(int(np.argmin(sure)), 3)
    value = np.minimum.accumulate(np.maximum(share[:last], 1e-12))
    r = radius[:last]
    outer = r > 2.5 * fwhm
    if np.count_nonzero(outer) < 3:
        return Wings(r, value, 4.5, level)
    weight = value[outer] / np.maximum(error[:last][outer], 0.03 * value[outer])
    slope = -np.polyfit(np.log(r[outer]), np.log(value[outer]), 1, w=weight)[0]
    return Wings(r, value, float(np.clip(slope, 2.6, 6.0)), level)


def stamps(
    stars: FloatArray, half: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return rows, columns and star of all pixels of the image within `half` [pixel] of each star, star by star."""
    axis = np.arange(-half, half + 1)
    dy, dx = np.meshgrid(axis, axis, indexing="ij")
    disc = dx**2 + dy**2 <= half**2
    rows = np.rint(stars[:, 2]).astype(np.int64)[:, None] + dy[disc]
    columns = np.rint(stars[:, 1]).astype(np.int64)[:, None] + dx[disc]
    star = np.broadcast_to(np.arange(len(stars))[:, None], rows.shape)
    inside = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
    return rows[inside], columns[inside], star[inside]


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


def _node(dx: FloatArray, dy: FloatArray, half: int, over: int) -> NDArray[np.int64]:
    m, centre = 2 * half * over + 1, half * over
    i, j = np.rint(dx * over).astype(np.int64) + centre, np.rint(dy * over).astype(np.int64) + centre
    return np.asarray(np.clip(j, 0, m - 1) * m + np.clip(i, 0, m - 1))


def _onto(node: NDArray[np.int64], value: FloatArray, m: int) -> FloatArray:
    return np.asarray(np.bincount(node, value, minlength=m * m).reshape(m, m), np.float64)
