"""Structure out of noise: how often noise is taken for it, and how faint it may be."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.logflux import flatten, grid_wave, to_log
from nightpipe.maths.structure import structure

WAVE = np.arange(3600.0, 9200.0, 4.0)


def seen(snr, features=0.0, seed=0):
    rng = np.random.default_rng(seed)
    flux = 1.0 + features * np.sqrt(2.0) * np.sin(WAVE / 60.0) + rng.normal(size=WAVE.size) / snr
    return structure(flatten(to_log(WAVE, flux, np.full(WAVE.size, snr**-2.0), np.ones(WAVE.size, dtype=bool))))


def test_noise_is_no_structure():
    sigma = np.array([seen(20.0, seed=seed).sigma for seed in range(60)])
    assert sigma.max() < 4.0
    assert -1.0 < np.median(sigma) < 1.5


@pytest.mark.parametrize(("snr", "features"), [(10.0, 0.04), (3.0, 0.1), (300.0, 0.004)])
def test_features_stand_out(snr, features):
    found = seen(snr, features)
    assert found.sigma > 4.0
    assert found.share == pytest.approx(np.hypot(features, seen(snr).share), rel=0.3)


def test_noise_in_broad_features_is_less_than_in_a_bin():
    found = seen(10.0)
    assert 0.1 * np.sqrt(4.0 / (6400 * 0.00135)) * 0.15 < found.noise < 0.02
    assert grid_wave().size == 1024
