"""Spikes, gaps of zeros and plateaux: what no light has made, and lines, which it has."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.outliers import runs, spikes

POINTS = np.arange(300.0)


def line(width, place=150.0, height=5.0):
    """A Gaussian of `width` points (full at half maximum) on a level of one."""
    return 1.0 + height * np.exp(-4.0 * np.log(2.0) * ((POINTS - place) / width) ** 2)


@pytest.mark.parametrize("height", [3.0, 50.0, -3.0, -50.0])
def test_single_points_are_spikes(height):
    flux = 1.0 + 0.02 * np.random.default_rng(1).normal(size=300)
    flux[[60, 150]] += height
    found = np.flatnonzero(spikes(flux, np.ones(300, dtype=bool)))
    assert found.tolist() == [60, 150]


@pytest.mark.parametrize("place", [150.0, 150.3, 150.5])
@pytest.mark.parametrize("width", [1.4, 2.0, 4.0])
@pytest.mark.parametrize("height", [0.5, 5.0, 50.0, -0.9])
def test_the_narrowest_lines_are_none(width, height, place):
    flux = line(width, place, height) + 0.01 * np.random.default_rng(2).normal(size=300)
    assert not spikes(flux, np.ones(300, dtype=bool)).any()


def test_noise_and_ends_and_gaps_are_none():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=100_000)
    assert spikes(noise, np.ones(len(noise), dtype=bool)).sum() < 20
    good = np.ones(300, dtype=bool)
    good[149] = False
    flux = np.ones(300)
    flux[[0, 1, 150, 299]] = 50.0
    assert not spikes(flux, good).any()
    assert not spikes(flux[:20], good[:20]).any()


def test_runs():
    which = np.array([1, 1, 0, 1, 1, 1, 0, 1], dtype=bool)
    assert np.flatnonzero(runs(which, 3)).tolist() == [3, 4, 5]
    assert runs(which, 1).tolist() == which.tolist()
    assert not runs(np.zeros(0, dtype=bool), 1).any()
