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

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]
Bools = NDArray[np.bool_]
SCARCE = 10
"""Fewer stars than this for each term of the variation over the field cannot tell every node's."""


@dataclass(frozen=True)
class Sky:
    """The image that stars are fitted on: `data` without background, blank `var`, `slope` [per unit light], `bad`."""

    data: Image
    var: Image
    slope: float
    bad: Bools


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
    """The PSF while it is built: nodes `basis` (k, m, m) and the stars (n, 3: flux, x, y) that make it.

    The image less the stars is kept from fit to fit, and made whole again only where stars were taken off.
    """

    sky: Sky
    basis: FloatArray
    over: int
    degree: int
    fwhm: float
    stars: FloatArray
    chi: FloatArray

    def __post_init__(self) -> None:
        self._data, self._var, self._bad = float32(self.sky.data), float32(self.sky.var), flags(self.sky.bad)
        self._rest, self._drawn = self._data.copy(), self.stars[:0]

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
        data, rest, var, bad, grid, n = self._data, self._rest, self._var, self._bad, self.grid, len(self.stars)
        rows, columns, _ = stamps(self._drawn, self.half + turns + 1, data.shape)  # a turn moves a star half a pixel
        rest[rows, columns] = data[rows, columns]
        self._drawn = self.stars.copy()
        radius = np.full(n, grid.reach)
        kernels.add(rest, grid, self.stars, radius, -1.0)
        groups, hold = plain(np.arange(n + 1), np.int64), flags(np.zeros(n))
        for _ in range(turns):
            kernels.fit_pass(data, rest, var, bad, grid, self.stars, hold, groups, radius, 1.5 * self.fwhm,
                             self.sky.slope)  # fmt: skip
        found = kernels.judge(data, rest, var, bad, grid, self.stars, 1.5 * self.fwhm, self.sky.slope)
        self.chi = np.sqrt(found[:, 0] / np.maximum(found[:, 1] - 3, 1))
        return rest

    def drop(self, keep: Bools) -> None:
        """Leave out the stars that are not to be kept."""
        self.stars, self.chi = np.ascontiguousarray(self.stars[keep]), self.chi[keep]

    def improve(self, rest: Image, doubt: float) -> None:
        """Add to each node what its pixels leave over; `doubt` is the relative error granted to the PSF so far.

        Where stars are few for the number of terms, only the width of the PSF varies over the field, not every node.
        """
        (star, node), share, weight = self._samples(rest, doubt)
        terms = self._terms()[star]
        if len(self.basis) == 1 or len(self.stars) >= SCARCE * len(self.basis):
            step = self._freely(node, terms, share, weight)
        else:
            step = self._stretched(node, terms, share, weight)
        dx, dy = offsets(self.half, self.over)
        step[1:] *= np.clip(3.0 - np.hypot(dx, dy) / self.fwhm, 0, 1)  # far out the shape is the same everywhere
        self.basis = self.basis + step

    def _freely(self, node: NDArray[np.int64], t: FloatArray, share: FloatArray, weight: FloatArray) -> FloatArray:
        """Return what to add to each node's polynomial (k, m, m) in the terms `t` (n, k) of the samples."""
        m, k = self.basis.shape[1], t.shape[1]
        pairs = [(a, b) for a in range(k) for b in range(a + 1)]
        moments = np.stack([_onto(node, weight * t[:, a] * t[:, b], m) for a, b in pairs])
        sums = np.stack([_onto(node, weight * t[:, a] * share, m) for a in range(k)])
        dx, dy = offsets(self.half, self.over)
        ramp = np.clip((np.hypot(dx, dy) / self.fwhm - 1.2) / 1.0, 0, 1)
        fine, coarse = (self._solved(moments, sums, pairs, s * self.over) for s in (0.3, 1.0))
        return np.asarray(fine * (1 - ramp) + coarse * ramp)

    def _stretched(self, node: NDArray[np.int64], t: FloatArray, share: FloatArray, weight: FloatArray) -> FloatArray:
        """Return what to add (k, m, m): to the mean plane whatever it is, to the others the mean's curvature alone.

        To first order a PSF that is blurred by a little more is itself and half that variance times its curvature.
        """
        step = np.zeros_like(self.basis)
        step[:1] = self._freely(node, t[:, :1], share, weight)
        share = share - step[0].ravel()[node]
        usual = np.average(t[:, 1:], axis=0, weights=weight)
        bent = _curvature(self.basis[0] + step[0], 0.12 * self.fwhm * self.over) * self.over**2
        samples = bent.reshape(3, -1)[:, node]
        design = ((t[:, 1:] - usual).T[:, None, :] * samples[None]).reshape(-1, len(node))
        loose = 0.05 * self.fwhm**2  # as much as the PSF's own variance: it holds what no star tells
        matrix = (design * weight) @ design.T + np.eye(len(design)) / loose**2
        found = np.linalg.solve(matrix, (design * weight) @ share).reshape(len(usual), 3)
        step[1:] = np.tensordot(found, bent, axes=1)
        step[0] -= np.tensordot(usual, step[1:], axes=1)
        return step

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


def _curvature(plane: FloatArray, width: float) -> FloatArray:
    """Return the second derivatives (3, m, m) of a plane: along x, mixed, along y; smoothed by `width` [nodes]."""
    from scipy.ndimage import gaussian_filter

    return np.stack([gaussian_filter(plane, width, order=order, mode="nearest") for order in ((0, 2), (1, 1), (2, 0))])


def _node(dx: FloatArray, dy: FloatArray, half: int, over: int) -> NDArray[np.int64]:
    m, centre = 2 * half * over + 1, half * over
    i, j = np.rint(dx * over).astype(np.int64) + centre, np.rint(dy * over).astype(np.int64) + centre
    return np.asarray(np.clip(j, 0, m - 1) * m + np.clip(i, 0, m - 1))


def _onto(node: NDArray[np.int64], value: FloatArray, m: int) -> FloatArray:
    return np.asarray(np.bincount(node, value, minlength=m * m).reshape(m, m), np.float64)
