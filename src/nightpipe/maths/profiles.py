"""What the correlation with a bank says of each kind at each redshift, evidence counted by object; likely redshifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.matching import F32, I64, best_mean

SEVERAL = 3
"""Objects whose agreement counts beside the best one's: a type's evidence does not grow with its share of the bank."""
APART = 4
"""Redshifts nearer than this many columns (8 bins, 0.011) are one."""
PHASES = (-4.0, 8.0, 25.0, 60.0)
"""Days from maximum that part an object's templates; those of unknown phase are a part of their own."""
PARTS = len(PHASES) + 2


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


@dataclass(frozen=True)
class Parts:
    """A bank's rows in groups of like phase of one object.

    `order` (templates,) puts the rows of a group together, `starts` (groups,) are where the groups begin in that order;
    `kind`, `phase` (groups,) what they are, `objects` where in the groups each object begins.
    """

    order: NDArray[np.intp]
    starts: I64
    kind: I64
    phase: I64
    objects: I64


def parts_of(starts: I64, kinds: I64, phases: NDArray[np.float64]) -> Parts:
    """Return the groups of a bank from where its objects begin, their kinds (objects,), and the phase of each row."""
    of_object = np.searchsorted(starts, np.arange(len(phases)), side="right") - 1
    phase = np.where(np.isfinite(phases), np.searchsorted(PHASES, phases), PARTS - 1)
    code = of_object * PARTS + phase
    order = np.argsort(code, kind="stable")
    begin = np.flatnonzero(np.diff(code[order], prepend=-1))
    own = of_object[order[begin]]
    objects = np.flatnonzero(np.diff(own, prepend=-1))
    return Parts(
        order, begin.astype(np.int64), kinds[own], phase[order[begin]].astype(np.int64), objects.astype(np.int64)
    )


def near_columns(pooled: int, column: int) -> slice:
    """Return which of so many pairs of columns lie about a column."""
    first = min(max((column - 1) // 2, 0), pooled - 1)
    return slice(first, min((column + 1) // 2 + 1, pooled))


def of_parts(rows: F32, parts: Parts, columns: I64) -> F32:
    """Return the root of the best evidence of each group (candidates, groups) near each of the columns."""
    pairs = rows.shape[1] // 2
    found = np.empty((len(columns), len(parts.starts)), dtype=np.float32)
    for number, column in enumerate(columns):
        near = near_columns(pairs, int(column))
        best = rows[:, 2 * near.start : 2 * near.stop].max(axis=1)[parts.order]
        found[number] = np.sqrt(np.maximum.reduceat(best, parts.starts))
    return np.minimum(found, np.float32(31.8))


def by_phase(roots: F32, parts: Parts, kinds: int) -> F32:
    """Return (candidates, kinds * (PARTS + 1)): the best root of each kind and phase, and each kind's share.

    A kind's share counts its objects, each by ``exp(2 (root - best))``: what a look at the list of best matches tells.
    """
    cells = parts.kind * PARTS + parts.phase
    best = np.zeros((len(roots), kinds * PARTS), dtype=np.float32)
    for cell in np.unique(cells):
        best[:, cell] = roots[:, cells == cell].max(axis=1)
    objects = np.maximum.reduceat(roots, parts.objects, axis=1)
    weight = np.exp(2.0 * (objects - objects.max(axis=1, keepdims=True)))
    share = np.zeros((len(roots), kinds), dtype=np.float32)
    own = parts.kind[parts.objects]
    for kind in np.unique(own):
        share[:, kind] = weight[:, own == kind].sum(axis=1)
    return np.concatenate([best / np.float32(3.0), share / share.sum(axis=1, keepdims=True)], axis=1)
