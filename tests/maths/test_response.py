"""The curve through a response's points: nothing runs wild where points are few."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nightpipe.maths.response import fit_curve


def edge(wave):
    """A blue end as an atmosphere and an old prism make it: steep, then flat."""
    return 33.4 - 4.0 * np.exp(-(wave - 3500.0) / 180.0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("step", [25.0, 45.0, 60.0])
def test_a_steep_end_with_a_gap_in_lines_stays_a_curve(step, seed):
    wave = np.concatenate([np.arange(3509.0, 3770.0, step), np.arange(4020.0, 9600.0, 55.0)])
    value = edge(wave) + np.random.default_rng(seed).normal(0.0, 0.01, len(wave))
    curve = fit_curve(wave, value, np.full(len(wave), 0.01))
    everywhere = np.linspace(wave[0], wave[-1], 2000)
    assert np.abs(curve(everywhere) - edge(everywhere)).max() < 0.15
    assert np.abs(curve(wave) - edge(wave)).max() < 0.05


def test_every_piece_keeps_two_points():
    wave = np.sort(np.random.default_rng(3).uniform(3500.0, 9000.0, 60))
    value = 30.0 + 3.0 / (1.0 + np.exp(-(wave - 4000.0) / 15.0))
    curve = fit_curve(wave, value, np.full(60, 0.01))
    inner = np.unique(curve.knots)
    counts = [np.count_nonzero((wave >= low) & (wave <= high)) for low, high in pairwise(inner)]
    assert min(counts) >= 2
