"""Points of a one-dimensional spectrum that no light has made, and points that are missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

FAR = 10.0
"""A spike is so many times the scatter of its surroundings away from both neighbours."""
TALL = 0.3
"""And so much of the level about it."""
WING = 0.1
"""The most that either neighbour may have of it: a line as narrow as 1.1 points would leave more beside its peak."""
NEAR = 15
"""Points on either side that tell scatter and level."""


def spikes(flux: FloatArray, good: Bools) -> Bools:
    """Return which points (n,) stand alone, up or down: a cosmic ray, a dead or hot pixel; an unresolved line does not.

    Only points with two good neighbours on either side are judged.
    """
    n = len(flux)
    found = np.zeros(n, dtype=bool)
    if n < 2 * NEAR + 1:
        return found
    filled = np.where(good, flux, np.nan)
    beside = np.stack([np.roll(filled, shift) for shift in (-2, -1, 1, 2)])
    level = np.median(beside, axis=0)  # NaN beside a gap: not judged
    wing = np.max(np.abs(beside[1:3] - level), axis=0)
    excess = np.abs(filled - level)
    for k in np.flatnonzero((excess > TALL * np.abs(level)) & (wing < WING * excess)):
        if 2 <= k < n - 2:
            found[k] = excess[k] > FAR * _scatter(filled, int(k))
    return found


def _scatter(flux: FloatArray, k: int) -> float:
    """Return the scatter about a point from differences of neighbours, itself left out."""
    around = np.concatenate([flux[max(k - NEAR, 0) : k], flux[k + 1 : k + 1 + NEAR]])
    steps = np.diff(around[np.isfinite(around)])
    return 1.4826 / np.sqrt(2.0) * float(np.median(np.abs(steps))) if len(steps) else float("inf")


def runs(which: Bools, least: int) -> Bools:
    """Return `which` (n,) where at least so many neighbours in a row are."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], which, [False]]).astype(np.int8)))
    found = np.zeros(len(which), dtype=bool)
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        found[first:last] = last - first >= least
    return found


def usual_step(wave: FloatArray) -> FloatArray:
    """Return the distance (n,) of each point to the nearer of its neighbours; n is 2 or more."""
    step = np.diff(wave)
    return np.minimum(np.append(step, step[-1]), np.insert(step, 0, step[0]))


def gaps(wave: FloatArray, times: float) -> tuple[NDArray[np.intp], FloatArray]:
    """Return where points are missing: the index (k,) behind each gap, and two wavelengths (k, 2) within, a usual step
    from either end.

    A gap is a step so many times the usual one at both its ends.
    """
    if len(wave) < 3:
        return np.zeros(0, dtype=np.intp), np.zeros((0, 2))
    usual = usual_step(wave)
    behind = 1 + np.flatnonzero(np.diff(wave) > times * np.maximum(usual[1:], usual[:-1]))
    ends = np.stack([wave[behind - 1] + usual[behind - 1], wave[behind] - usual[behind]], axis=1)
    return behind, ends
