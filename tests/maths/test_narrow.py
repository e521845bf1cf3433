from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.logflux import BINS, LogSpectrum, flatten, grid_wave
from nightpipe.maths.matching import column_of, lags, redshift_of, shift_of
from nightpipe.maths.narrow import COUNT, LINES, at_columns, emission_columns, narrow_lines
from nightpipe.maths.profiles import PARTS, by_phase, of_parts, parts_of
from nightpipe.maths.ranker import sharpened
from nightpipe.maths.redshifts import (
    APPROACHING,
    TERMS,
    Centres,
    agreed,
    around,
    centres,
    error_of,
    error_types,
    plausible,
)

HA = LINES.index(6564.0)


def galaxy(z, *, strength=1.0, noise=0.05, seed=1):
    wave, rng = grid_wave(), np.random.default_rng(seed)
    flux = 1.0 + noise * rng.normal(size=BINS)
    for line, height in ((3727.3, 0.8), (4861.3, 0.3), (5006.8, 0.9), (6564.0, 1.2), (6723.0, 0.4)):
        flux += strength * height * np.exp(-0.5 * ((wave / (line * (1 + z)) - 1) / 0.0012) ** 2)
    good = (wave > 3700) & (wave < 9300)
    return flatten(LogSpectrum(flux, np.full(BINS, noise**2), good))


@pytest.mark.parametrize("z", [0.0, 0.031, 0.2])
def test_narrow_emission_tells_the_redshift(z):
    found = emission_columns(narrow_lines(galaxy(z)), len(lags(512)))
    assert abs(redshift_of(shift_of(int(found[0]))) - z) < 0.004


def test_without_lines_nothing_is_told():
    found = emission_columns(narrow_lines(galaxy(0.03, strength=0.0)), len(lags(512)))
    assert len(found) == 0


def test_lines_stand_out_at_their_redshift_alone():
    columns = np.array([column_of(0.031), column_of(0.3)])
    here, there = at_columns(narrow_lines(galaxy(0.031)), columns)
    assert len(here) == COUNT
    assert here[HA] > 1.0 > abs(there[HA])
    assert here[-4] > 2 * there[-4]


def test_parts_of_objects_by_phase():
    phases = np.array([0.0, 30.0, 1.0, np.nan, -10.0])
    parts = parts_of(np.array([0, 3]), np.array([1, 0]), phases)
    assert parts.kind.tolist() == [1, 1, 0, 0]
    rows = np.zeros((5, 20), np.float32)
    rows[:, 6] = [4.0, 9.0, 16.0, 1.0, 25.0]
    roots = of_parts(rows, parts, np.array([6]))
    cells = by_phase(roots, parts, 2)[0]
    assert cells[PARTS + 1] == pytest.approx(4.0 / 3.0)  # kind 1 about maximum
    assert cells[PARTS + 3] == pytest.approx(3.0 / 3.0)
    assert cells[0] == pytest.approx(5.0 / 3.0)
    assert cells[-2:].sum() == pytest.approx(1.0)
    assert cells[-2] > cells[-1]


def test_candidates_that_agree_are_one_answer():
    columns = np.array([20, 24, 90])
    profile = np.zeros((2, 2, 261), np.float32)
    profile[0, :, 20:25] = 50.0
    profile[0, :, 90] = 60.0
    chance = np.array([[0.3, 0.0], [0.3, 0.0], [0.4, 0.0]])
    found = centres(around(profile, columns), columns, chance)
    first, second = agreed(found, chance, error_types(np.array([1.0, 0, 0, 0, 0, 0, 0])))
    assert first.probability == pytest.approx(0.6)
    assert np.expm1(first.place) == pytest.approx(redshift_of(shift_of(22)), abs=2e-3)
    assert second.candidate == 2
    terms = np.zeros(TERMS)
    terms[0] = np.log(0.003)
    assert error_of(second, terms) == pytest.approx(0.003 * np.exp(second.place))


def test_nothing_approaches_faster_than_andromeda():
    """Lines of fast supernovae nearby are bluer than any galaxy; the answer is the nearest that can be."""
    for z, told in ((-0.009, APPROACHING), (0.004, 0.004)):
        place = np.log1p([z])
        found = Centres(place, np.array([0.002]), np.array([50.0]))
        (mode,) = agreed(found, np.array([[1.0, 0.0]]), error_types(np.array([1.0, 0, 0, 0, 0, 0, 0])))
        assert np.expm1(mode.place) == pytest.approx(told)
        assert mode.probability == pytest.approx(1.0)


def test_blueshifts_are_unlikely():
    columns = np.array([0, 40])
    chance = np.full((2, 2), 0.25)
    found = centres(np.zeros((2, 2, 9), np.float32), columns, chance)
    less = plausible(found, chance, ("Ia", "II"))
    assert less.sum() == pytest.approx(1.0)
    assert less[0].sum() < 0.06


def test_stars_stay_here_and_the_brightest_supernovae_far_away():
    kinds = ("Ia", "Star", "SLSN-I")
    columns = np.array([column_of(0.0), column_of(0.1)], dtype=np.int64)
    found = centres(np.zeros((2, 3, 9), np.float32), columns, np.full((2, 3), 1 / 6))
    near, far = plausible(found, np.full((2, 3), 1 / 6), kinds)
    assert near[0] == pytest.approx(far[0]) == pytest.approx(near[1]) == pytest.approx(far[2])
    assert far[1] < 0.03 * near[1]
    assert near[2] < 0.03 * far[2]


def test_calibration_keeps_the_order_of_the_others():
    curve = np.array([[0.0, 0.5, 1.0], [0.0, 0.7, 0.99]])
    found = sharpened(np.array([0.5, 0.3, 0.2]), curve)
    assert found.sum() == pytest.approx(1.0)
    assert found[0] == pytest.approx(0.7)
    assert found[1] / found[2] == pytest.approx(1.5)
    sure = sharpened(np.array([1.0, 0.0]), curve)
    assert sure.tolist() == [1.0, 0.0]
