"""Forced spectra: target, sky and others on one common scale, from native pixels, with the scene's shape held."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.band import factorise
from nightpipe.kernels.chorus import Score, normal_equations, right_side, score_of, sung
from nightpipe.steps.spaxels.pixels import Pixels
from nightpipe.steps.spaxels.stage import Priors, Stage

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

TARGET_STEP, SKY_STEP, OTHER_STEP = 1.0, 0.5, 2.0
"""Pixels between the knots of spectra. The sky's lines, seen at all phases by a thousand lenslets, bear half."""


@dataclass(frozen=True)
class Forced:
    """Spectra of least squares on native pixels: coefficients, and what each gives each pixel (c, m) [electron]."""

    score: Score
    coef: FloatArray
    parts: FloatArray
    factor: FloatArray

    @property
    def model(self) -> FloatArray:
        """Return the expected counts (m,)."""
        return np.asarray(self.parts.sum(axis=0))


def gains_of(stage: Stage, theta: Priors, pixels: Pixels) -> FloatArray:
    """Return the weight (c, m) with which pixels see target, sky and others: share of light times Angstrom."""
    return np.array([gain_of(stage, theta, pixels, number) for number in range(len(stage.galaxies) + 2)])


def gain_of(stage: Stage, theta: Priors, pixels: Pixels, number: int) -> FloatArray:
    """Return the weight (m,) with which pixels see one of them: 0 the target, 1 the sky, then the others."""
    if number == 1:
        return np.asarray(stage.sky_factor(theta, pixels.spaxel) * pixels.step)
    return np.asarray(stage.shares(theta, max(number - 1, 0), pixels.spaxel, pixels.wave) * pixels.step)


def force(pixels: Pixels, gains: FloatArray, use: Bools) -> Forced:
    """Return the spectra on cubic B-splines of the common scale that fit the pixels best.

    No pixel is resampled: each sees the spectra at its own wavelength, its own line width to first order
    (``S + (sigma^2 - sigma0^2) / 2 S''``).
    """
    spacing = (TARGET_STEP, SKY_STEP, *[OTHER_STEP] * (len(gains) - 2))
    score = score_of(pixels.place, pixels.blur, gains, spacing, float(pixels.scale.wave.size - 1))
    weight = np.where(use, 1.0 / pixels.var, 0.0)
    band, right = normal_equations(score, pixels.flux, weight)
    band[:, 0] += 1e-7 * band[:, 0] + 1e-9 * float(np.median(band[:, 0]))  # where no pixel looks, nothing is there
    factor, _ = factorise(band)
    coef = solved(factor, right[:, None])[:, 0]
    return Forced(score, coef, sung(score, coef), factor)


def solved(factor: FloatArray, right: FloatArray) -> FloatArray:
    """Return the solutions (size, k) of the factorised band for right sides (size, k)."""
    from scipy.linalg import cho_solve_banded

    lower = np.zeros((factor.shape[1], factor.shape[0]))
    for d in range(factor.shape[1]):
        lower[d, : factor.shape[0] - d] = factor[d:, d]
    return np.asarray(cho_solve_banded((lower, True), right))


def at_places(forced: Forced, number: int) -> FloatArray:
    """Return the matrix (k, size) that gives spectrum `number` at places 0, 1, 2 ... from the coefficients."""
    spacing = float(forced.score.spacing[number])
    count = round((forced.score.column[0] >= 0).sum() - 3) + 1
    matrix = np.zeros((count, forced.score.size))
    for k in range(count):
        first = int(np.floor(k / spacing))
        t = k / spacing - first
        values = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3)
        for j, value in enumerate(values):
            column = forced.score.column[number]
            if first + j < column.size and column[first + j] >= 0:
                matrix[k, column[first + j]] = value / 6.0
    return matrix


def modes_of(
    forced: Forced, stage: Stage, theta: Priors, covariance: FloatArray, pixels: Pixels, use: Bools, out: FloatArray
) -> FloatArray:
    """Return what one sigma along each eigenvector of the parameters does to the spectrum that `out` reads (p, k).

    To first order: the light of points along its slopes, other parameters by a difference over a tenth of their error.
    """
    weight = np.where(use, 1.0 / pixels.var, 0.0)
    gain = forced.score.gain
    unit = np.where(gain != 0, forced.parts / np.where(gain != 0, gain, 1), 0.0)
    slopes = _slopes_of(stage, theta, pixels)
    sides = []
    for k, name in enumerate(theta.names):
        change = _change(
            stage, theta, pixels, slopes, gain, unit, name, 0.1 * max(float(np.sqrt(covariance[k, k])), 1e-9)
        )
        sides.append(right_side(forced.score, -change, weight))
    size, vector = np.linalg.eigh(covariance)
    moved = (out @ solved(forced.factor, np.array(sides).T)).T
    return np.asarray((vector * np.sqrt(np.maximum(size, 0.0))).T @ moved)


def _slopes_of(stage: Stage, theta: Priors, pixels: Pixels) -> list[dict[str, FloatArray]]:
    """Return how target, sky and others change in each pixel (m,) with the parameters, where that has a closed form."""
    found: list[dict[str, FloatArray]] = []
    for number in range(len(stage.galaxies) + 2):
        body = max(number - 1, 0)
        point = number != 1 and not (body and stage.galaxies[body - 1])
        found.append(stage.slopes(theta, body, pixels.spaxel, pixels.wave) if point else {})
    return found


def _change(
    stage: Stage, theta: Priors, pixels: Pixels, slopes: list[dict[str, FloatArray]], gain: FloatArray,
    unit: FloatArray, name: str, step: float,
) -> FloatArray:  # fmt: skip
    """Return how the counts (m,) change per unit of a parameter; `unit` (c, m) is what spectra give at gain one."""
    total = np.zeros(len(pixels))
    value = theta.value.copy()
    value[theta.at(name)] += step
    moved = replace(theta, value=value)
    for number, slope in enumerate(slopes):
        if name in slope:
            total += slope[name] * pixels.step * unit[number]
        elif stage.moves(name, number):
            total += (gain_of(stage, moved, pixels, number) - gain[number]) / step * unit[number]
    return total
