"""How likely each kind is at a candidate redshift: a small network on the spectrum and on the bank's evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.logflux import BINS, STEP, Flat
from nightpipe.maths.matching import MISMATCH, shift_of
from nightpipe.maths.narrow import Narrow, at_columns

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
    logarithms of the odds, `error` (n,) are the terms of the redshift's error, see `redshifts.error_of`; `curve` (2, m)
    maps the probability of the likeliest type to how often it is right.
    """

    weights: tuple[tuple[F32, ...], ...]
    biases: tuple[tuple[F32, ...], ...]
    centre: F32
    scale: F32
    kinds: tuple[str, ...]
    temperature: float
    error: FloatArray
    curve: FloatArray


def inputs(flat: Flat, profile: F32, phased: F32, lines: Narrow, columns: I64) -> F32:
    """Return the network's inputs (candidates, features) for the redshifts in the given columns of `profile`.

    `profile` (kinds, 2, lags) and `phased` (candidates, n) as of `maths.profiles`, `lines` of `maths.narrow`. In order:
    the flattened spectrum in the rest frame, each bin weighted by its noise; the weights; the continuum's shape; where
    it is known; the evidence of each kind there, and what it lacks of the best anywhere; length, noise, ln(1 + z), the
    best evidence; the evidence by phase; the narrow lines.
    """
    weight = np.where(flat.good, MISMATCH**2 / (MISMATCH**2 + 0.2 * flat.error**2), 0.0)
    squeezed = weight * flat.value / (1.0 + 0.5 * np.abs(flat.value))
    known = np.where(flat.good, 1.0, 0.0)
    best = float(np.sqrt(float(profile.max())) / 3.0)
    facts = [float(known.sum()) / BINS, float(np.log(np.median(flat.error[flat.good]) + 1e-3)), 0.0, best]
    rows = [_at(np.array([squeezed, weight, known, flat.level]), profile, int(column), facts) for column in columns]
    return np.concatenate([np.array(rows, dtype=np.float32), phased, at_columns(lines, columns)], axis=1)


def _at(spectrum: FloatArray, profile: F32, column: int, facts: list[float]) -> FloatArray:
    shift = int(shift_of(column))
    moved = _moved(spectrum, shift)
    known, colour = moved[2:, COLOUR // 2 :: COLOUR]
    colour = colour * known
    colour = np.clip((colour - colour.sum() / max(known.sum(), 1.0)) * known, -2.0, 2.0)
    here = np.sqrt(profile[:, :, max(column - 1, 0) : column + 2].max(axis=2).astype(np.float64)).ravel() / 3.0
    shape = moved[:2].reshape(2, -1, COARSE).mean(axis=2).ravel()
    facts = [facts[0], facts[1], shift * STEP, facts[3]]
    return np.concatenate([shape, colour, known, here, here - facts[3], facts])


def _moved(values: FloatArray, shift: int) -> FloatArray:
    """Return rows moved `shift` bins to the blue, nothing coming in from the end."""
    found = np.zeros_like(values)
    if shift >= 0:
        found[:, : BINS - shift] = values[:, shift:]
    else:
        found[:, -shift:] = values[:, :shift]
    return found


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


def sharpened(types: FloatArray, curve: FloatArray) -> FloatArray:
    """Return probabilities (n,) whose largest is what `curve` makes of it; the others keep their ratios."""
    best = int(np.argmax(types))
    rest = 1.0 - float(types[best])
    if rest <= 1e-9:
        return types
    new = float(np.interp(types[best], curve[0], curve[1]))
    factor = np.full(len(types), (1.0 - new) / rest)
    factor[best] = new / float(types[best])
    return np.asarray(types * factor)
