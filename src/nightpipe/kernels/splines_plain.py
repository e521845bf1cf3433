"""Splines by dense least squares in plain numpy: the oracle of `splines`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.kernels.arrays import F64, float64
from nightpipe.kernels.splines import extended_knots, scaled_to


def fit_plain(
    x: ArrayLike,
    value: ArrayLike,
    weight: ArrayLike,
    knots: ArrayLike,
    order_y: int = 0,
    y: ArrayLike | None = None,
) -> tuple[F64, F64]:
    """Return coefficients and their covariance by dense least squares; arguments as in `fit_bspline`."""
    design = design_plain(x, knots, order_y, y)
    root = np.sqrt(float64(weight).ravel())
    coef, *_ = np.linalg.lstsq(design * root[:, None], float64(value).ravel() * root, rcond=None)
    cov = np.linalg.inv((design * root[:, None] ** 2).T @ design)
    return float64(coef.reshape(-1, order_y + 1)), float64(cov)


def design_plain(x: ArrayLike, knots: ArrayLike, order_y: int = 0, y: ArrayLike | None = None) -> F64:
    """Return the dense design matrix, basis functions by the recursion of Cox and de Boor."""
    at, t = float64(x).ravel(), extended_knots(float64(knots))
    rows = [(at >= a) & ((at < b) | ((at == t[-1]) & (b == t[-1]))) & (b > a) for a, b in pairwise(t)]
    value = np.array(rows, dtype=float)
    for k in range(1, 4):
        with np.errstate(divide="ignore", invalid="ignore"):
            up = (at - t[: -k - 1, None]) / (t[k:-1] - t[: -k - 1])[:, None] * value[:-1]
            down = (t[k + 1 :, None] - at) / (t[k + 1 :] - t[1:-k])[:, None] * value[1:]
        value = np.nan_to_num(up) + np.nan_to_num(down)
    second = np.zeros_like(at) if y is None else float64(y).ravel()
    scaled = scaled_to(second, (float(second.min()), float(second.max())))
    return np.asarray((value.T[:, :, None] * scaled[:, None, None] ** np.arange(order_y + 1)).reshape(len(at), -1))
