"""The displacement of lines along a slit."""

from __future__ import annotations

import numpy as np

from nightpipe.maths.poly import Poly1
from nightpipe.maths.tilt import bent, fit_displacement

DOMAIN = {"domain_x": (0.0, 999.0), "domain_y": (0.0, 199.0)}


def measured(rng, shift, lines=20, noise=0.02, offsets=0.0):
    x, y = np.linspace(50, 950, lines), np.linspace(5, 195, 20)
    place = x + shift(x[None, :], y[:, None]) + rng.normal(0, noise, (20, lines)) + rng.normal(0, offsets, lines)
    return x, y, place, np.full(place.shape, noise), np.ones(place.shape, dtype=bool)


def tilted(x, y):
    v = (y - 100) / 100
    return 1.5 * v * (1 + 0.2 * (x - 500) / 500) - 0.6 * v**2


def test_tilt_and_curvature_come_back_though_each_line_is_off():
    rng = np.random.default_rng(1)
    fit = fit_displacement(*measured(rng, tilted, offsets=0.2), **DOMAIN, y_ref=100.0)
    x, y = np.meshgrid(np.linspace(0, 999, 11), np.linspace(0, 199, 11))
    assert np.max(np.abs(fit(x, y) - tilted(x, y))) < 0.04
    assert fit.coef.shape == (2, 2)


def test_straight_lines_get_the_smallest_order():
    rng = np.random.default_rng(2)
    fit = fit_displacement(*measured(rng, lambda x, y: 0 * x * y), **DOMAIN, y_ref=100.0)
    assert fit.coef.size <= 3
    assert np.max(np.abs(fit.coef)) < 0.02


def test_wild_points_are_left_out():
    rng = np.random.default_rng(3)
    x, y, place, error, ok = measured(rng, tilted)
    place[3, 4] += 3.0
    place[10] += np.where(np.arange(len(x)) % 7 == 0, 2.0, 0.0)
    fit = fit_displacement(x, y, place, error, ok, **DOMAIN, y_ref=100.0)
    assert not fit.kept[3, 4]
    assert np.max(np.abs(fit(x, np.array([[10.0], [190.0]])) - tilted(x, np.array([[10.0], [190.0]])))) < 0.05


def test_the_map_keeps_the_reference_row_and_follows_the_lines():
    rng = np.random.default_rng(4)
    fit = fit_displacement(*measured(rng, tilted, noise=0.002), **DOMAIN, y_ref=100.0)
    row = np.array([6000.0, 2000.0, 40.0, -10.0])
    poly = bent(row, fit, (200, 1000))
    x = np.linspace(20, 980, 30)
    scale = Poly1(row, (0.0, 999.0))
    assert np.max(np.abs(poly(x, 100.0) - scale(x))) < 2e-3
    y = 180.0
    assert np.max(np.abs(poly(x + tilted(x, y), y) - scale(x))) < 0.03
