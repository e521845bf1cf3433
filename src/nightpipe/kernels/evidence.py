"""Evidence for a template at each redshift, from its weighted correlation with a spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.kernels.arrays import F32, F64, I64, float32, float64, plain, same_shape
from nightpipe.kernels.build import kernel


def evidence(
    product: ArrayLike,
    power: ArrayLike,
    weighted: ArrayLike,
    weight: ArrayLike,
    spans: ArrayLike,
    lowest: int,
    spacing: int,
    *,
    freedom: float,
    least: int,
) -> F32:
    """Return ``-nu / 2 ln(1 - rho^2)`` (templates, lags): how much better a scaled template is than a flat spectrum.

    `product` (templates, lags) is sum(w d t) of data and shifted template, `power` (templates, lags) sum(w t^2),
    `weighted` and `weight` (n + 1,) the running sums of w d^2 and w over the data's bins from 0; `spans` (templates, 2)
    the template's bins, first and one past the last; lag j shifts the template by `lowest` + j `spacing` bins. rho is
    the correlation over the overlap, nu = `freedom` sum(w). Zero where it is negative or fewer than `least` bins are
    shared.
    """
    numerator, norm = float32(product), float32(power)
    same_shape("product and power", numerator, norm)
    result = np.zeros(numerator.shape, dtype=np.float32)
    bounds = plain(spans, np.int64)
    _evidence(
        numerator,
        norm,
        float64(weighted),
        float64(weight),
        bounds,
        int(lowest),
        int(spacing),
        float(freedom),
        int(least),
        result,
    )
    return result


@kernel
def _evidence(
    product: F32,
    power: F32,
    weighted: F64,
    weight: F64,
    spans: I64,
    lowest: int,
    spacing: int,
    freedom: float,
    least: int,
    out: F32,
) -> None:
    n = len(weight) - 1
    data_first, data_last = 0, n
    while data_first < n and weight[data_first + 1] == 0.0:
        data_first += 1
    while data_last > 0 and weight[data_last - 1] == weight[n]:
        data_last -= 1
    for row in range(product.shape[0]):
        for lag in range(product.shape[1]):
            first = min(max(spans[row, 0] + lowest + spacing * lag, data_first), n)
            last = min(max(spans[row, 1] + lowest + spacing * lag, 0), data_last)
            if last - first < least or product[row, lag] <= 0.0 or power[row, lag] <= 0.0:
                continue
            squares = weighted[last] - weighted[first]
            square = product[row, lag] * product[row, lag] / (squares * power[row, lag] + 1e-30)
            if square < 0.05:  # the series, good to 2e-6, costs a tenth of the logarithm
                bits = square * (1.0 + square * (0.5 + square * (1.0 / 3.0 + 0.25 * square)))
            else:
                bits = -np.log(1.0 - min(square, 0.9999))
            out[row, lag] = 0.5 * freedom * (weight[last] - weight[first]) * bits


def rehearse() -> None:
    """Compile with the smallest arrays."""
    evidence(np.ones((1, 1)), np.ones((1, 1)), np.arange(3.0), np.arange(3.0), [[0, 2]], 0, 1, freedom=0.2, least=1)
