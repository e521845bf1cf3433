"""A spectrum against a bank of templates at all redshifts at once: weighted correlation by Fourier transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from nightpipe.kernels.evidence import evidence
from nightpipe.maths.logflux import BINS, STEP, Flat, apodise, band

FloatArray = NDArray[np.float64]
F32 = NDArray[np.float32]
C64 = NDArray[np.complex64]
I64 = NDArray[np.int64]

LENGTH = 1536
"""Length of the transforms: the grid and half of it again, so that shifts to redshift 1 do not wrap."""
MISMATCH = 0.12
"""Scatter of a flattened spectrum about the template of another object of its kind; it caps the weight of a bin."""
LOWEST = -8
"""Least shift, in bins: z = -0.0108."""
SPACING = 2
"""Bins between the shifts that are looked at: what passes the band has five samples in its narrowest peak then."""
LEAST_LAP = 0.30
"""Least overlap in ln(wavelength)."""
BLOCK = 64
"""Templates at a time: their transforms stay in the processor's cache, which halves the time."""


@dataclass(frozen=True)
class Transforms:
    """A bank made ready: transforms of the band-passed templates and of their squares (templates, 769), and `spans`."""

    template: C64
    square: C64
    spans: I64
    cut: float


def prepare(flat: F32, spans: I64, cut: float = BINS / 10) -> Transforms:
    """Band-pass flattened templates (templates, 1024) and transform them and their squares."""
    passed = _passed(np.asarray(flat, dtype=np.float32), cut)
    bins = np.arange(BINS)
    passed = np.where((bins >= spans[:, :1]) & (bins < spans[:, 1:]), passed, np.float32(0.0))
    return Transforms(rfft(passed, LENGTH, axis=-1), rfft(passed**2, LENGTH, axis=-1), spans, cut)


def _passed(flat: NDArray[np.float32], cut: float) -> F32:
    bell = band(LENGTH, cut).astype(np.float32)
    return np.asarray(irfft(rfft(flat, LENGTH, axis=-1) * bell, LENGTH, axis=-1)[..., :BINS], dtype=np.float32)


def data_of(flat: Flat, cut: float) -> tuple[FloatArray, FloatArray]:
    """Return the band-passed spectrum and the weight of each bin, at most 1: ``s^2 / (s^2 + error^2)``, s the mismatch.

    The error that counts is that within the band.
    """
    first, last = flat.span
    passed = _passed(apodise(flat.value, first, last).astype(np.float32), cut).astype(np.float64)
    noise = flat.error**2 * (2.0 * cut / BINS)
    return passed, np.where(flat.good, MISMATCH**2 / (MISMATCH**2 + noise), 0.0)


def correlate_all(flat: Flat, bank: Transforms, highest: int, cut: float = BINS) -> F32:
    """Return the evidence (templates, lags) of every template shifted by -8, -6 ... `highest` bins, see `lags`.

    `cut` is the band pass' upper end for spectra of low resolution, see `logflux.cut_of`; never above the bank's.
    """
    cut = min(cut, bank.cut)
    data, weight = data_of(flat, cut)
    squares, weights = (np.concatenate([[0.0], np.cumsum(values)]) for values in (weight * data**2, weight))
    first, second = (_transformed(values) for values in (weight * data, weight))
    found = np.empty((len(bank.spans), len(lags(highest))), dtype=np.float32)
    for start in range(0, len(found), BLOCK):
        rows = slice(start, start + BLOCK)
        product = _shifted(bank.template[rows], first, highest)
        power = _shifted(bank.square[rows], second, highest)
        found[rows] = evidence(
            product,
            power,
            squares,
            weights,
            bank.spans[rows],
            LOWEST,
            SPACING,
            freedom=2.0 * cut / BINS,
            least=int(LEAST_LAP / STEP),
        )
    return found


def _transformed(values: FloatArray) -> C64:
    return np.asarray(rfft(values.astype(np.float32), LENGTH), dtype=np.complex64)


def _shifted(transforms: C64, other: C64, highest: int) -> F32:
    """Return sum(data[i] template[i - lag]) for each template and every second lag, from the transforms of both.

    The transform of every second value of a sequence is the mean of its transform and of that half a turn on, so that
    half the length gives them exactly.
    """
    product = np.conj(transforms) * other
    half = LENGTH // (2 * SPACING)
    folded = np.float32(0.5) * (product[:, : half + 1] + np.conj(product[:, : half - 1 : -1]))
    full = irfft(folded, LENGTH // SPACING, axis=-1)
    return np.ascontiguousarray(
        np.concatenate([full[:, LOWEST // SPACING :], full[:, : highest // SPACING + 1]], axis=1)
    )


def lag_of(redshift: float) -> int:
    """Return the shift of a redshift, in whole bins."""
    return round(float(np.log1p(redshift)) / STEP)


def column_of(redshift: float) -> int:
    """Return the column, among `lags`, of a redshift; it may lie outside."""
    return round((float(np.log1p(redshift)) / STEP - LOWEST) / SPACING)


def shift_of(column: Any) -> Any:
    """Return the shift in bins of a column, which may lie between two, or of several."""
    return LOWEST + SPACING * column


def redshift_of(lag: float) -> float:
    """Return the redshift of a shift in bins."""
    return float(np.expm1(lag * STEP))


def lags(highest: int) -> NDArray[np.int64]:
    """Return the shifts that `correlate_all` looks at."""
    return np.arange(LOWEST, highest + 1, SPACING)


def by_group(values: F32, starts: I64) -> F32:
    """Return the largest value of each run of rows that begins at `starts`."""
    return np.asarray(np.maximum.reduceat(values, starts, axis=0))


def best_mean(values: F32, count: int) -> F32:
    """Return the mean of the `count` largest values along the first axis (absent ones count as zero)."""
    if len(values) > count:
        values = np.partition(values, len(values) - count, axis=0)[-count:]
    return np.asarray(values.sum(axis=0) / np.float32(count))
