"""Lines followed along the slit: their places in blocks of rows, neighbours fitted along."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.fits import multiplets, windows
from nightpipe.maths.lines import FWHM_PER_SIGMA, floor
from nightpipe.model.frame import Frame
from nightpipe.steps.spectra.rows import collapsed

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
NEIGHBOURS = 6


@dataclass(frozen=True)
class Followed:
    """Lines in blocks of rows: `y` (blocks,), `x`, `error` (blocks, lines) [pixel]; `ok` where a line was measured."""

    y: FloatArray
    x: FloatArray
    error: FloatArray
    ok: Bools


def blocks_of(low: int, high: int, size: int) -> list[tuple[int, int]]:
    """Return the rows `low` ... `high` - 1 in blocks (first, last + 1) of about `size` rows."""
    count = max(round((high - low) / max(size, 1)), 1)
    edges = np.round(np.linspace(low, high, count + 1)).astype(int)
    return [(int(a), int(b)) for a, b in pairwise(edges) if b > a]


def followed(frame: Frame, blocks: list[tuple[int, int]], x: FloatArray, fwhm: FloatArray, wanted: Bools) -> Followed:
    """Follow lines at `x` (on the middle block) from block to block, each found near where it was in the last.

    `wanted` lines are measured; the others serve as neighbours in the fits. `fwhm` (lines,) [pixel] is held.
    """
    y = np.array([(low + high - 1) / 2.0 for low, high in blocks])
    place = np.full((len(blocks), int(wanted.sum())), np.nan)
    error, ok = np.full(place.shape, np.inf), np.zeros(place.shape, dtype=bool)
    middle = len(blocks) // 2
    for run in (range(middle, len(blocks)), range(middle - 1, -1, -1)):
        drift = np.zeros(len(x))
        for k in run:
            now = _measured(frame, blocks[k], x + drift, fwhm, wanted)
            place[k], error[k], ok[k] = now
            if k == middle:
                first_drift = _drift(x, wanted, *now)
            drift = _drift(x, wanted, *now) if ok[k].sum() >= 3 else drift
        drift = first_drift
    return Followed(y, place, error, ok)


def _drift(x: FloatArray, wanted: Bools, place: FloatArray, error: FloatArray, ok: Bools) -> FloatArray:
    """Return how far lines have moved, as a straight line in x through the median behaviour of the measured ones."""
    use = ok & np.isfinite(place) & (error < 0.5)
    if use.sum() < 3:
        return np.zeros(len(x))
    at, moved = x[wanted][use], (place - x[wanted])[use]
    for _ in range(3):
        slope, level = np.polyfit(at, moved, 1) if len(at) > 4 else (0.0, float(np.median(moved)))
        off = np.abs(moved - level - slope * at)
        keep = off <= max(3.0 * 1.4826 * float(np.median(off)), 0.05)
        at, moved = at[keep], moved[keep]
    return np.asarray(level + slope * x)


def _measured(
    frame: Frame, block: tuple[int, int], x: FloatArray, fwhm: FloatArray, wanted: Bools
) -> tuple[FloatArray, FloatArray, Bools]:
    """Return place, error and success of the wanted lines in one block."""
    row = collapsed(frame, *block)
    flux = row.flux - floor(row.flux, max(60.0, 20.0 * float(np.median(fwhm))))
    weight = np.where(row.usable, 1.0 / row.error**2, 0.0)
    half = int(np.ceil(1.3 * float(np.median(fwhm)))) + 1
    values, weights, first = windows(flux, weight, x[wanted], half)
    offsets = _neighbours(x, wanted, half + float(np.median(fwhm)))
    sigma = np.sqrt(np.maximum((fwhm[wanted] / FWHM_PER_SIGMA) ** 2 - 1.0 / 12.0, 0.1))
    fit = multiplets(values, weights, first, x[wanted], sigma, offsets, slope=False, hold_width=True, iterations=40)
    seen = fit.flux[:, 0] > 5.0 * fit.flux_error[:, 0]
    whole = (weights > 0).mean(axis=1) > 0.8
    near = np.abs(fit.centre - x[wanted]) < 0.7 * fwhm[wanted]
    return fit.centre, fit.centre_error, fit.ok & seen & whole & near


def _neighbours(x: FloatArray, wanted: Bools, reach: float) -> FloatArray:
    """Return the offsets of each wanted line itself and of its nearest neighbours within `reach`; NaN fills."""
    out = np.full((int(wanted.sum()), NEIGHBOURS), np.nan)
    for i, centre in enumerate(x[wanted]):
        distance = x - centre
        near = np.sort(distance[(np.abs(distance) < reach) & (distance != 0.0)])
        near = near[np.argsort(np.abs(near))][: NEIGHBOURS - 1]
        out[i, 0], out[i, 1 : 1 + len(near)] = 0.0, near
    return out
