"""Lines followed along the slit: their places in blocks of rows, neighbours fitted along."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.fits import windows
from nightpipe.maths.lines import LineShape, floor
from nightpipe.model.frame import Frame
from nightpipe.steps.spectra.rows import collapsed

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
NEIGHBOURS = 8


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


def followed(
    frame: Frame, blocks: list[tuple[int, int]], x: FloatArray, area: FloatArray, shape: LineShape, wanted: Bools
) -> Followed:
    """Follow lines at `x` (on the middle block) from block to block, each found near where it was in the last.

    `wanted` lines are measured; all of them, with their relative `area`, make up the blends. `shape` is the line shape:
    with a Gaussian in its place, narrow lines are off by a tenth of a pixel, depending on where in a pixel they lie.
    """
    y = np.array([(low + high - 1) / 2.0 for low, high in blocks])
    place = np.full((len(blocks), int(wanted.sum())), np.nan)
    error, ok = np.full(place.shape, np.inf), np.zeros(place.shape, dtype=bool)
    blend = Blend(x[wanted], *_neighbours(x, area, wanted, 4.0 * float(np.median(shape.fwhm_at(x)))), shape)
    middle = len(blocks) // 2
    first_drift = np.zeros(int(wanted.sum()))
    for run in (range(middle, len(blocks)), range(middle - 1, -1, -1)):
        drift = first_drift
        for k in run:
            place[k], error[k], ok[k] = _measured(frame, blocks[k], blend, drift)
            drift = _drift(blend.x, place[k], error[k], ok[k]) if ok[k].sum() >= 3 else drift
            if k == middle:
                first_drift = drift
    return Followed(y, place, error, ok)


def _drift(x: FloatArray, place: FloatArray, error: FloatArray, ok: Bools) -> FloatArray:
    """Return how far lines have moved, as a straight line in x through the median behaviour of the measured ones."""
    use = ok & np.isfinite(place) & (error < 0.5)
    if use.sum() < 3:
        return np.zeros(len(x))
    at, moved = x[use], (place - x)[use]
    slope, level = 0.0, float(np.median(moved))
    for _ in range(3):
        slope, level = np.polyfit(at, moved, 1) if len(at) > 4 else (0.0, float(np.median(moved)))
        off = np.abs(moved - level - slope * at)
        keep = off <= max(3.0 * 1.4826 * float(np.median(off)), 0.05)
        at, moved = at[keep], moved[keep]
    return np.asarray(level + slope * x)


def _measured(
    frame: Frame, block: tuple[int, int], blend: Blend, drift: FloatArray
) -> tuple[FloatArray, FloatArray, Bools]:
    """Return place, error and success of the lines in one block."""
    row = collapsed(frame, *block)
    fwhm = blend.fwhm
    flux = row.flux - floor(row.flux, max(60.0, 20.0 * float(np.median(fwhm))))
    weight = np.where(row.usable, 1.0 / row.error**2, 0.0)
    half = int(np.ceil(1.2 * float(np.median(fwhm)))) + 1
    values, weights, first = windows(flux, weight, blend.x + drift, half)
    pixels = first[:, None] + np.arange(values.shape[1])
    shift, error, snr = blend.fitted(pixels, values, weights, drift)
    whole = (weights > 0).mean(axis=1) > 0.8
    near = np.abs(shift - drift) < 0.7 * fwhm
    return blend.x + shift, error, np.isfinite(shift) & (snr > 5.0) & whole & near


@dataclass(frozen=True)
class Blend:
    """Lines at `x` with their neighbours at `offset` (lines, neighbours) and `share` of the area; `shape` of all."""

    x: FloatArray
    offset: FloatArray
    share: FloatArray
    shape: LineShape

    @property
    def fwhm(self) -> FloatArray:
        """Return the width of each line [pixel]."""
        return self.shape.fwhm_at(self.x)

    def fitted(
        self, pixels: FloatArray, values: FloatArray, weights: FloatArray, start: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Fit height, shift and level to each window (lines, pixels) by Gauss-Newton; return shift, its error, S/N.

        Weights are evened out within a window by two per cent of its peak, for the shape is known no better.
        """
        peak = np.max(np.abs(values), axis=1, keepdims=True)
        even = np.where(weights > 0, 1.0 / (1.0 / np.maximum(weights, 1e-30) + (0.02 * peak) ** 2), 0.0)
        shift, cov, height = start.copy(), np.zeros((len(start), 3)), np.ones(len(start))
        for _ in range(5):
            design = self._design(pixels, shift)
            normal = np.einsum("lpi,lp,lpj->lij", design, even, design)
            normal += np.einsum("lii->li", normal)[:, :, None] * np.eye(3) * 1e-9 + 1e-30 * np.eye(3)
            inverse = np.linalg.inv(normal)
            solution = np.einsum("lij,lpj,lp->li", inverse, design, even * values)
            height = np.where(solution[:, 0] > 0, solution[:, 0], np.nan)
            shift = shift + np.clip(np.nan_to_num(solution[:, 1] / height), -0.5, 0.5)
            cov = np.einsum("lii->li", inverse)
        error = np.sqrt(cov[:, 1]) / height
        return np.where(np.isfinite(height), shift, np.nan), error, height / np.sqrt(cov[:, 0])

    def _design(self, pixels: FloatArray, shift: FloatArray) -> FloatArray:
        centre = (self.x + shift)[:, None, None] + self.offset[:, None, :]
        distance = pixels[:, :, None] - centre
        profile = np.sum(self.share[:, None, :] * self.shape(distance, centre), axis=2)
        slope = np.sum(self.share[:, None, :] * self.shape.slope_at(distance, centre), axis=2)
        return np.stack([profile, slope, np.ones_like(profile)], axis=2)


def _neighbours(x: FloatArray, area: FloatArray, wanted: Bools, reach: float) -> tuple[FloatArray, FloatArray]:
    """Return offsets and relative areas of each wanted line itself and of its nearest neighbours within `reach`."""
    offset, share = np.zeros((int(wanted.sum()), NEIGHBOURS)), np.zeros((int(wanted.sum()), NEIGHBOURS))
    for i, k in enumerate(np.flatnonzero(wanted)):
        distance = np.abs(x - x[k])
        near = np.argsort(distance)[:NEIGHBOURS]
        near = near[distance[near] < reach]
        offset[i, : len(near)] = x[near] - x[k]
        share[i, : len(near)] = area[near] / max(float(area[k]), 1e-30)
    return offset, share
