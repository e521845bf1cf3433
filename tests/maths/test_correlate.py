"""Laying one comb of lines on another."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.combs import Guess, comb, compressed, search, synthetic
from nightpipe.maths.correlate import align

LINES = np.sort(np.random.default_rng(1).uniform(4000, 8000, 60))
STRENGTH = np.random.default_rng(2).uniform(0.1, 1.0, 60)


@pytest.mark.parametrize(("shift", "stretch", "bend"), [(0.0, 0.0, 0.0), (23.0, 0.01, 0.0), (-31.0, -0.01, 0.02)])
def test_alignment_is_found(shift, stretch, bend):
    grid = np.arange(4000.0, 8000.0, 4.0)
    template = synthetic(grid, comb(LINES, STRENGTH, ("X",) * 60, (3000, 9000)), 16.0)
    u = np.linspace(-1, 1, 600)
    place = 500 + shift + 300 * (u * (1 + stretch) + bend * u**2)
    signal = np.interp(place, np.arange(len(grid)), template)
    trials = np.array([(s, b, 0.0) for s in (-0.01, 0.0, 0.01) for b in (-0.02, 0.0, 0.02)])
    best = align(signal, template, scale=300.0, centre=500.0, reach=60.0, trials=trials)[0]
    assert abs(best.shift - 500 - shift) <= 1.5
    assert (best.stretch, best.bend) == (stretch, bend)
    assert best.score > 0.9


def test_search_puts_a_bent_arc_where_it_belongs():
    lines = comb(LINES, STRENGTH, ("X",) * 60, (3000, 9000))
    x = np.arange(1000.0)
    u = 2 * x / 999 - 1
    wave = 6050.0 + 1500 * (1.01 * u + 0.02 * u**2)
    flux = np.interp(wave, np.arange(4000.0, 8000.0, 0.5), synthetic(np.arange(4000.0, 8000.0, 0.5), lines, 9.0)) * 1e4
    found = search(flux, lines, Guess(6000.0, 3.0, 150.0), fwhm=3.0)
    away = [np.max(np.abs(np.polynomial.chebyshev.chebval(u, coef) - wave)) / 3.0 for coef in found]
    assert min(away) < 6.0


def test_compression_forgets_factors():
    x = np.arange(400.0)
    flux = sum(h * np.exp(-0.5 * ((x - p) / 2) ** 2) for p, h in zip((50, 150, 300), (1e3, 1e5, 1e4), strict=True))
    small = compressed(flux, 3)
    assert np.ptp(small[[50, 150, 300]]) / small[150] < 0.95
    assert np.allclose(compressed(7 * flux, 3), small)


def test_species_are_scaled_alike():
    both = comb(np.array([1.0, 2.0, 3.0]), np.array([1e5, 10.0, 5.0]), ("A", "B", "B"), (0, 9))
    assert both.strength.tolist() == [1.0, 1.0, 0.5]
