"""Fringes: interference in a thin detector, seen as ripples that neighbouring rows share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Ripple(NamedTuple):
    """A stretch of columns with fringes: [`start`, `stop`) pixel, their relative `amplitude` (half peak to peak)."""

    start: int
    stop: int
    amplitude: float


def ripples(response: NDArray[Any], good: NDArray[np.bool_], *, width: int = 64, least: float = 0.01) -> list[Ripple]:
    """Return where `response` (ny, nx), about 1, ripples along x by more than `least`, in blocks of `width` columns.

    The covariance of adjacent rows holds neither photon noise nor the response of single pixels. It counts as fringes
    where it also turns negative at some distance along x, as every ripple does and dust does not.
    """
    blocks = [(x, min(x + width, response.shape[1])) for x in range(0, response.shape[1] - width // 2, width)]
    amplitudes = [_amplitude(response[:, a:b], good[:, a:b]) for a, b in blocks]
    found: list[Ripple] = []
    for (start, stop), amplitude in zip(blocks, amplitudes, strict=True):
        if amplitude < least:
            continue
        if found and found[-1].stop == start:
            found[-1] = Ripple(found[-1].start, stop, max(found[-1].amplitude, amplitude))
        else:
            found.append(Ripple(start, stop, amplitude))
    return found


def _amplitude(block: NDArray[Any], good: NDArray[np.bool_]) -> float:
    """Return the amplitude of what two adjacent rows share and what reverses along x; 0 where it does not."""
    rows = good.mean(axis=1) > 0.8
    both = rows[:-1] & rows[1:]
    if both.sum() < 10 or block.shape[1] < 16:
        return 0.0
    ripple = np.where(good, block - _row_trend(block, good), 0.0)
    ripple = np.clip(ripple, -0.3, 0.3)
    above, below = ripple[:-1][both], ripple[1:][both]
    width = block.shape[1]
    products = [np.mean(above[:, : width - lag] * below[:, lag:], axis=1) for lag in range(width // 2)]
    shared = np.median(products, axis=1)  # of rows: a spot of dust does not count
    turns = float(np.min(shared)) < -0.25 * float(shared[0])
    error = float(np.std(products[0]) / np.sqrt(len(above)))
    return float(np.sqrt(2 * shared[0])) if shared[0] > 4 * error and turns else 0.0


def _row_trend(block: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the straight line along each row: what is wider than the block is no ripple."""
    x = np.linspace(-1, 1, block.shape[1])
    weight = good.astype(np.float64)
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1)
    mean = np.sum(block * weight, axis=1, keepdims=True) / total
    power = np.maximum(np.sum(weight * x**2, axis=1, keepdims=True), 1e-9)
    slope = np.sum((block - mean) * weight * x, axis=1, keepdims=True) / power
    return np.asarray(mean + slope * x)
