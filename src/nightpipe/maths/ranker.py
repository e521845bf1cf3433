"""How likely each kind is at a candidate redshift: a small network on the spectrum and on the bank's evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.logflux import BINS, STEP, Flat
from nightpipe.maths.matching import LOWEST, MISMATCH

F32 = NDArray[np.float32]
FloatArray = NDArray[np.float64]
I64 = NDArray[np.int64]

COARSE = 4
"""Bins of the grid in one input of the network."""
COLOUR = 64
"""Bins of the grid between the places where the continuum is looked at."""


@dataclass(frozen=True)
class Ranker:
    """An ensemble of networks: `weights[m]`, `biases[m]` the layers of member m; inputs are shifted and scaled first.

    The outputs are the kinds in the order of `kinds`, and last "this redshift is wrong". `temperature` divides the
    logarithms of the odds, `error` (2,) are the terms of the redshift's error, see `redshift_error`.
    """

    weights: tuple[tuple[F32, ...], ...]
    biases: tuple[tuple[F32, ...], ...]
    centre: F32
    scale: F32
    kinds: tuple[str, ...]
    temperature: float
    error: tuple[float, float]


def inputs(flat: Flat, profile: F32, columns: I64) -> F32:
    """Return the network's inputs (candidates, features) for the redshifts in the given columns of `profile`.

    `profile` (kinds, 2, lags) as of `maths.profiles`. In order: the flattened spectrum in the rest frame, each bin
    weighted by its noise; the weights; the continuum's shape; where it is known; the evidence of each kind there, and
    what it lacks of the best anywhere; the length, the noise, and ln(1 + z).
    """
    rows = [_at(flat, profile, int(column)) for column in columns]
    return np.array(rows, dtype=np.float32)


def _at(flat: Flat, profile: F32, column: int) -> FloatArray:
    shift = column + LOWEST
    weight = np.where(flat.good, MISMATCH**2 / (MISMATCH**2 + 0.2 * flat.error**2), 0.0)
    squeezed = flat.value / (1.0 + 0.5 * np.abs(flat.value))
    shape = _coarse(_moved(weight * squeezed, shift))
    cover = _coarse(_moved(weight, shift))
    known = _moved(np.where(flat.good, 1.0, 0.0), shift)[COLOUR // 2 :: COLOUR]
    colour = _moved(flat.level, shift)[COLOUR // 2 :: COLOUR] * known
    mean = colour.sum() / max(known.sum(), 1.0)
    colour = np.clip((colour - mean) * known, -2.0, 2.0)
    here = np.sqrt(profile[:, :, max(column - 2, 0) : column + 3].max(axis=2).astype(np.float64)).ravel() / 3.0
    best = np.sqrt(float(profile.max())) / 3.0
    noise = float(np.log(np.median(flat.error[flat.good]) + 1e-3))
    length = float(flat.good.sum()) / BINS
    return np.concatenate([shape, cover, colour, known, here, here - best, [length, noise, shift * STEP, best]])


def _moved(values: FloatArray, shift: int) -> FloatArray:
    """Return values moved `shift` bins to the blue, nothing coming in from the end."""
    found = np.zeros_like(values)
    if shift >= 0:
        found[: BINS - shift] = values[shift:]
    else:
        found[-shift:] = values[:shift]
    return found


def _coarse(values: FloatArray) -> FloatArray:
    return np.asarray(values.reshape(-1, COARSE).mean(axis=1))


def log_odds(ranker: Ranker, features: F32) -> FloatArray:
    """Return the log odds (candidates, kinds) of "this kind at this redshift" against "the redshift is wrong"."""
    scaled = (features - ranker.centre) * ranker.scale
    total = np.zeros((len(features), len(ranker.kinds) + 1))
    for weights, biases in zip(ranker.weights, ranker.biases, strict=True):
        total += _outputs(scaled, weights, biases) / len(ranker.weights)
    return np.asarray(total[:, :-1] - total[:, -1:])


def _outputs(values: F32, weights: tuple[F32, ...], biases: tuple[F32, ...]) -> F32:
    for layer, (matrix, bias) in enumerate(zip(weights, biases, strict=True)):
        values = values @ matrix + bias
        if layer < len(weights) - 1:
            values = np.maximum(values, np.float32(0.0))
    return values


def joint(odds: FloatArray, temperature: float, prior: FloatArray | None = None) -> FloatArray:
    """Return the probabilities (candidates, kinds) that sum to one: of which kind at which of the redshifts.

    `prior` multiplies, same shape.
    """
    scaled = odds / temperature
    value = np.exp(scaled - scaled.max())
    if prior is not None:
        value = value * prior
    return np.asarray(value / max(float(value.sum()), 1e-300))


def redshift_error(evidence: float, redshift: float, terms: tuple[float, float]) -> float:
    """Return the standard error of a redshift: scatter between objects of a kind, and noise that falls with evidence.

    ``(1 + z) hypot(terms[0], terms[1] / sqrt(evidence))``, the terms measured on spectra of known redshift.
    """
    return float((1.0 + redshift) * np.hypot(terms[0], terms[1] / np.sqrt(max(evidence, 1.0))))
