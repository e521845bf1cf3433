"""Joint fits of lines that the instrument does not separate."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.blends import Fitted, amplitudes, fit_jointly, grouped
from nightpipe.maths.lines import gaussian_shape

N = 300
SHAPE = gaussian_shape(3.0, (0.0, N - 1.0))


def arc(places, areas, rng):
    x = np.arange(N, dtype=float)
    flux = 20 + SHAPE(x[:, None] - places, places) @ areas
    error = np.sqrt(flux + 25)
    return rng.normal(flux, error) - 20, error


def start(places, areas):
    return Fitted(places, np.ones(len(places)), areas, np.ones(len(places)), np.ones(len(places), dtype=bool))


def test_groups_gather_about_the_strongest_and_know_their_doubt():
    wave, strength = np.array([100.0, 101.0, 103.0, 110.0]), np.array([1.0, 10.0, 1.0, 5.0])
    groups = grouped(wave, strength, 1.5)
    assert [len(g.members) for g in groups] == [2, 1, 1]
    assert abs(groups[0].wave - (100 + 1010) / 11) < 1e-9
    assert groups[0].wave_error > 0
    assert groups[1].wave_error == groups[2].wave_error == 0


def test_equal_pair_has_the_largest_doubt():
    doubt = [grouped(np.array([0.0, 1.0]), np.array([1.0, r]), 2.0)[0].wave_error for r in (1.0, 0.1, 0.01)]
    assert doubt[0] > doubt[1] > doubt[2]


def test_centres_of_a_blend_are_unbiased_with_honest_errors():
    rng = np.random.default_rng(4)
    places, areas = np.array([100.2, 103.0, 180.4]), np.array([2e4, 8e3, 5e3])
    pulls = []
    for _ in range(60):
        flux, error = arc(places, areas, rng)
        fit = fit_jointly(
            flux, error, start(places + rng.normal(0, 0.1, 3), areas * 0.8), SHAPE, mismatch=0.0, pull=10.0
        )
        assert fit.ok.all()
        pulls.append((fit.x - places) / fit.x_error)
    pulls = np.array(pulls)
    assert np.all(np.abs(pulls.mean(axis=0)) < 0.45)
    assert 0.8 < pulls.std() < 1.2


def test_single_centroids_would_be_wrong_by_more():
    rng = np.random.default_rng(5)
    places, areas = np.array([100.2, 103.0]), np.array([2e4, 8e3])
    flux, error = arc(places, areas, rng)
    alone = fit_jointly(flux, error, start(places[:1], areas[:1]), SHAPE)
    both = fit_jointly(flux, error, start(places, areas), SHAPE)
    assert abs(both.x[0] - places[0]) < 0.05 < abs(alone.x[0] - places[0])


def test_a_faint_neighbour_that_is_not_there_takes_nothing_away():
    rng = np.random.default_rng(6)
    flux, error = arc(np.array([100.0]), np.array([2e4]), rng)
    fit = fit_jointly(flux, error, start(np.array([100.1, 101.6]), np.array([1.9e4, 300.0])), SHAPE)
    assert abs(fit.x[0] - 100.0) < 0.06


@pytest.mark.parametrize("gap", [2.0, 6.0])
def test_amplitudes_are_shared_and_never_negative(gap):
    rng = np.random.default_rng(7)
    places, areas = np.array([100.0, 100.0 + gap, 200.0]), np.array([1e4, 3e3, 0.0])
    flux, error = arc(places, areas, rng)
    found = amplitudes(flux, 1 / error**2, places, SHAPE, passes=300)
    assert np.all(found >= 0)
    assert np.allclose(found[:2], areas[:2], rtol=0.1)
    assert found[2] < 100
