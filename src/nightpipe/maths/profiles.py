"""What the correlation with a bank says of each kind at each redshift, evidence counted by object; likely redshifts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.matching import F32, I64, best_mean

SEVERAL = 3
"""Objects whose agreement counts beside the best one's: a type's evidence does not grow with its share of the bank."""
APART = 8
"""Redshifts nearer than this many bins (0.011) are one."""


def profiles(by_object: F32, kinds: I64, count: int) -> F32:
    """Return the evidence (count, 2, lags) of each kind: of its best object, and the mean of its three best.

    `by_object` (objects, lags) is the best evidence among each object's spectra, `kinds` (objects,) their kind.
    """
    found = np.zeros((count, 2, by_object.shape[1]), dtype=np.float32)
    for kind in range(count):
        own = by_object[kinds == kind]
        if len(own):
            found[kind] = own.max(axis=0), best_mean(own, min(SEVERAL, len(own)))
    return found


def likely(profile: F32, most: int = 10) -> I64:
    """Return the columns of the highest peaks of the profiles' strongest kinds, best first, `APART` bins apart.

    Peaks of the best kind and of every other kind compete, so a kind with fewer objects has its own redshift heard.
    """
    total = 0.5 * (profile[:, 0] + profile[:, 1])
    kind, lag = np.unravel_index(np.argsort(-_peaks(total), axis=None)[:400], total.shape)
    chosen: list[int] = []
    for candidate in lag[total[kind, lag] > 0]:
        if all(abs(int(candidate) - other) >= APART for other in chosen):
            chosen.append(int(candidate))
        if len(chosen) == most:
            break
    return np.array(chosen, dtype=np.int64)


def _peaks(total: NDArray[np.float32]) -> NDArray[np.float32]:
    left = np.pad(total, ((0, 0), (1, 0)), constant_values=-1.0)[:, :-1]
    right = np.pad(total, ((0, 0), (0, 1)), constant_values=-1.0)[:, 1:]
    return np.where((total >= left) & (total > right), total, np.float32(0.0))
