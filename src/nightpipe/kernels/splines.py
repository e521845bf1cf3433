"""Weighted cubic B-splines of many unsorted points: banded normal equations, covariance included.

The second variable, if any, enters as a polynomial per spline coefficient (Kelson 2003, PASP 115, 688, has the sky
of a tilted slit as such a surface on native pixels).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.base.errors import NightpipeError
from nightpipe.kernels.arrays import F64, I64, float64, same_shape
from nightpipe.kernels.band import factorise, inverse_band, solve
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.threads import each_strip, strips

_CHUNK = 1 << 17  # points per partial sum: fixed, so that the result does not depend on the number of threads
_PARTS = 8
_RIDGE = 1e-8


class KnotsError(NightpipeError):
    """Knots that cannot carry a spline, or points that cannot determine it."""


@dataclass(frozen=True)
class SplineFit:
    """A cubic spline in x whose coefficients are polynomials in y.

    `knots` (m,) increasing, the ends included; `coef` (m + 2, order_y + 1), powers of y scaled from `domain_y` to
    [-1, 1]; `cov` (n, band) is the band of the coefficients' covariance that evaluation needs: ``cov[j, d]`` belongs
    to the flattened coefficients j - d and j. `unsupported` (m + 2, order_y + 1) marks those without data, which
    continue their neighbours straight. `chi2` over `points` of positive weight.
    """

    knots: F64
    coef: F64
    cov: F64
    domain_y: tuple[float, float]
    unsupported: NDArray[np.bool_]
    chi2: float
    points: int

    @property
    def dof(self) -> int:
        """Return the degrees of freedom."""
        return self.points - int(self.coef.size) + int(self.unsupported.sum())


def fit_bspline(
    x: ArrayLike,
    value: ArrayLike,
    weight: ArrayLike,
    knots: ArrayLike,
    order_y: int = 0,
    y: ArrayLike | None = None,
    domain_y: tuple[float, float] | None = None,
) -> SplineFit:
    """Fit ``value(x[, y])`` by weighted least squares.

    `x`, `value`, `weight` (= 1/sigma^2; 0 leaves a point out), `y`: any one shape and order. `knots` increasing, not
    necessarily even, the outer ones bounding the fit: points outside are left out. Raises KnotsError, ShapeError.
    """
    points = _Points(x, value, weight, y, domain_y)
    breaks = _checked_knots(knots)
    sums = _sums(points, breaks, order_y)
    if not sums[:, -1].any():
        raise KnotsError("points of positive weight between the outer knots", "none", "look at mask and wavelengths")
    matrix, right = _assemble(sums, len(breaks), order_y + 1)
    factor, weak = _factorised(matrix, breaks, order_y + 1)
    coef = solve(factor, right).reshape(-1, order_y + 1)
    chi2 = float(sums[:, -2].sum()) - float(coef.ravel() @ right)
    return SplineFit(breaks, coef, inverse_band(factor), points.domain, weak, chi2, round(float(sums[:, -1].sum())))


def normal_equations(
    x: ArrayLike,
    value: ArrayLike,
    weight: ArrayLike,
    knots: ArrayLike,
    order_y: int = 0,
    y: ArrayLike | None = None,
    domain_y: tuple[float, float] | None = None,
) -> tuple[F64, F64]:
    """Return the normal matrix as a band, ``band[j, d]`` = element (j - d, j), and the right-hand side.

    For fits with a penalty of their own; arguments as in `fit_bspline`, unknowns in the order of its flattened `coef`.
    """
    breaks = _checked_knots(knots)
    sums = _sums(_Points(x, value, weight, y, domain_y), breaks, order_y)
    band, right = _assemble(sums, len(breaks), order_y + 1)
    return band, right


def evaluate(fit: SplineFit, x: ArrayLike, y: ArrayLike | None = None) -> F64:
    """Return the spline at x (and y), any shape; beyond the outer knots the end value is held."""
    return _evaluated(fit, x, y, variance=False)


def variance(fit: SplineFit, x: ArrayLike, y: ArrayLike | None = None) -> F64:
    """Return the variance of `evaluate` that the weights imply, diag(B C B^T), any shape."""
    return _evaluated(fit, x, y, variance=True)


def basis(knots: ArrayLike, x: ArrayLike) -> tuple[I64, F64]:
    """Return for each x the first of its four coefficients (n,) and the basis functions (n, 4)."""
    breaks, flat = _checked_knots(knots), float64(x).ravel()
    first, values = np.empty(flat.size, dtype=np.int64), np.empty((flat.size, 4))
    _basis_all(flat, _table(breaks), _buckets(breaks), first, values)
    return first, values


class _Points:
    """The data in the kernels' form: flat, float64, y scaled to [-1, 1]."""

    def __init__(
        self,
        x: ArrayLike,
        value: ArrayLike,
        weight: ArrayLike,
        y: ArrayLike | None,
        domain: tuple[float, float] | None,
    ) -> None:
        self.x, self.value, self.weight = (float64(part).ravel() for part in (x, value, weight))
        second = np.zeros_like(self.x) if y is None else float64(y).ravel()
        same_shape("x, value, weight and y", self.x, self.value, self.weight, second)
        self.domain = domain or (float(second.min(initial=0)), float(second.max(initial=0)))
        self.y = scaled_to(second, self.domain)


def scaled_to(y: F64, domain: tuple[float, float]) -> F64:
    """Map `domain` onto [-1, 1]; a domain of no width onto 0."""
    low, high = domain
    return (2.0 * y - (low + high)) / (high - low) if high > low else np.zeros_like(y)


def _checked_knots(knots: ArrayLike) -> F64:
    breaks = float64(knots)
    if breaks.ndim != 1 or len(breaks) < 2 or not np.all(np.diff(breaks) > 0) or not np.isfinite(breaks).all():
        raise KnotsError("two or more finite knots, increasing", f"{breaks.shape}", "drop repeated knots")
    return breaks


def extended_knots(breaks: F64) -> F64:
    """Return the knots with the outer ones fourfold."""
    return np.concatenate([np.full(3, breaks[0]), breaks, np.full(3, breaks[-1])])


def _table(breaks: F64) -> F64:
    """Return per interval its six knots and the reciprocals that the basis functions need, (m - 1, 12)."""
    t, size = extended_knots(breaks), len(breaks) - 1
    near = [t[k : k + size] for k in range(1, 7)]
    spans = ((3, 2), (3, 1), (4, 2), (3, 0), (4, 1), (5, 2))
    return np.ascontiguousarray(np.column_stack([*near, *(1.0 / (near[a] - near[b]) for a, b in spans)]))


def _buckets(breaks: F64) -> I64:
    """Return a table from even steps in x to the interval in which each step begins: lookup without searching."""
    edges = np.linspace(breaks[0], breaks[-1], 4 * len(breaks), endpoint=False)
    return np.clip(np.searchsorted(breaks, edges, side="right") - 1, 0, len(breaks) - 2).astype(np.int64)


def _sums(points: _Points, breaks: F64, order_y: int) -> F64:
    """Return per interval the sums of weight times products of basis functions and powers of y.

    Columns: 10 products of basis functions for each of 2 order_y + 1 powers, 4 right-hand sides for each of
    order_y + 1, then sum(weight value^2) and the number of points.
    """
    length = max(_CHUNK, -(-points.x.size // _PARTS))
    width = 10 * (2 * order_y + 1) + 4 * (order_y + 1) + 2
    parts = np.zeros((len(strips(points.x.size, length)), len(breaks) - 1, width))
    table, buckets = _table(breaks), _buckets(breaks)

    def work(start: int, stop: int) -> None:
        cut = slice(start, stop)
        x, y, value, weight = points.x[cut], points.y[cut], points.value[cut], points.weight[cut]
        _accumulate(x, y, value, weight, table, buckets, order_y + 1, parts[start // length])

    each_strip(work, points.x.size, length)
    return np.asarray(parts.sum(axis=0))


@helper
def _interval(x: float, table: F64, buckets: I64) -> int:
    """Return the interval of x, which lies within the outer knots."""
    last = table.shape[0] - 1
    low, high = table[0, 2], table[last, 3]
    i = buckets[min(int((x - low) / (high - low) * buckets.size), buckets.size - 1)]
    while i > 0 and x < table[i, 2]:
        i -= 1
    while i < last and x >= table[i, 3]:
        i += 1
    return i


@helper
def _basis(x: float, row: F64, b: F64) -> None:
    """Write the four cubic basis functions at x (de Boor 1972, J. Approx. Theory 6, 50): never negative.

    `row` holds the six knots around the interval and the reciprocals of their differences, from `_table`.
    """
    l3, l2, l1 = x - row[0], x - row[1], x - row[2]
    r1, r2, r3 = row[3] - x, row[4] - x, row[5] - x
    p0, p1 = r1 * row[6], l1 * row[6]
    q0, q1 = p0 * row[7], p1 * row[8]
    c0, c1, c2 = r1 * q0, l2 * q0 + r2 * q1, l1 * q1
    s0, s1, s2 = c0 * row[9], c1 * row[10], c2 * row[11]
    b[0] = r1 * s0
    b[1] = l3 * s0 + r2 * s1
    b[2] = l2 * s1 + r3 * s2
    b[3] = l1 * s2


@kernel
def _accumulate(x: F64, y: F64, value: F64, weight: F64, table: F64, buckets: I64, powers: int, sums: F64) -> None:
    """Add each point's products to the row of its interval in `sums`."""
    low, high = table[0, 2], table[table.shape[0] - 1, 3]
    b = np.empty(4)
    right = 10 * (2 * powers - 1)
    for n in range(x.size):
        w = weight[n]
        if not (w > 0 and x[n] >= low and x[n] <= high):
            continue
        i = _interval(x[n], table, buckets)
        _basis(x[n], table[i], b)
        row = sums[i]
        wv, power = w * value[n], 1.0
        for p in range(2 * powers - 1):
            _add_products(row[10 * p : 10 * p + 10], b, w * power)
            if p < powers:
                for a in range(4):
                    row[right + 4 * p + a] += wv * power * b[a]
            power *= y[n]
        row[row.size - 2] += wv * value[n]
        row[row.size - 1] += 1.0


@helper
def _add_products(row: F64, b: F64, w: float) -> None:
    """Add w times the ten different products of the four basis functions."""
    w0, w1, w2, w3 = w * b[0], w * b[1], w * b[2], w * b[3]
    row[0] += w0 * b[0]
    row[1] += w0 * b[1]
    row[2] += w0 * b[2]
    row[3] += w0 * b[3]
    row[4] += w1 * b[1]
    row[5] += w1 * b[2]
    row[6] += w1 * b[3]
    row[7] += w2 * b[2]
    row[8] += w2 * b[3]
    row[9] += w3 * b[3]


@kernel
def _assemble(sums: F64, knots: int, powers: int) -> tuple[F64, F64]:
    """Return the normal matrix as a band, ``band[j, d]`` = element (j - d, j), and the right-hand side."""
    size = (knots + 2) * powers
    band, right = np.zeros((size, 4 * powers)), np.zeros(size)
    start = 10 * (2 * powers - 1)
    for i in range(knots - 1):
        pair = 0
        for a in range(4):
            for c in range(a, 4):
                for p in range(powers):
                    for r in range(powers):
                        j, d = (i + c) * powers + r, (c - a) * powers + r - p
                        if d >= 0:
                            band[j, d] += sums[i, 10 * (p + r) + pair]
                pair += 1
            for p in range(powers):
                right[(i + a) * powers + p] += sums[i, start + 4 * p + a]
    return band, right


def _factorised(matrix: F64, breaks: F64, powers: int) -> tuple[F64, NDArray[np.bool_]]:
    """Return the Cholesky factor and which coefficients the data leave open, (m + 2, powers).

    Those are tied to their neighbours by second differences at the Greville points, a millionth of a typical weight:
    determined coefficients do not feel it.
    """
    factor, weak = factorise(matrix)
    found = weak.copy()
    while weak.any():
        diagonal = matrix[:, 0]
        matrix = matrix + _ridge(found.reshape(-1, powers), breaks) * float(np.median(diagonal[diagonal > 0], axis=0))
        factor, weak = factorise(matrix)
        if (weak & found).any() or not np.isfinite(factor).all():
            raise KnotsError(
                "a spline that the points determine", f"{int(found.sum())} free ones", "fewer knots or powers"
            )
        found |= weak
    return factor, found.reshape(-1, powers)


def _ridge(open_: NDArray[np.bool_], breaks: F64) -> F64:
    """Return the band of the penalty on second differences that touch an open coefficient."""
    t, (size, powers) = extended_knots(breaks), open_.shape
    greville = (t[1:-3] + t[2:-2] + t[3:-1]) / 3.0
    band = np.zeros((size * powers, 4 * powers))
    for p in range(powers):
        rows = [k for k in range(1, size - 1) if open_[k - 1 : k + 2, p].any()]
        for k in rows:
            left, right = greville[k] - greville[k - 1], greville[k + 1] - greville[k]
            stencil = np.array([right, -(left + right), left]) / (left + right)
            for a in range(3):
                for c in range(a, 3):
                    band[(k - 1 + c) * powers + p, (c - a) * powers] += _RIDGE * stencil[a] * stencil[c]
    return band


def _evaluated(fit: SplineFit, x: ArrayLike, y: ArrayLike | None, *, variance: bool) -> F64:
    where = float64(x)
    flat = where.ravel()
    second = np.zeros_like(flat) if y is None else float64(np.broadcast_to(np.asarray(y), where.shape)).ravel()
    second, result = scaled_to(second, fit.domain_y), np.empty(flat.size)
    table, buckets, local = _table(fit.knots), _buckets(fit.knots), _local(fit)

    def work(start: int, stop: int) -> None:
        cut = slice(start, stop)
        if variance:
            _variance_at(flat[cut], second[cut], table, buckets, fit.coef.shape[1], fit.cov, result[cut])
        else:
            _value_at(flat[cut], second[cut], table, buckets, local, result[cut])

    each_strip(work, flat.size, _CHUNK)
    return result.reshape(where.shape)


def _local(fit: SplineFit) -> F64:
    """Return per interval and power of y the cubic in u, which runs over it from -1 to 1: (m - 1, powers, 4)."""
    nodes = np.cos(np.pi * (np.arange(4) + 0.5) / 4)
    middle, half = 0.5 * (fit.knots[1:] + fit.knots[:-1]), 0.5 * np.diff(fit.knots)
    first, values = basis(fit.knots, middle[:, None] + half[:, None] * nodes)
    at_nodes = np.einsum("na,nap->np", values, fit.coef[first[:, None] + np.arange(4)]).reshape(len(half), 4, -1)
    return np.ascontiguousarray(np.einsum("kn,inp->ipk", np.linalg.inv(np.vander(nodes, increasing=True)), at_nodes))


@kernel
def _value_at(x: F64, y: F64, table: F64, buckets: I64, local: F64, result: F64) -> None:
    low, high = table[0, 2], table[table.shape[0] - 1, 3]
    for n in range(x.size):
        at = min(max(x[n], low), high)
        i = _interval(at, table, buckets)
        u = ((at - table[i, 2]) - (table[i, 3] - at)) * table[i, 6]
        total = 0.0
        for p in range(local.shape[1] - 1, -1, -1):
            c = local[i, p]
            total = total * y[n] + (c[0] + u * (c[1] + u * (c[2] + u * c[3])))
        result[n] = total


@kernel
def _variance_at(x: F64, y: F64, table: F64, buckets: I64, powers: int, cov: F64, result: F64) -> None:
    low, high = table[0, 2], table[table.shape[0] - 1, 3]
    b, row = np.empty(4), np.empty(4 * powers)
    for n in range(x.size):
        at = min(max(x[n], low), high)
        i = _interval(at, table, buckets)
        _basis(at, table[i], b)
        for a in range(4):
            power = b[a]
            for p in range(powers):
                row[a * powers + p] = power
                power *= y[n]
        total = 0.0
        for c in range(4 * powers):
            part = 0.5 * row[c] * cov[i * powers + c, 0]
            for d in range(1, c + 1):
                part += row[c - d] * cov[i * powers + c, d]
            total += 2.0 * part * row[c]
        result[n] = max(total, 0.0)


@kernel
def _basis_all(x: F64, table: F64, buckets: I64, first: I64, values: F64) -> None:
    low, high = table[0, 2], table[table.shape[0] - 1, 3]
    for n in range(x.size):
        at = min(max(x[n], low), high)
        first[n] = _interval(at, table, buckets)
        _basis(at, table[first[n]], values[n])


def rehearse() -> None:
    """Compile the kernels of this module."""
    x = np.linspace(0.0, 1.0, 12)
    fit = fit_bspline(x, x, np.ones(12), [0.0, 0.5, 1.0])
    evaluate(fit, x)
    variance(fit, x)
    basis([0.0, 0.5, 1.0], x)
