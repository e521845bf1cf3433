"""From candidates to redshifts: each one's centre among the templates, those that agree taken together, the errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.logflux import STEP
from nightpipe.maths.matching import F32, I64, shift_of

FloatArray = NDArray[np.float64]

REACH = 4
"""Columns on either side of a candidate that belong to its peak."""
SOFT = 8.0
"""Evidence is divided by this where it becomes a distribution over the peak: templates' lines have velocities of their
own, so a peak is less certain than its height."""
WINDOW = 0.013
"""Centres nearer than this in ln(1 + z) are one answer: the tolerance within which a redshift is called right."""
BLUE = 0.05
"""How much less likely than the rest the network's answers are below z = -0.002; there are few such galaxies."""
APPROACHING = -0.001
"""The least redshift that is told, that of Andromeda: where a supernova's lines are bluer, the velocity is its own."""
STILL, NEAREST, NEVER = 0.013, 0.015, 0.02
"""A star's shift [ln(1 + z)] with what a peak may be off, the nearest superluminous supernova, how likely an exception
is."""
TERMS = 9
"""Numbers of the model of errors, see `Mode`."""


class Centres(NamedTuple):
    """Of each candidate: `place` and `width` [ln(1 + z)] of its peak, and its height, the evidence."""

    place: FloatArray
    width: FloatArray
    height: FloatArray


class Mode(NamedTuple):
    """One answer: `place` [ln(1 + z)], `probability`, and what its error is told from (TERMS,).

    `peak` [ln(1 + z)] is where the matches have it, below `place` where that was held at the least that is told.
    """

    place: float
    probability: float
    facts: FloatArray
    candidate: int
    peak: float


def around(profile: F32, columns: I64) -> F32:
    """Return the evidence (candidates, kinds, 2 REACH + 1) about the candidates, of the mean of each kind's best."""
    near = np.asarray(columns)[:, None] + np.arange(-REACH, REACH + 1)
    return np.asarray(profile[:, 1][:, np.clip(near, 0, profile.shape[2] - 1)].transpose(1, 0, 2))


def centres(peaks: F32, columns: I64, chance: FloatArray) -> Centres:
    """Return the centre of each candidate's peak, of `around`; kinds count by their `chance` (candidates, kinds)."""
    share = chance / np.maximum(chance.sum(axis=1, keepdims=True), 1e-30)
    total = np.einsum("ck,ckl->cl", share, peaks.astype(np.float64))
    lag = STEP * shift_of(np.asarray(columns)[:, None] + np.arange(-REACH, REACH + 1))
    weight = np.exp((total - total.max(axis=1, keepdims=True)) / SOFT)
    weight /= weight.sum(axis=1, keepdims=True)
    place = (weight * lag).sum(axis=1)
    width = np.sqrt((weight * (lag - place[:, None]) ** 2).sum(axis=1))
    return Centres(place, width, total.max(axis=1))


def plausible(found: Centres, chance: FloatArray, kinds: tuple[str, ...]) -> FloatArray:
    """Return the probabilities (candidates, kinds) less where nature has few such; they sum to one.

    There are few blueshifts beyond 600 km/s, no stars beyond what a peak may be off, and no superluminous supernovae so
    near that they would be among the brightest of all (the nearest of type I, SN 2018bsz, is at 0.0267).
    """
    place = found.place[:, None]
    names = np.array(kinds)
    less = chance * np.where(place < np.log1p(-0.002), BLUE, 1.0)
    less = less * np.where((np.abs(place) > STILL) & (names == "Star"), NEVER, 1.0)
    less = less * np.where((place < NEAREST) & (names == "SLSN-I"), NEVER, 1.0)
    return np.asarray(less / max(float(less.sum()), 1e-300))


def agreed(found: Centres, chance: FloatArray, types: FloatArray) -> list[Mode]:
    """Return the answers, the likeliest first: the window that holds most probability, then that of what is left.

    None lies below `APPROACHING`. `types` (4,) are the probabilities that errors depend on: Ia, Ibc, the rare blue
    ones, no supernova.
    """
    left = chance.sum(axis=1).copy()
    answers: list[Mode] = []
    while len(answers) < len(left) and (not answers or left.max() > 0.0):
        near = np.abs(found.place[:, None] - found.place[None, :]) < WINDOW
        mass = near @ left
        best = int(mass.argmax())
        weight = near[best] * left / max(float(mass[best]), 1e-300)
        place, width = float(weight @ found.place), float(np.sqrt(weight @ found.width**2))
        told = max(place, float(np.log1p(APPROACHING)))
        spread = float(np.sqrt(weight @ (found.place - place) ** 2))
        facts = [1.0, np.log(width + 1e-4) + 6.0, np.log(spread + 5e-4) + 7.0]
        facts += [0.5 * np.log(max(float(found.height[best]), 1.0)) - 2.5, *types, 1.0 - float(mass[best])]
        strongest = int(np.argmax(np.where(near[best], left, -1.0)))
        answers.append(Mode(told, float(mass[best]), np.array(facts), strongest, place))
        left = np.where(near[best], 0.0, left)
    return answers


def error_of(mode: Mode, terms: FloatArray) -> float:
    """Return the standard error of a redshift, ``(1 + z) exp(terms . facts)``, the terms fitted where it is known.

    It holds the scatter between objects of a kind, most of all their lines' velocities, and grows where candidates
    disagree.
    """
    return float(np.exp(mode.place + np.clip(terms @ mode.facts, -8.0, -3.5)))


def error_types(types: FloatArray) -> FloatArray:
    """Return what the errors depend on of the probabilities of Ia, Ibc, II, Ibn, SLSN-I, TDE and no supernova (7,)."""
    return np.array([types[0], types[1], types[3:6].sum(), types[6]])
