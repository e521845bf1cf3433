"""Sorting networks: the same compare-and-exchange steps for all pixels, hence wide registers and no branches."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nightpipe.kernels.arrays import F32, I64
from nightpipe.kernels.build import kernel


@lru_cache(maxsize=64)
def merge_exchange(n: int) -> I64:
    """Return the pairs (m, 2) that sort n items: Batcher's merge exchange (Knuth, TAOCP 3, 5.2.2, algorithm M)."""
    pairs: list[tuple[int, int]] = []
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top
    while p > 0 and n > 1:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


@kernel
def sort_columns(tile: F32, pairs: I64) -> None:
    """Sort every column of `tile` (n, width) upwards, in place; infinities end up last."""
    for step in range(pairs.shape[0]):
        low = tile[pairs[step, 0]]
        high = tile[pairs[step, 1]]
        for k in range(low.size):
            a = low[k]
            b = high[k]
            low[k] = min(b, a)
            high[k] = max(a, b)
