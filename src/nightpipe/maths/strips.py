"""Expressions on whole images, made of a few rows at a time: what lies in between stays in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PIXELS = 1 << 17
"""Pixels of a strip: half a megabyte of float32."""


def strips(shape: tuple[int, ...]) -> list[slice]:
    """Return the rows of an image of this shape, strip by strip."""
    step = max(PIXELS // max(shape[1], 1), 1)
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


def by_strips(
    expression: Callable[..., tuple[Array, ...]], *images: Array | float | np.float32 | None
) -> tuple[Array, ...]:
    """Return what `expression` makes of `images`, pixel by pixel, each (ny, nx).

    `expression` takes as many strips and returns a tuple of arrays of a strip's shape. The first image tells the shape;
    numbers and None are passed on as they are. A numpy expression over 16 million pixels otherwise spends most of its
    time on fetching memory for what it throws away.
    """
    first = images[0]
    assert isinstance(first, np.ndarray)
    whole: tuple[Array, ...] = ()
    for rows in strips(first.shape):
        parts = expression(*(image[rows] if isinstance(image, np.ndarray) else image for image in images))
        if not whole:
            whole = tuple(np.empty(first.shape, part.dtype) for part in parts)
        for image, part in zip(whole, parts, strict=True):
            image[rows] = part
    return whole


def marked(mask: NDArray[np.uint32], bits: int) -> NDArray[np.bool_]:
    """Return where any of the `bits` is set in `mask` (ny, nx)."""
    (where,) = by_strips(lambda part: ((part & np.uint32(bits)) != 0,), mask)
    return where
