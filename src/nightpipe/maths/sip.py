"""Distortion polynomials of headers: SIP's inverse, and SIP turned into TPV and back without loss."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.plate import design, powers

FloatArray = NDArray[np.float64]

TPV = tuple(
    (number, p, q)
    for first, order in ((0, 0), (1, 1), (4, 2), (7, 3), (12, 4), (17, 5), (24, 6), (31, 7))
    for number, (p, q) in enumerate(((order - k, k) for k in range(order + 1)), first)
)
"""TPV's numbers with the powers (p, q) of the axis' own coordinate and the other one (the registry of FITS conventions,
TPV); 3, 11, 23, 39 are odd powers of the radius."""
RADIAL = (3, 11, 23, 39)


def inverse(
    a: FloatArray, b: FloatArray, low: tuple[float, float], high: tuple[float, float]
) -> tuple[FloatArray, ...]:
    """Return SIP's AP and BP (k, k) for `a`, `b`, true over `low` <= (u, v) <= `high` [pixel], and the worst error.

    Least squares on a grid, of an order two above the forward one (at most 7), enough for
    gentle distortions.
    """
    order = min(a.shape[0] + 1, 7)
    u, v = (part.ravel() for part in np.meshgrid(*(np.linspace(low[k], high[k], 33) for k in (0, 1))))
    f, g = u + np.polynomial.polynomial.polyval2d(u, v, a), v + np.polynomial.polynomial.polyval2d(u, v, b)
    unit = max(float(np.max(np.hypot(f, g))), 1.0)
    matrix = design(f / unit, g / unit, order)
    solved = np.linalg.lstsq(matrix, np.stack((u - f, v - g), axis=1), rcond=None)[0]
    error = float(np.abs(matrix @ solved - np.stack((u - f, v - g), axis=1)).max())
    back = np.zeros((2, order + 1, order + 1))
    for (p, q), value in zip(powers(order), solved, strict=True):
        back[:, p, q] = value / unit ** (p + q)
    return back[0], back[1], np.array(error)


def substituted(poly: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return the polynomial (k, k) in x, y that `poly` in u, v is where (u, v) = `matrix` (x, y)."""
    k = poly.shape[0]
    (a, b), (c, d) = np.asarray(matrix, float).tolist()
    left, right = [_power(a, b, p, k) for p in range(k)], [_power(c, d, q, k) for q in range(k)]
    total = np.zeros((k, k))
    for p, q in np.argwhere(poly != 0):
        total += poly[p, q] * _product(left[p], right[q], k)
    return total


def _power(a: float, b: float, n: int, k: int) -> FloatArray:
    """Return (a x + b y)**n as coefficients (k, k)."""
    power = np.zeros((k, k))
    for i in range(n + 1):
        power[n - i, i] = math.comb(n, i) * a ** (n - i) * b**i
    return power


def _product(one: FloatArray, other: FloatArray, k: int) -> FloatArray:
    """Return the product of two polynomials, whose order stays below k."""
    total = np.zeros((k, k))
    for p, q in np.argwhere(one != 0):
        total[p:, q:] += one[p, q] * other[: k - p, : k - q]
    return total


def tpv_of_sip(a: FloatArray, b: FloatArray, cd: FloatArray) -> tuple[dict[int, float], dict[int, float]]:
    """Return TPV's coefficients of both axes, by number, for SIP's `a`, `b` under the matrix `cd` [deg/pixel].

    TPV distorts after the matrix, SIP before it: the polynomials are the same, written in other variables.
    """
    plane = np.tensordot(np.asarray(cd), np.stack((a, b)), axes=1)
    own = [substituted(part, np.asarray(np.linalg.inv(cd), np.float64)) for part in plane]
    own[0][1, 0] += 1.0
    own[1][0, 1] += 1.0
    first = {n: float(own[0][p, q]) for n, p, q in TPV if p + q < own[0].shape[0]}
    second = {n: float(own[1][q, p]) for n, p, q in TPV if p + q < own[1].shape[0]}
    return first, second


def sip_of_tpv(first: dict[int, float], second: dict[int, float], cd: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return SIP's `a`, `b` for TPV coefficients by number: `tpv_of_sip` undone, constant and linear terms too."""
    top = max((p + q for n, p, q in TPV if first.get(n) or second.get(n)), default=1)
    plane = np.zeros((2, top + 1, top + 1))
    for n, p, q in TPV:
        if p + q <= top:
            plane[0, p, q] = first.get(n, 1.0 if n == 1 else 0.0)
            plane[1, q, p] = second.get(n, 1.0 if n == 1 else 0.0)
    plane[0, 1, 0] -= 1.0
    plane[1, 0, 1] -= 1.0
    pixels = np.stack([substituted(part, np.asarray(cd)) for part in plane])
    a, b = np.tensordot(np.linalg.inv(cd), pixels, axes=1)
    return a, b
