"""Stars drawn, and fitted in groups, with a point-spread function on an oversampled grid that varies over the field.

The grid holds the effective PSF of Anderson & King 2000 (PASP 112, 1360): the share of a star's light that a pixel at
an offset receives, pixel included. Between nodes it is interpolated with Keys' cubic convolution (1981, IEEE ASSP 29,
1153). Fits are Gauss-Newton steps on the residual image, group after group, so that the wings of all stars are out of
the way (as ALLSTAR does, Stetson 1987, PASP 99, 191).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.kernels.arrays import F32, F64, I64, U8, flags, float32, float64, plain
from nightpipe.kernels.build import helper, kernel

MAX_TERMS = 10
MAX_GROUP = 12
"""Stars solved together; larger groups are cut, and meet again in the next pass."""


class Grid:
    """The PSF in the form of the kernels: `nodes` (k, m, m), oversampling, degree, and the field's (ny, nx)."""

    def __init__(self, basis: ArrayLike, oversampling: int, degree: int, shape: tuple[int, int]) -> None:
        self.nodes: F32 = float32(basis)
        self.facts: F64 = float64([oversampling, degree, shape[0], shape[1]])

    @property
    def reach(self) -> float:
        """Return the largest offset [pixel] at which the grid is known."""
        return float((self.nodes.shape[1] // 2 - 2) / self.facts[0])


def terms_of(degree: int) -> list[tuple[int, int]]:
    """Return the powers (i, j) of x and y in the order of the grid's planes."""
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def values(grid: Grid, x: float, y: float, dx: ArrayLike, dy: ArrayLike) -> F64:
    """Return the PSF of a star at pixel (`x`, `y`) at offsets `dx`, `dy` [pixel] from it, any shape."""
    off = np.stack([float64(dx).ravel(), float64(dy).ravel()], axis=1)
    out = np.zeros(len(off))
    _values(grid.nodes, grid.facts, float64([x, y]), float64(off), out)
    return np.asarray(out.reshape(np.shape(dx)))


def add(image: F32, grid: Grid, stars: F64, radius: F64, sign: float) -> None:
    """Add `sign` times the stars (n, 3: flux, x, y) to `image` (ny, nx) in place, each out to its `radius` [pixel]."""
    _add(image, grid.nodes, grid.facts, float64(stars), float64(radius), float(sign))


def fit_pass(
    data: F32, rest: F32, var: F32, bad: U8, grid: Grid, stars: F64, hold: U8, groups: I64, radius: F64,
    reach: ArrayLike, slope: float,
) -> F64:  # fmt: skip
    """Improve the `stars` (n, 3: flux, x, y) and `rest`, the residual image, in place by one Gauss-Newton step.

    `groups` (g + 1) bounds the groups of consecutive stars that are solved together; `hold` (n,) fixes positions.
    Pixels within `reach` (one, or (n,)) of a star count, with variance `var` plus `slope` times the model; `radius`
    (n,) is how far each star is drawn. Returns the covariances (n, 6): variances of flux, x, y, then the sums of
    weights, of weighted squares of the residuals and of pixels, before the step.
    """
    out = np.zeros((len(stars), 6))
    far = float64(np.broadcast_to(reach, len(stars)))
    _fit(data, rest, var, bad, grid.nodes, grid.facts, stars, hold, groups, radius, far, float(slope), out)
    return out


def judge(data: F32, rest: F32, var: F32, bad: U8, grid: Grid, stars: F64, reach: ArrayLike, slope: float) -> F64:
    """Return (n, 4): chi-square, pixels, and by how much each star is wider than the PSF, with its error.

    The width is s in ``flux (psf + s laplacian(psf))``, half the excess of variance along an axis [pixel^2].
    """
    out = np.zeros((len(stars), 4))
    far = float64(np.broadcast_to(reach, len(stars)))
    _judge(data, rest, var, bad, grid.nodes, grid.facts, stars, far, float(slope), out)
    return out


@helper
def _terms(u: float, v: float, degree: int, t: F64) -> int:
    k = 0
    power = 1.0
    for i in range(degree + 1):
        other = power
        for _ in range(degree + 1 - i):
            t[k] = other
            other *= v
            k += 1
        power *= u
    return k


@helper
def _keys(f: float, w: F64, d: F64) -> None:
    """Fill the weights of four nodes at fraction `f` between the middle two, and their slopes."""
    f2, f3 = f * f, f * f * f
    w[0], w[1] = -0.5 * f + f2 - 0.5 * f3, 1.0 - 2.5 * f2 + 1.5 * f3
    w[2], w[3] = 0.5 * f + 2.0 * f2 - 1.5 * f3, -0.5 * f2 + 0.5 * f3
    d[0], d[1] = -0.5 + 2.0 * f - 1.5 * f2, -5.0 * f + 4.5 * f2
    d[2], d[3] = 0.5 + 4.0 * f - 4.5 * f2, -f + 1.5 * f2


@helper
def _plane(nodes: F32, facts: F64, x: float, y: float, radius: float, t: F64, plane: F32) -> None:
    """Fill the nodes of `plane` (m, m) within `radius` [pixel] with the PSF of a star at the pixel nearest (x, y)."""
    k = _terms(2.0 * round(x) / (facts[3] - 1.0) - 1.0, 2.0 * round(y) / (facts[2] - 1.0) - 1.0, int(facts[1]), t)
    m = plane.shape[0]
    wide = (math.ceil((radius + 1.5) * facts[0])) + 2
    low, high = max(m // 2 - wide, 0), min(m // 2 + wide + 1, m)
    for j in range(low, high):
        first = np.float32(t[0])
        for i in range(low, high):
            plane[j, i] = nodes[0, j, i] * first
        for n in range(1, k):
            factor = np.float32(t[n])
            for i in range(low, high):
                plane[j, i] += nodes[n, j, i] * factor


@helper
def _lattice(x: float, y: float, over: float, m: int, w: F64, base: I64) -> None:
    """Fill the weights `w` (4, 4: x, its slope, y, its slope) and the node `base` of pixel (0, 0) for a star at (x, y).

    Pixels are whole numbers of nodes apart, so all of a star's pixels lie at the same place between nodes.
    """
    gx, gy = m // 2 - x * over, m // 2 - y * over
    i, j = math.floor(gx), math.floor(gy)
    _keys(gx - i, w[0], w[1])
    _keys(gy - j, w[2], w[3])
    base[0], base[1] = i, j


@helper
def _value(plane: F32, over: float, i: int, j: int, w: F64, p: F64) -> None:
    """Fill `p` with the PSF right above node (i, j) by the weights `w`, and its slopes; zeros beyond the grid."""
    m = plane.shape[0]
    p[0] = p[1] = p[2] = 0.0
    if i < 1 or j < 1 or i > m - 3 or j > m - 3:
        return
    for b in range(4):
        along, slope = 0.0, 0.0
        for a in range(4):
            along += plane[j - 1 + b, i - 1 + a] * w[0, a]
            slope += plane[j - 1 + b, i - 1 + a] * w[1, a]
        p[0] += along * w[2, b]
        p[1] += slope * w[2, b]
        p[2] += along * w[3, b]
    p[1] *= over
    p[2] *= over


@helper
def _height(plane: F32, i: int, j: int, w: F64) -> float:
    """Return the PSF right above node (i, j) by the weights `w`, zero beyond the grid."""
    m = plane.shape[0]
    if i < 1 or j < 1 or i > m - 3 or j > m - 3:
        return 0.0
    total = 0.0
    for b in range(4):
        along = 0.0
        for a in range(4):
            along += plane[j - 1 + b, i - 1 + a] * w[0, a]
        total += along * w[2, b]
    return total


@kernel
def _values(nodes: F32, facts: F64, place: F64, off: F64, out: F64) -> None:
    t, w, plane = np.empty(MAX_TERMS), np.empty((4, 4)), np.empty((nodes.shape[1], nodes.shape[2]), np.float32)
    _plane(nodes, facts, place[0], place[1], nodes.shape[1] / facts[0], t, plane)
    base = np.empty(2, np.int64)
    for n in range(len(off)):
        _lattice(-off[n, 0], -off[n, 1], facts[0], plane.shape[0], w, base)
        out[n] = _height(plane, base[0], base[1], w)


@helper
def _draw(
    image: F32, plane: F32, step: int, star: F64, radius: float, sign: float, w: F64, base: I64, line: F32
) -> None:  # fmt: skip
    """Add a star to the image: of each row of pixels, nodes are first joined along y into `line` (m), then along x."""
    (ny, nx), m = image.shape, plane.shape[0]
    flux, x, y = star
    _lattice(x, y, float(step), m, w, base)
    light = np.float32(sign * flux)
    a0, a1, a2, a3 = np.float32(w[0, 0]), np.float32(w[0, 1]), np.float32(w[0, 2]), np.float32(w[0, 3])
    b0, b1, b2, b3 = np.float32(w[2, 0]), np.float32(w[2, 1]), np.float32(w[2, 2]), np.float32(w[2, 3])
    for j in range(max((math.ceil(y - radius)), 0), min((math.floor(y + radius)) + 1, ny)):
        v = base[1] + j * step
        if v < 1 or v > m - 3:
            continue
        wide = math.sqrt(max(radius * radius - (j - y) ** 2, 0.0))
        first, last = max((math.ceil(x - wide)), 0), min((math.floor(x + wide)) + 1, nx)
        p, q, r, s = plane[v - 1], plane[v], plane[v + 1], plane[v + 2]
        for k in range(max(base[0] + first * step - 1, 0), min(base[0] + (last - 1) * step + 3, m)):
            line[k] = b0 * p[k] + b1 * q[k] + b2 * r[k] + b3 * s[k]
        for i in range(first, last):
            u = base[0] + i * step
            if u >= 1 and u <= m - 3:
                image[j, i] += light * (a0 * line[u - 1] + a1 * line[u] + a2 * line[u + 1] + a3 * line[u + 2])


@kernel
def _add(image: F32, nodes: F32, facts: F64, stars: F64, radius: F64, sign: float) -> None:
    t, w, plane = np.empty(MAX_TERMS), np.empty((4, 4)), np.empty((nodes.shape[1], nodes.shape[2]), np.float32)
    base, line = np.empty(2, np.int64), np.empty(nodes.shape[1], np.float32)
    for n in range(len(stars)):
        _plane(nodes, facts, stars[n, 1], stars[n, 2], radius[n], t, plane)
        _draw(image, plane, int(facts[0]), stars[n], radius[n], sign, w, base, line)


@helper
def _seen_before(stars: F64, first: int, a: int, i: int, j: int, reach: F64) -> bool:
    for b in range(first, a):  # noqa: SIM110 - no generators in kernels
        if (i - stars[b, 1]) ** 2 + (j - stars[b, 2]) ** 2 <= reach[b] * reach[b]:
            return True
    return False


@helper
def _gather(  # noqa: C901 - one loop over pixels, nothing to take out
    data: F32, rest: F32, var: F32, bad: U8, planes: F32, over: float, stars: F64, first: int, last: int, reaches: F64,
    slope: float, matrix: F64, right: F64, out: F64, ws: F64, bases: I64, p: F64, row: F64,
) -> None:  # fmt: skip
    """Fill the normal equations of one group: `matrix` (3 n, 3 n) and `right` (3 n)."""
    ny, nx = rest.shape
    size = 3 * (last - first)
    step = int(over)
    matrix[:size, :size] = 0.0
    right[:size] = 0.0
    for a in range(first, last):
        _lattice(stars[a, 1], stars[a, 2], over, planes.shape[1], ws[a - first], bases[a - first])
    for a in range(first, last):
        out[a, 3:] = 0.0
        x, y, reach = stars[a, 1], stars[a, 2], reaches[a]
        for j in range(max((math.ceil(y - reach)), 0), min((math.floor(y + reach)) + 1, ny)):
            for i in range(max((math.ceil(x - reach)), 0), min((math.floor(x + reach)) + 1, nx)):
                if bad[j, i] or (i - x) ** 2 + (j - y) ** 2 > reach * reach:
                    continue
                r = rest[j, i]
                weight = 1.0 / (var[j, i] + slope * max(data[j, i] - r, 0.0))
                out[a, 3] += weight
                out[a, 4] += weight * r * r
                out[a, 5] += 1.0
                if _seen_before(stars, first, a, i, j, reaches):
                    continue
                for b in range(first, last):
                    dx, dy = i - stars[b, 1], j - stars[b, 2]
                    n = 3 * (b - first)
                    if b != a and dx * dx + dy * dy > (1.6 * reaches[b]) ** 2:
                        row[n : n + 3] = 0.0
                        continue
                    at = bases[b - first]
                    _value(planes[b - first], over, at[0] + i * step, at[1] + j * step, ws[b - first], p)
                    row[n], row[n + 1], row[n + 2] = p[0], -stars[b, 0] * p[1], -stars[b, 0] * p[2]
                for c in range(size):
                    if row[c] != 0.0:
                        right[c] += weight * row[c] * r
                        for d in range(c + 1):
                            matrix[c, d] += weight * row[c] * row[d]


@helper
def _fix(matrix: F64, right: F64, stars: F64, hold: U8, first: int, last: int) -> None:
    """Complete the symmetric matrix, and fix what is held or not constrained."""
    size = 3 * (last - first)
    for c in range(size):
        for d in range(c):
            matrix[d, c] = matrix[c, d]
    for c in range(size):
        n = first + c // 3
        if (c % 3 and hold[n]) or not matrix[c, c] > 0.0 or (c % 3 and stars[n, 0] <= 0.0):
            matrix[c, :size] = 0.0
            matrix[:size, c] = 0.0
            matrix[c, c] = 1.0
            right[c] = 0.0
        else:
            matrix[c, c] *= 1.0 + 1e-9


@helper
def _solve_identity(matrix: F64, size: int, inverse: F64) -> None:
    """Fill `inverse` from the Cholesky factor in the lower part of `matrix`."""
    for c in range(size):
        for i in range(size):
            total = 1.0 if i == c else 0.0
            for k in range(i):
                total -= matrix[i, k] * inverse[k, c]
            inverse[i, c] = total / matrix[i, i]
        for i in range(size - 1, -1, -1):
            total = inverse[i, c]
            for k in range(i + 1, size):
                total -= matrix[k, i] * inverse[k, c]
            inverse[i, c] = total / matrix[i, i]


@helper
def _invert(matrix: F64, size: int, inverse: F64) -> bool:
    """Replace `matrix` (lower part) by its Cholesky factor and fill `inverse`; False where it is not positive."""
    for j in range(size):
        total = matrix[j, j]
        for k in range(j):
            total -= matrix[j, k] * matrix[j, k]
        if not total > 1e-12 * matrix[j, j]:
            return False
        matrix[j, j] = math.sqrt(total)
        for i in range(j + 1, size):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / matrix[j, j]
    _solve_identity(matrix, size, inverse)
    return True


@helper
def _step(stars: F64, hold: U8, first: int, last: int, inverse: F64, right: F64, out: F64) -> None:
    """Move the stars of a group by the solution, at most half a pixel, and note their variances."""
    size = 3 * (last - first)
    for a in range(first, last):
        n = 3 * (a - first)
        for c in range(3):
            change = 0.0
            for d in range(size):
                change += inverse[n + c, d] * right[d]
            if c:
                change = min(max(change, -0.5), 0.5)
            stars[a, c] += change
            out[a, c] = inverse[n + c, n + c] if c == 0 or not hold[a] else 0.0


@kernel
def _fit(
    data: F32, rest: F32, var: F32, bad: U8, nodes: F32, facts: F64, stars: F64, hold: U8, groups: I64, radius: F64,
    reach: F64, slope: float, out: F64,
) -> None:  # fmt: skip
    t, ws, p, row = np.empty(MAX_TERMS), np.empty((MAX_GROUP, 4, 4)), np.empty(3), np.empty(3 * MAX_GROUP)
    bases = np.empty((MAX_GROUP, 2), np.int64)
    over, planes = facts[0], np.empty((MAX_GROUP, nodes.shape[1], nodes.shape[2]), np.float32)
    matrix, line = np.empty((3 * MAX_GROUP, 3 * MAX_GROUP)), np.empty(nodes.shape[1], np.float32)
    inverse, right, before = np.empty_like(matrix), np.empty(3 * MAX_GROUP), np.empty((MAX_GROUP, 3))
    for g in range(len(groups) - 1):
        first, last = groups[g], groups[g + 1]
        for a in range(first, last):
            _plane(nodes, facts, stars[a, 1], stars[a, 2], max(radius[a], 1.6 * reach[a]), t, planes[a - first])
        _gather(
            data, rest, var, bad, planes, over, stars, first, last, reach, slope, matrix, right, out, ws, bases, p, row
        )
        _fix(matrix, right, stars, hold, first, last)
        if not _invert(matrix, 3 * (last - first), inverse):
            for a in range(first, last):  # stars on top of each other: positions stay, next time fluxes alone
                hold[a] = 1
                out[a, 0] = math.inf
            continue
        for a in range(first, last):
            _draw(rest, planes[a - first], int(over), stars[a], radius[a], 1.0, ws[0], bases[0], line)
            before[a - first] = stars[a]
        _step(stars, hold, first, last, inverse, right, out)
        for a in range(first, last):
            _, x, y = before[a - first]
            if round(x) != round(stars[a, 1]) or round(y) != round(stars[a, 2]):
                _plane(nodes, facts, stars[a, 1], stars[a, 2], radius[a], t, planes[a - first])
            _draw(rest, planes[a - first], int(over), stars[a], radius[a], -1.0, ws[0], bases[0], line)


@kernel
def _judge(
    data: F32, rest: F32, var: F32, bad: U8, nodes: F32, facts: F64, stars: F64, reaches: F64, slope: float, out: F64
) -> None:
    t, w, sums, plane = (
        np.empty(MAX_TERMS),
        np.empty((4, 4)),
        np.empty(5),
        np.empty((nodes.shape[1], nodes.shape[2]), np.float32),
    )
    over, half = facts[0], plane.shape[0] // 2
    spread, pixel, base = np.zeros_like(plane), int(facts[0]), np.empty(2, np.int64)
    ny, nx = rest.shape
    for n in range(len(stars)):
        flux, x, y = stars[n]
        reach = reaches[n]
        _plane(nodes, facts, x, y, reach + 2.0, t, plane)
        wide = min((math.ceil((reach + 1.0) * over)) + 2, half - pixel)
        for j in range(half - wide, half + wide + 1):
            for i in range(half - wide, half + wide + 1):
                near = plane[j, i - pixel] + plane[j, i + pixel] + plane[j - pixel, i] + plane[j + pixel, i]
                spread[j, i] = near - np.float32(4.0) * plane[j, i]
        sums[:] = 0.0
        _lattice(x, y, over, plane.shape[0], w, base)
        for j in range(max((math.ceil(y - reach)), 0), min((math.floor(y + reach)) + 1, ny)):
            for i in range(max((math.ceil(x - reach)), 0), min((math.floor(x + reach)) + 1, nx)):
                if bad[j, i] or (i - x) ** 2 + (j - y) ** 2 > reach * reach:
                    continue
                r = rest[j, i]
                weight = 1.0 / (var[j, i] + slope * max(data[j, i] - r, 0.0))
                k, m = base[0] + i * pixel, base[1] + j * pixel
                light, broad = _height(plane, k, m, w), _height(spread, k, m, w)
                sums[0] += weight * light * light
                sums[1] += weight * light * broad
                sums[2] += weight * broad * broad
                sums[3] += weight * light * r
                sums[4] += weight * broad * r
                out[n, 0] += weight * r * r
                out[n, 1] += 1.0
        free = sums[2] - sums[1] * sums[1] / sums[0] if sums[0] > 0.0 else 0.0
        out[n, 2], out[n, 3] = 0.0, math.inf
        if free > 0.0 and flux > 0.0:
            out[n, 2] = (sums[4] - sums[3] * sums[1] / sums[0]) / (free * flux)
            out[n, 3] = 1.0 / (flux * math.sqrt(free))


def rehearse() -> None:
    """Compile the kernels of this module."""
    j, i = np.mgrid[-10:11, -10:11]
    grid = Grid(np.exp(-0.05 * (i * i + j * j))[None] / 15.0, 2, 0, (16, 16))
    image, stars = np.zeros((16, 16), np.float32), np.array([[100.0, 8.0, 8.0]])
    add(image, grid, stars, np.full(1, 4.0), 1.0)
    rest, var, bad = image * np.float32(0.1), np.ones((16, 16), np.float32), flags(np.zeros((16, 16)))
    hold, groups = flags(np.zeros(1)), plain([0, 1], np.int64)
    fit_pass(image, rest, var, bad, grid, stars, hold, groups, np.full(1, 4.0), 3.0, 1.0)
    judge(image, rest, var, bad, grid, stars, 3.0, 1.0)
    values(grid, 8.0, 8.0, np.zeros(1), np.zeros(1))


def values_plain(basis: F64, oversampling: int, degree: int, place: tuple[float, float], dx: F64, dy: F64) -> F64:
    """Return the PSF at a `place` in -1..1 at offsets (n,), by sums over all nodes: the oracle of `values`."""
    u, v = place
    plane = sum(u**i * v**j * part for (i, j), part in zip(terms_of(degree), basis, strict=True))
    m = basis.shape[1]

    def weight(distance: F64) -> F64:
        d = np.abs(distance)
        near, far = 1 - 2.5 * d**2 + 1.5 * d**3, 2 - 4 * d + 2.5 * d**2 - 0.5 * d**3
        return np.where(d < 1, near, np.where(d < 2, far, 0.0))

    nodes = np.arange(m) - m // 2
    wx, wy = (weight(offset[:, None] * oversampling - nodes) for offset in (dx, dy))
    return np.asarray(np.einsum("nj,ji,ni->n", wy, plane, wx))
