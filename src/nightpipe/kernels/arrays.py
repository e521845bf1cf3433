"""One form for every array that enters a kernel, so that each kernel is compiled once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.base.errors import NightpipeError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]


class ShapeError(NightpipeError):
    """Arrays that belong together differ in shape."""


def plain(values: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Return the values as a native, aligned, C-contiguous, writable array of `dtype`; copied only if they are not."""
    return np.require(values, dtype, ["C", "A", "W"])


def float32(values: ArrayLike) -> F32:
    """Return the values in the one form of kernels on images."""
    return plain(values, np.float32)


def float64(values: ArrayLike) -> F64:
    """Return the values in the one form of kernels on spectra and fits."""
    return plain(values, np.float64)


def flags(values: ArrayLike) -> U8:
    """Return one byte a pixel: 1 where the mask (bool, or any bit of an integer) is set."""
    return plain(np.asarray(values) != 0, np.bool_).view(np.uint8)


def same_shape(what: str, *arrays: NDArray[Any]) -> None:
    """Raise ShapeError unless all arrays have one shape."""
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1:
        raise ShapeError(f"{what} of one shape", ", ".join(map(str, shapes)))
