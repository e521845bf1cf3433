"""Overlapping spectra of many lenslets: fluxes of all that share a column, solved together with what lies under them.

In each column the pixels are d = P f + S c: `P` (ny, n) the profiles of the n spectra there, integrated over pixels,
`f` their fluxes, `S` a smooth basis along y for scattered light. Neighbours overlap, so P^T W P is a narrow band. The
fluxes are eliminated column by column, and what remains is the normal equation of the scattered light alone (the Schur
complement; Golub & Pereyra 1973, SIAM J. Numer. Anal. 10, 413, for the idea), which may be shared by all columns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.kernels.arrays import F32, F64, I64, ShapeError, float32, float64, plain, same_shape
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.threads import each_strip

_STRIP = 32
_FINE = 0.01  # steps of the profile's table, in units of its width: linear between, good to 1e-5 of the light
_LEAST = 1e-3  # share of a profile on good pixels below which its flux is not solved for


class Layout(NamedTuple):
    """What lies in which column: entries start[x] to start[x + 1] - 1 are the spectra in column x, in order of rows.

    `first` (e,) is the first row of an entry, `share` (e, w) float32 of its light in that row and the next ones, `band`
    how many entries before it an entry may overlap.
    """

    start: I64
    first: I64
    share: F32
    band: int


class Fluxes(NamedTuple):
    """Of each entry: `flux`, its formal `var`, the covariance `beside` with the next entry of the column; what a level
    of 1 beneath all pixels would add (`level`), what the given scattered light adds (`under`, already subtracted), and
    the share of the light on good pixels (`kept`). Entries without any have var 0.
    """

    flux: F64
    var: F64
    beside: F64
    level: F64
    under: F64
    kept: F64


def layout(
    column: ArrayLike, centre: ArrayLike, sigma: ArrayLike, offset: ArrayLike, below: ArrayLike, nx: int
) -> Layout:
    """Return the layout of entries sorted by `column` (e,) and then by `centre` (e,), the row of their light.

    The share of light below an offset from the centre is `below` (p,) at `offset` (p,), in units of `sigma` (e,).
    Raises ShapeError for entries out of order.
    """
    column, rows, width = plain(column, np.int64), float64(centre), float64(sigma)
    same_shape("column, centre and sigma", column, rows, width)
    if np.any(np.lexsort((rows, column)) != np.arange(column.size)):
        raise ShapeError("entries sorted by column and row", "they are not")
    known = float64(offset)
    low, high = float(known.min()), float(known.max())
    fine = low + _FINE * np.arange(math.ceil((high - low) / _FINE) + 1)
    table = float64(np.interp(fine, known, float64(below)))
    reach = math.ceil(max(-low, high) * float(width.max(initial=1.0)) + 0.5)
    first = plain(np.floor(rows + 0.5).astype(np.int64) - reach, np.int64)
    share = np.zeros((column.size, 2 * reach + 1), dtype=np.float32)
    each_strip(lambda a, b: _shares(rows[a:b], width[a:b], first[a:b], table, low, share[a:b]), column.size, 16384)
    start = np.searchsorted(column, np.arange(nx + 1))
    nearby = np.searchsorted(column * 1_000_000 + first, column * 1_000_000 + first - 2 * reach)
    band = int(np.max(np.arange(column.size) - np.maximum(nearby, start[column]), initial=0))
    return Layout(plain(start, np.int64), first, share, band)


def reduced(
    data: ArrayLike, weight: ArrayLike, lay: Layout, basis_first: ArrayLike, basis: ArrayLike, count: int
) -> tuple[F64, F64]:
    """Return the normal matrices (nx, count, count) and sides (nx, count) of the scattered light of each column.

    `data`, `weight` (nx, ny), transposed images, weight 0 where a pixel may not be used. Row y has the terms
    `basis_first[y]` ... + 3 with values `basis` (ny, 4).
    """
    image, weights = float32(data), float32(weight)
    same_shape("data and weight", image, weights)
    at, value = plain(basis_first, np.int64), float64(basis)
    matrix, side = np.zeros((image.shape[0], count, count)), np.zeros((image.shape[0], count))

    def work(a: int, b: int) -> None:
        for x in range(a, b):
            part = slice(lay.start[x], lay.start[x + 1])
            _reduce(image[x], weights[x], lay.first[part], lay.share[part], lay.band, at, value, matrix[x], side[x])

    each_strip(work, image.shape[0], _STRIP)
    return matrix, side


def fluxes(
    data: ArrayLike, weight: ArrayLike, scatter: ArrayLike, lay: Layout, columns: ArrayLike | None = None
) -> Fluxes:
    """Return the fluxes of all entries, or of those in `columns`, over the given `scatter`; all images are (nx, ny)."""
    image, weights, ground = float32(data), float32(weight), float32(scatter)
    same_shape("data, weight and scatter", image, weights, ground)
    wanted = np.arange(image.shape[0]) if columns is None else np.asarray(columns)
    found = Fluxes(*(np.zeros(lay.first.size) for _ in range(6)))

    def work(a: int, b: int) -> None:
        for x in wanted[a:b]:
            part = slice(lay.start[x], lay.start[x + 1])
            _fluxes(image[x], weights[x], ground[x], lay.first[part], lay.share[part], lay.band,
                    found.flux[part], found.var[part], found.beside[part], found.level[part], found.under[part],
                    found.kept[part])  # fmt: skip

    each_strip(work, wanted.size, _STRIP)
    return found


def drawn(flux: ArrayLike, lay: Layout, ny: int, columns: ArrayLike | None = None) -> F32:
    """Return the transposed image (nx, ny) of entries with the given `flux` (e,), or some columns of it (c, ny)."""
    light = float64(flux)
    wanted = np.arange(lay.start.size - 1) if columns is None else np.asarray(columns)
    image = np.zeros((wanted.size, ny), dtype=np.float32)

    def work(a: int, b: int) -> None:
        for row in range(a, b):
            part = slice(lay.start[wanted[row]], lay.start[wanted[row] + 1])
            _draw(light[part], lay.first[part], lay.share[part], image[row])

    each_strip(work, image.shape[0], _STRIP)
    return image


@kernel
def _shares(centre: F64, sigma: F64, first: I64, table: F64, low: float, share: F32) -> None:
    last = table.size - 1
    for e in range(centre.size):
        before = 0.0
        for j in range(share.shape[1] + 1):
            place = ((first[e] + j - 0.5 - centre[e]) / sigma[e] - low) / _FINE
            k = int(min(max(place, 0.0), last - 1.0))
            part = min(max(place - k, 0.0), 1.0)
            now = table[k] + part * (table[k + 1] - table[k])
            if j > 0:
                share[e, j - 1] = now - before
            before = now


@kernel
def _reduce(
    data: F32, weight: F32, first: I64, share: F32, band: int, at: I64, basis: F64, matrix: F64, side: F64
) -> None:
    n, wide, ny = share.shape[0], share.shape[1], data.size
    normal, dead = _normal(weight, first, share, band)
    terms = matrix.shape[0]
    right = np.zeros((n, terms + 1))
    for i in range(n):
        for y in range(max(first[i], 0), min(first[i] + wide, ny)):
            light = 0.0 if dead[i] else weight[y] * share[i, y - first[i]]
            right[i, terms] += light * data[y]
            for j in range(4):
                right[i, at[y] + j] += light * basis[y, j]
    solution = right.copy()
    _substitute(normal, solution)
    for y in range(ny):
        for j in range(4):
            side[at[y] + j] += weight[y] * basis[y, j] * data[y]
            for k in range(4):
                matrix[at[y] + j, at[y] + k] += weight[y] * basis[y, j] * basis[y, k]
    for i in range(n):
        low, high = at[min(max(first[i], 0), ny - 1)], at[max(min(first[i] + wide, ny) - 1, 0)] + 4
        for j in range(low, high):
            side[j] -= right[i, j] * solution[i, terms]
            for k in range(terms):
                matrix[j, k] -= right[i, j] * solution[i, k]


@kernel
def _fluxes(
    data: F32,
    weight: F32,
    scatter: F32,
    first: I64,
    share: F32,
    band: int,
    flux: F64,
    var: F64,
    beside: F64,
    level: F64,
    under: F64,
    kept: F64,
) -> None:
    n, wide, ny = share.shape[0], share.shape[1], data.size
    normal, dead = _normal(weight, first, share, band)
    right = np.zeros((n, 3))
    for i in range(n):
        kept[i] = 0.0
        for y in range(max(first[i], 0), min(first[i] + wide, ny)):
            light = weight[y] * share[i, y - first[i]]
            kept[i] += share[i, y - first[i]] if weight[y] > 0 else 0.0
            if not dead[i]:
                right[i, 0] += light * data[y]
                right[i, 1] += light
                right[i, 2] += light * scatter[y]
    _substitute(normal, right)
    inverse = _inverse(normal)
    for i in range(n):
        flux[i], level[i], under[i] = right[i, 0] - right[i, 2], right[i, 1], right[i, 2]
        var[i] = 0.0 if dead[i] else inverse[i, 0]
        beside[i] = inverse[i + 1, 1] if i + 1 < n and band > 0 else 0.0


@kernel
def _draw(flux: F64, first: I64, share: F32, image: F32) -> None:
    for i in range(flux.size):
        for y in range(max(first[i], 0), min(first[i] + share.shape[1], image.size)):
            image[y] += flux[i] * share[i, y - first[i]]


@helper
def _normal(weight: F32, first: I64, share: F32, band: int) -> tuple[F64, F64]:
    """Return the Cholesky factor of P^T W P, element (i, i - d) at [i, d], and 1 for spectra without usable pixels.

    The factor has 1 on the diagonal for those.
    """
    n, wide, ny = share.shape[0], share.shape[1], weight.size
    matrix, dead = np.zeros((n, band + 1)), np.zeros(n)
    for i in range(n):
        on = 0.0
        for y in range(max(first[i], 0), min(first[i] + wide, ny)):
            on += share[i, y - first[i]] if weight[y] > 0 else 0.0
        dead[i] = 1.0 if on < _LEAST else 0.0
    for i in range(n):
        for d in range(min(band, i) + 1):
            j = i - d
            if dead[i] or dead[j]:
                continue
            for y in range(max(first[i], 0), min(first[j] + wide, ny)):
                matrix[i, d] += weight[y] * share[i, y - first[i]] * share[j, y - first[j]]
        if dead[i]:
            matrix[i, 0] = 1.0
    _factor(matrix)
    return matrix, dead


@helper
def _factor(a: F64) -> None:
    """Replace a banded positive matrix by its Cholesky factor; spectra that cannot be told apart get a huge error."""
    n, band = a.shape[0], a.shape[1] - 1
    for i in range(n):
        whole = a[i, 0]
        for d in range(min(band, i), -1, -1):
            j = i - d
            total = a[i, d]
            for k in range(1, min(band - d, j) + 1):
                total -= a[i, d + k] * a[j, k]
            a[i, d] = math.sqrt(max(total, 1e-9 * whole)) if d == 0 else total / a[j, 0]


@helper
def _substitute(factor: F64, right: F64) -> None:
    """Replace the right-hand sides (n, m) by the solutions."""
    n, band, m = factor.shape[0], factor.shape[1] - 1, right.shape[1]
    for i in range(n):
        for d in range(1, min(band, i) + 1):
            for c in range(m):
                right[i, c] -= factor[i, d] * right[i - d, c]
        for c in range(m):
            right[i, c] /= factor[i, 0]
    for i in range(n - 1, -1, -1):
        for d in range(1, min(band, n - 1 - i) + 1):
            for c in range(m):
                right[i, c] -= factor[i + d, d] * right[i + d, c]
        for c in range(m):
            right[i, c] /= factor[i, 0]


@helper
def _inverse(factor: F64) -> F64:
    """Return the elements within the band of the inverse, (i, i - d) at [i, d].

    From the last row up (Takahashi, Fagan & Chen 1973; Erisman & Tinney 1975, Comm. ACM 18, 177).
    """
    n, band = factor.shape[0], factor.shape[1] - 1
    z = np.zeros((n, band + 1))
    for j in range(n - 1, -1, -1):
        reach = min(band, n - 1 - j)
        for d in range(reach, -1, -1):
            i = j + d
            total = 1.0 / factor[j, 0] ** 2 if d == 0 else 0.0
            for k in range(1, reach + 1):
                other = j + k
                total -= factor[other, k] / factor[j, 0] * z[max(i, other), abs(i - other)]
            z[i, d] = total
    return z


def rehearse() -> None:
    """Compile the kernels of this module."""
    column, centre = np.array([0, 0, 1]), np.array([3.0, 9.0, 4.0])
    lay = layout(column, centre, np.ones(3), [-3.0, 0.0, 3.0], [0.0, 0.5, 1.0], 2)
    ones = np.ones((2, 14))
    reduced(ones, ones, lay, np.zeros(14), np.full((14, 4), 0.25), 4)
    drawn(fluxes(ones, ones, ones, lay).flux, lay, 14)


def profiles_plain(x: int, lay: Layout, ny: int) -> F64:
    """Return the profiles (ny, n) of the spectra in one column."""
    part = slice(lay.start[x], lay.start[x + 1])
    out = np.zeros((ny, part.stop - part.start))
    for i, (first, share) in enumerate(zip(lay.first[part], lay.share[part], strict=True)):
        inside = (first + np.arange(share.size) >= 0) & (first + np.arange(share.size) < ny)
        out[first + np.flatnonzero(inside), i] = share[inside]
    return out


def column_plain(
    data: ArrayLike, weight: ArrayLike, scatter: ArrayLike, profiles: F64, basis: F64
) -> tuple[F64, F64, F64, F64]:
    """Return fluxes, their covariance, and the scattered light's matrix and side of one column, by dense algebra."""
    w, d = float64(weight), float64(data)
    inverse = float64(np.linalg.inv(profiles.T @ (w[:, None] * profiles)))
    flux = inverse @ profiles.T @ (w * (d - float64(scatter)))
    both = profiles.T @ (w[:, None] * basis)
    matrix = basis.T @ (w[:, None] * basis) - both.T @ inverse @ both
    side = basis.T @ (w * d) - both.T @ inverse @ profiles.T @ (w * d)
    return float64(flux), inverse, float64(matrix), float64(side)
