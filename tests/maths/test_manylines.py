from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nightpipe.maths.lines import smeared, smeared_slope
from nightpipe.maths.manylines import Feature, common_shift, explained

N, W = 80, 9


def feature(seed=1, shift=0.3, counts=60.0, stranger=0.0, ratio=1.0):
    """A blend of two kinds of lines in many spectra that each lie differently on their pixels."""
    rng = np.random.default_rng(seed)
    middle = 100.0 + rng.uniform(-0.5, 0.5, N)
    x = np.rint(middle)[:, None] + np.arange(W) - W // 2
    place = middle[:, None] + np.array([0.0, 1.4, -6.0])
    strength, kind, sigma = np.array([1.0, 0.4, 0.5]), np.array([0, 1, 0]), rng.uniform(1.0, 1.3, N)
    scale = rng.uniform(0.8, 1.2, N)
    true = strength * np.array([1.0, ratio, 1.0])
    light = sum(true[j] * smeared(x - place[:, j, None] - shift, sigma[:, None]) for j in range(3))
    light = counts * scale[:, None] * light + stranger * smeared(x - middle[:, None] - 5.5, sigma[:, None])
    mean = 20.0 + 0.8 * np.arange(W) + light
    flux = mean + rng.normal(0, np.sqrt(mean + 60.0))
    return Feature(flux, 1.0 / (mean + 60.0), x, place, strength, kind, sigma, scale)


def test_the_slope_is_the_derivative_of_the_profile():
    u, h = np.linspace(-3, 3, 25), 1e-5
    change = (smeared(u - h, 1.2, 1.5) - smeared(u + h, 1.2, 1.5)) / (2 * h)
    np.testing.assert_allclose(smeared_slope(u, 1.2, 1.5), change, atol=1e-8)


def test_errors_of_common_shifts_are_honest():
    found = [common_shift(feature(seed, counts=400.0)) for seed in range(150)]
    pulls = np.array([(one.shift - 0.3) / one.error for one in found])
    assert abs(pulls.mean()) < 0.27
    assert 0.8 < pulls.std() < 1.2
    assert np.median([one.snr for one in found]) > 10


@pytest.mark.parametrize("changes", [{"ratio": 2.5}, {"stranger": 400.0}])
def test_kinds_of_lines_and_unlisted_neighbours_do_not_pull(changes):
    found = [common_shift(feature(seed, counts=400.0, **changes)) for seed in range(20)]
    assert abs(np.mean([one.shift for one in found]) - 0.3) < 0.03


def test_the_doubt_is_that_of_blends():
    blend = common_shift(feature(counts=4000.0))
    single = feature(counts=4000.0)
    single = replace(single, place=single.place[:, :1], strength=single.strength[:1], kind=single.kind[:1])
    alone = common_shift(single)
    assert 0.003 < alone.doubt < 0.05  # what no list has may be there, too
    assert blend.doubt > 1.2 * alone.doubt


def test_the_right_place_explains_most():
    one = feature(counts=400.0, shift=1.0)
    trial = np.arange(-2, 2.1, 0.5)
    assert trial[np.argmax([explained(one, t) for t in trial])] == pytest.approx(1.0, abs=0.5)


def test_nothing_is_nothing():
    one = feature(counts=100.0)
    assert common_shift(replace(one, flux=-one.flux)) is None
    assert common_shift(replace(one, weight=np.zeros_like(one.weight))) is None
