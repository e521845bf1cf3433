"""The search for cosmic rays in plain numpy: the oracle of `cosmics.lacosmic`, whole images at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Image = NDArray[np.float64]
Bools = NDArray[np.bool_]


def lacosmic_plain(
    data: Image,
    noise_var: float,
    mask: Bools,
    *,
    model: Image | None = None,
    sigclip: float = 5.0,
    objlim: float = 3.0,
    growclip: float = 3.0,
    rimclip: float = 2.0,
    iterations: int = 4,
) -> Bools:
    """Do what `cosmics.lacosmic` does with unit `photon` and a model without error."""
    expected = np.zeros_like(data) if model is None else model
    noise = noise_var + np.maximum(expected, 0)
    empty = float(np.median(data[::7, ::7][~mask[::7, ::7]])) if model is None else 0.0
    residual = _filled(np.where(mask, 0, data - expected), mask, mask, empty)
    found = np.zeros(mask.shape, dtype=bool)
    for _ in range(iterations):
        front = _hits(residual, noise, sigclip, objlim) & ~mask & ~found
        if not front.any():
            break
        start = found.copy()
        for limit in (growclip, growclip, rimclip):
            found |= front
            residual = _filled(residual, front, mask | found, empty)
            source = found & ~start if limit == rimclip else front
            front = _touched(source) & _excess(residual, noise, limit) & ~found & ~mask
        found |= front
        residual = _filled(residual, front, mask | found, empty)
    return found


def _hits(residual: Image, noise: Image, sigclip: float, objlim: float) -> Bools:
    level = np.maximum(_separable(residual, 5), 0)
    sigma = np.sqrt(np.maximum(noise + level, 1e-6))
    padded = np.pad(residual, 1, mode="edge")
    x = padded[1:-1, :-2], padded[1:-1, 2:]
    y = padded[:-2, 1:-1], padded[2:, 1:-1]
    signal = sum(np.maximum(2 * residual - a - b, 0) for a in x for b in y) / (8 * sigma)
    excess = signal - _separable(signal, 5)
    middle = _windows(residual, (3, 3))
    fine = np.maximum((middle - _separable(middle, 7)) / sigma - 1, 0.01)
    return np.asarray((excess > sigclip) & (excess > objlim * fine))


def _excess(residual: Image, noise: Image, limit: float) -> Bools:
    level = np.maximum(_separable(residual, 5), 0)
    return np.asarray(residual - level > limit * np.sqrt(noise + level))


def _windows(image: Image, size: tuple[int, int]) -> Image:
    padded = np.pad(image, [(size[0] // 2,) * 2, (size[1] // 2,) * 2], mode="edge")
    return np.asarray(np.median(sliding_window_view(padded, size), axis=(-2, -1)))


def _separable(image: Image, size: int) -> Image:
    return _windows(_windows(image, (size, 1)), (1, size))


def _touched(points: Bools) -> Bools:
    padded = np.pad(points, 1)
    return np.asarray(sliding_window_view(padded, (3, 3)).any(axis=(-2, -1)))


def _filled(residual: Image, where: Bools, hole: Bools, empty: float) -> Image:
    result: NDArray[Any] = residual.copy()
    for y, x in np.argwhere(where):
        cut = slice(max(y - 2, 0), y + 3), slice(max(x - 2, 0), x + 3)
        near = residual[cut][~hole[cut]]
        result[y, x] = np.median(near) if near.size else empty
    return result
