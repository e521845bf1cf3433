"""Clipped mean and median of many frames, in one pass over the stack: sorted in tiles that stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F32, F64, U8, ShapeError, flags, float64
from nightpipe.kernels.clip import clip_tiles
from nightpipe.kernels.networks import merge_exchange
from nightpipe.kernels.threads import each_strip

Stack = Sequence[ArrayLike] | NDArray[Any]
_STRIP = 1 << 15  # pixels a strip: some megabytes with tens of frames


class Combined(NamedTuple):
    """The combination of n frames, all of the frames' shape.

    `value` and `error` (one sigma of the value) float32; how many frames were `used` and how many `rejected` by
    clipping, uint16. Where none was used value and error are 0; with one and no variance the error is 0: unknown.
    """

    value: F32
    error: F32
    used: NDArray[np.uint16]
    rejected: NDArray[np.uint16]


def clipped_mean(
    frames: Stack,
    mask: Stack | None = None,
    *,
    low: float = 3.0,
    high: float = 3.0,
    iterations: int = 5,
    weights: ArrayLike | None = None,
    variance: Stack | None = None,
    factors: ArrayLike | None = None,
    scale: str = "empirical",
    floor: float = 0.0,
) -> Combined:
    """Return the mean of what is left after clipping.

    `frames` (n, ...) any dtype; `mask` the same, non-zero where a pixel is bad (non-finite pixels always are).
    The first clip stands on median and MAD (small-sample factors of Croux & Rousseeuw 1992, COMPSTAT 1, 411), so one
    cosmic ray in few frames is found; later ones, up to `iterations`, on median and standard deviation. `scale`
    ``"variance"`` clips on the frames' median `variance` instead, the only sound way with two or three frames. The
    scale is never below `floor`. `factors` (n,) multiply the frames first, `weights` (n,) weight them. The error is
    propagated from `variance` where given, else the scatter's. Raises ShapeError.
    """
    return _combine(_Stack(frames, mask, variance, factors, weights), low, high, iterations, scale, floor, median=False)


def clipped_median(
    frames: Stack,
    mask: Stack | None = None,
    *,
    low: float = 3.0,
    high: float = 3.0,
    iterations: int = 5,
    variance: Stack | None = None,
    factors: ArrayLike | None = None,
    scale: str = "empirical",
    floor: float = 0.0,
) -> Combined:
    """Return the median of what is left after clipping; arguments as in `clipped_mean`.

    The error is that of the mean times the square root of the median's relative variance for normal samples, pi/2 for
    many frames.
    """
    return _combine(_Stack(frames, mask, variance, factors, None), low, high, iterations, scale, floor, median=True)


class _Stack:
    """The frames as given; strips of them are copied into the kernel's form."""

    def __init__(
        self,
        frames: Stack,
        mask: Stack | None,
        variance: Stack | None,
        factors: ArrayLike | None,
        weights: ArrayLike | None,
    ) -> None:
        self.frames = [np.asarray(frame) for frame in frames]
        if not self.frames or any(frame.shape != self.frames[0].shape for frame in self.frames):
            raise ShapeError("frames of one shape", str([frame.shape for frame in self.frames]))
        self.shape = self.frames[0].shape
        self.mask = self._alike(mask, "masks")
        self.variance = self._alike(variance, "variances")
        n = len(self.frames)
        self.factors = np.ones(n) if factors is None else float64(factors)
        self.weights = np.ones(n) if weights is None else float64(weights)
        if not self.factors.shape == self.weights.shape == (n,):
            raise ShapeError(f"{n} factors and weights", f"{self.factors.shape} and {self.weights.shape}")

    def _alike(self, arrays: Stack | None, what: str) -> list[NDArray[Any]]:
        found = [] if arrays is None else [np.asarray(array) for array in arrays]
        if found and [a.shape for a in found] != [a.shape for a in self.frames]:
            raise ShapeError(f"{what} of the frames' shapes", str([a.shape for a in found]))
        return found

    def strip(self, start: int, stop: int) -> tuple[F32, U8, F32]:
        """Return values, bad flags and variances of the pixels in [start, stop), each (n, stop - start) or (0, 0)."""
        values = np.empty((len(self.frames), stop - start), dtype=np.float32)
        for row, frame, factor in zip(values, self.frames, self.factors, strict=True):
            _fill(row, frame, start, stop, factor)
        variance = np.empty((len(self.variance), stop - start if self.variance else 0), dtype=np.float32)
        for row, frame, factor in zip(variance, self.variance, self.factors, strict=bool(self.variance)):
            _fill(row, frame, start, stop, factor**2)
        bad = np.empty((len(self.mask), stop - start if self.mask else 0), dtype=np.uint8)
        for flag, frame in zip(bad, self.mask, strict=True):
            flag[:] = flags(_flat(frame, start, stop))
        return values, bad, variance


def _flat(frame: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    """Return pixels [start, stop) in C order, without copying the whole of a strided frame."""
    if frame.flags.c_contiguous or frame.ndim < 2:
        return frame.reshape(-1)[start:stop]
    width = int(np.prod(frame.shape[1:]))
    rows = frame[start // width : -(-stop // width)].reshape(-1)
    return rows[start - start // width * width :][: stop - start]


def _fill(row: F32, frame: NDArray[Any], start: int, stop: int, factor: float) -> None:
    pixels = _flat(frame, start, stop)
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(row, pixels, casting="unsafe")
        if factor != 1.0:
            np.multiply(row, np.float32(factor), out=row)


def _combine(
    stack: _Stack, low: float, high: float, iterations: int, scale: str, floor: float, *, median: bool
) -> Combined:
    if scale not in {"empirical", "variance"} or (scale == "variance" and not stack.variance):
        raise ShapeError("scale 'empirical', or 'variance' with the frames' variances", repr(scale))
    size = int(np.prod(stack.shape))
    floats, counts = np.zeros((2, size), dtype=np.float32), np.zeros((2, size), dtype=np.uint16)
    uneven = bool(np.ptp(stack.weights) > 0)
    choice = np.array([low, high, iterations, floor, scale == "variance", median, uneven], dtype=np.float64)
    pairs, mad = merge_exchange(len(stack.frames)), _mad_factors(len(stack.frames))

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        data, bad, variance = stack.strip(start, stop)
        value, error, used, rejected = floats[0, part], floats[1, part], counts[0, part], counts[1, part]
        clip_tiles(data, bad, variance, stack.weights, pairs, mad, choice, value, error, used, rejected)

    each_strip(work, size, _STRIP)
    value, error = floats.reshape(2, *stack.shape)
    used, rejected = counts.reshape(2, *stack.shape)
    return Combined(value, error, used, rejected)


def _mad_factors(n: int) -> F64:
    """Return the factor from the MAD of 0, 1, ... n normal values to their standard deviation."""
    small = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
    return np.array([1.4826 * small.get(k, k / (k - 0.8) if k > 1 else 1.0) for k in range(n + 1)])


def rehearse() -> None:
    """Compile the kernels of this module."""
    clipped_mean(np.ones((3, 2, 2)), np.zeros((3, 2, 2), bool))


def clipped_plain(
    frames: Stack,
    mask: Stack | None = None,
    *,
    low: float = 3.0,
    high: float = 3.0,
    iterations: int = 5,
    median: bool = False,
) -> Combined:
    """Do what `clipped_mean` and `clipped_median` do, one pixel after the other in plain numpy."""
    stack = np.asarray(frames, dtype=np.float64)
    good = np.isfinite(stack) if mask is None else np.isfinite(stack) & (np.asarray(mask) == 0)
    columns = zip(stack.reshape(len(stack), -1).T, good.reshape(len(stack), -1).T, strict=True)
    rows = [_pixel_plain(column[keep], low, high, iterations, median) for column, keep in columns]
    parts = np.array(rows).T.reshape(4, *stack.shape[1:])
    value, error = parts[0].astype(np.float32), parts[1].astype(np.float32)
    return Combined(value, error, parts[2].astype(np.uint16), parts[3].astype(np.uint16))


def _pixel_plain(column: F64, low: float, high: float, iterations: int, median: bool) -> tuple[float, ...]:
    kept = np.sort(column)
    for turn in range(iterations if len(kept) else 0):
        middle, sigma = np.median(kept), np.std(kept, ddof=1) if len(kept) > 1 else 0.0
        mad = np.median(np.abs(kept - middle)) * _mad_factors(len(kept))[-1]
        sigma = mad if turn == 0 and mad > 0 else sigma
        inside = kept[(kept >= middle - low * sigma) & (kept <= middle + high * sigma)]
        if turn and len(inside) in {0, len(kept)}:
            break
        kept = inside if len(inside) else kept
    n = len(kept)
    if n == 0:
        return 0.0, 0.0, 0, len(column)
    error = np.std(kept, ddof=1) / np.sqrt(n) if n > 1 else 0.0
    ratio = 0.5 * np.pi * n / (n - 1 + 0.5 * np.pi + (n % 2 == 0) * (0.5 * np.pi - 1)) if median else 1.0
    return float(np.median(kept) if median else np.mean(kept)), error * np.sqrt(ratio), n, len(column) - n
