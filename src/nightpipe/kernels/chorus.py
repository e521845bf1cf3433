"""Spectra that sound together: normal equations of spectra on cubic B-splines, seen by pixels of many lenslets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nightpipe.kernels.arrays import F64, I64, float64, plain
from nightpipe.kernels.build import helper, kernel


class Score(NamedTuple):
    """What each pixel sees of c spectra: `place` (n,) on the common grid, `blur` (n,) half the excess of the line's
    variance, `gain` (c, n) of each spectrum; `spacing` (c,) of the knots and `column` (c, k) the unknowns' numbers,
    ordered by place so that the matrix is banded; `size` unknowns, `width` of the band.
    """

    place: F64
    blur: F64
    gain: F64
    spacing: F64
    column: I64
    size: int
    width: int


def score_of(place: F64, blur: F64, gain: F64, spacing: tuple[float, ...], last: float) -> Score:
    """Return the score of spectra with knots every `spacing` from 0 to `last`; `gain` as in `Score`.

    A spectrum's coefficient k belongs to the B-spline centred on (k - 1) times the spacing.
    """
    counts = [int(np.ceil(last / step - 1e-9)) + 3 for step in spacing]
    where = np.concatenate([(np.arange(n) - 1.0) * step for n, step in zip(counts, spacing, strict=True)])
    rank = np.empty(where.size, dtype=np.int64)
    rank[np.argsort(where, kind="stable")] = np.arange(where.size)
    column = np.full((len(spacing), max(counts)), -1, dtype=np.int64)
    begin = 0
    for c, n in enumerate(counts):
        column[c, :n] = rank[begin : begin + n]
        begin += n
    reach = max(spacing) * 4.0
    width = int(sum(np.ceil(reach / step) + 1 for step in spacing)) + 1
    return Score(
        float64(np.clip(place, 0.0, last)), float64(blur), float64(gain), np.array(spacing), plain(column, np.int64),
        int(where.size), width,
    )  # fmt: skip


def normal_equations(score: Score, data: F64, weight: F64) -> tuple[F64, F64]:
    """Return band (size, width), as `kernels.band` stores it, and right side (size,) of the weighted least squares."""
    band, right = np.zeros((score.size, score.width)), np.zeros(score.size)
    _assemble(*score[:5], float64(data), float64(weight), band, right)
    return band, right


def right_side(score: Score, data: F64, weight: F64) -> F64:
    """Return the right side (size,) alone, for other data of the same score."""
    right = np.zeros(score.size)
    _project(*score[:5], float64(data), float64(weight), right)
    return right


def sung(score: Score, coef: F64) -> F64:
    """Return what each spectrum gives each pixel (c, n), with coefficients (size,)."""
    found = np.zeros(score.gain.shape)
    _sing(*score[:5], float64(coef), found)
    return found


@helper
def _basis(place: float, spacing: float, blur: float, values: F64) -> int:
    """Fill the four cubic B-splines, each with `blur` times its second derivative; return the first one's number."""
    first = int(np.floor(place / spacing))
    t = place / spacing - first
    s = 1.0 - t
    b = blur / (spacing * spacing)
    values[0] = s * s * s / 6.0 + b * s
    values[1] = (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0 + b * (3.0 * t - 2.0)
    values[2] = (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0 + b * (3.0 * s - 2.0)
    values[3] = t * t * t / 6.0 + b * t
    return first


@kernel
def _assemble(
    place: F64, blur: F64, gain: F64, spacing: F64, column: I64, data: F64, weight: F64, band: F64, right: F64
) -> None:
    count = spacing.size
    values, where, four = np.empty(4 * count), np.empty(4 * count, dtype=np.int64), np.empty(4)
    for i in range(place.size):
        if weight[i] <= 0.0:
            continue
        n = 0
        for c in range(count):
            if gain[c, i] == 0.0:
                continue
            first = _basis(place[i], spacing[c], blur[i], four)
            for k in range(4):
                if first + k < column.shape[1] and column[c, first + k] >= 0:
                    values[n], where[n] = gain[c, i] * four[k], column[c, first + k]
                    n += 1
        for a in range(n):
            scaled = weight[i] * values[a]
            right[where[a]] += scaled * data[i]
            for b in range(n):
                d = where[a] - where[b]
                if d >= 0:
                    band[where[a], d] += scaled * values[b]


@kernel
def _project(place: F64, blur: F64, gain: F64, spacing: F64, column: I64, data: F64, weight: F64, right: F64) -> None:
    four = np.empty(4)
    for i in range(place.size):
        if weight[i] <= 0.0:
            continue
        for c in range(spacing.size):
            if gain[c, i] == 0.0:
                continue
            first = _basis(place[i], spacing[c], blur[i], four)
            for k in range(4):
                if first + k < column.shape[1] and column[c, first + k] >= 0:
                    right[column[c, first + k]] += weight[i] * gain[c, i] * four[k] * data[i]


@kernel
def _sing(place: F64, blur: F64, gain: F64, spacing: F64, column: I64, coef: F64, found: F64) -> None:
    four = np.empty(4)
    for i in range(place.size):
        for c in range(spacing.size):
            if gain[c, i] == 0.0:
                continue
            first = _basis(place[i], spacing[c], blur[i], four)
            for k in range(4):
                if first + k < column.shape[1] and column[c, first + k] >= 0:
                    found[c, i] += gain[c, i] * four[k] * coef[column[c, first + k]]


def design_plain(score: Score) -> F64:
    """Return the whole matrix (n, size) in plain numpy: what the kernels never write out."""
    matrix = np.zeros((score.place.size, score.size))
    for c, spacing in enumerate(score.spacing):
        first = np.floor(score.place / spacing).astype(np.int64)
        for k in range(4):
            t = score.place / spacing - first - (k - 1)
            u = np.abs(t)
            value = np.where(u < 1, (4 - 6 * u**2 + 3 * u**3) / 6, np.clip(2 - u, 0, None) ** 3 / 6)
            second = np.where(u < 1, 3 * u - 2, np.clip(2 - u, 0, None)) / spacing**2
            inside = (first + k < score.column.shape[1]) & (
                score.column[c, np.minimum(first + k, score.column.shape[1] - 1)] >= 0
            )
            rows = np.flatnonzero(inside)
            matrix[rows, score.column[c, first[rows] + k]] += (score.gain[c] * (value + score.blur * second))[rows]
    return matrix


def rehearse() -> None:
    """Compile the kernels on next to nothing."""
    score = score_of(np.ones(1), np.zeros(1), np.ones((1, 1)), (1.0,), 3.0)
    band, _ = normal_equations(score, np.ones(1), np.ones(1))
    sung(score, right_side(score, np.ones(1), np.ones(1)) + band.sum())
