"""The noise of a charge-coupled device: photons and readout, from a noiseless model wherever there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.maths.strips import strips


def model_variance(
    model: ArrayLike, read_noise: ArrayLike, *, per_electron: ArrayLike = 1.0, relative: ArrayLike = 0.0
) -> NDArray[Any]:
    """Return the variance [electron^2] that a pixel has when its expected signal is `model` [electron].

    ``read_noise^2 + per_electron * max(model, 0) + relative * model^2``: `read_noise` [electron] of readout and all
    that was subtracted, `per_electron` is 1 divided by the flat field, `relative` the flat's relative variance.
    A model gives unbiased errors where the pixel's own value does not: a pixel that fluctuates down would claim less
    noise and weigh more, which biases weighted sums by about one electron a pixel (Horne 1986, PASP 98, 609).
    """
    signal = np.asarray(model)
    constant = np.square(np.asarray(read_noise))
    return np.asarray(constant + per_electron * np.maximum(signal, 0) + relative * np.square(signal))


def expected_signal(data: NDArray[Any], good: NDArray[np.bool_], *, trusted: float = 400.0) -> NDArray[Any]:
    """Return an estimate of each pixel's expected signal that does not follow the pixel's own fluctuation.

    `data` (ny, nx) [electron], `good` the pixels that count. Faint pixels get the mean of the good ones among their
    eight neighbours; where that mean exceeds `trusted` electrons a pixel's own noise is below five percent of its
    signal, and sharp structure matters more: it keeps its own value. Pixels without a good neighbour keep theirs, too.
    """
    result = np.empty_like(data)
    for rows in strips(data.shape):
        first = max(rows.start - 1, 0)
        near = slice(first, rows.stop + 1)
        inner = slice(rows.start - first, rows.stop - first)
        result[rows] = _without_itself(data[near], good[near], trusted)[inner]
    return result


def _without_itself(data: NDArray[Any], good: NDArray[np.bool_], trusted: float) -> NDArray[Any]:
    total = _neighbours(np.where(good, data, np.float32(0)).astype(np.float32))
    count = _neighbours(good.astype(np.float32))
    mean = np.where(count > 0, total / np.maximum(count, 1), data)
    return np.where(mean > trusted, data, mean)


def _neighbours(image: NDArray[Any]) -> NDArray[Any]:
    """Return the sum over the eight neighbours; beyond the border lies nothing."""
    padded = np.pad(image, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - image)
