"""A smooth field of shifts out of single measurements."""

from __future__ import annotations

import numpy as np

from nightpipe.maths.skyfield import Points, fit_field

DOMAINS = ((0.0, 999.0), (0.0, 199.0))


def points(rng, field, lines=12, bins=8, noise=0.03, doubt=0.02):
    x, y = np.meshgrid(np.linspace(100, 900, lines), np.linspace(10, 190, bins))
    line = np.broadcast_to(np.arange(lines), x.shape).ravel()
    x, y = x.ravel(), y.ravel()
    shift = field(x, y) + rng.normal(0, noise, len(x)) + rng.normal(0, doubt, lines)[line]
    return Points(x, y, shift, np.full(len(x), noise), line, np.full(lines, doubt))


def solved(seed, field, **changes):
    return fit_field(points(np.random.default_rng(seed), field, **changes), *DOMAINS, (1, 2))


def test_a_constant_stays_a_constant():
    fields = [solved(seed, lambda x, y: 0.4 + 0 * x * y) for seed in range(20)]
    assert sum(field.orders == (0, 1) for field in fields) >= 16
    bends = np.array([field.shift.coef.ravel()[2:] for field in fields])
    assert np.sqrt(np.mean(bends**2)) < 0.003


def test_an_error_that_noise_does_not_know_is_learned():
    """Points scatter three times as much as they claim: the field is as uncertain as if they had said so."""
    liars, honest = [], []
    for seed in range(30):
        seen = points(np.random.default_rng(seed), lambda x, y: 0.3 + 0 * x * y, noise=0.03, doubt=0.0)
        told = Points(seen.x, seen.y, seen.shift, seen.error / 3.0, seen.line, seen.doubt)
        liars.append(float(fit_field(told, *DOMAINS, (1, 2)).shift.sigma(500.0, 100.0)[0]))
        honest.append(float(fit_field(seen, *DOMAINS, (1, 2)).shift.sigma(500.0, 100.0)[0]))
    assert 0.8 < np.median(liars) / np.median(honest) < 1.4


def test_doubts_that_are_too_large_are_cut_down():
    seen = [
        points(np.random.default_rng(seed), lambda x, y: 0.3 + 0 * x * y, lines=30, doubt=0.0) for seed in range(20)
    ]
    doubted = [Points(one.x, one.y, one.shift, one.error, one.line, np.full(30, 0.1)) for one in seen]
    sigma = [float(fit_field(one, *DOMAINS, (1, 2)).shift.sigma(500.0, 100.0)[0]) for one in doubted]
    assert np.median(sigma) < 0.3 * 0.1 / np.sqrt(30)


def test_a_slope_along_the_slit_is_seen():
    field = solved(1, lambda x, y: 0.1 + 0.2 * (y - 100) / 100 + 0 * x)
    assert field.orders[1] >= 1
    assert abs(float(np.squeeze(field.shift(500.0, 190.0) - field.shift(500.0, 10.0))) - 0.36) < 0.06


def test_one_wild_line_moves_nothing():
    rng = np.random.default_rng(2)
    good = points(rng, lambda x, y: 0.3 + 0 * x * y)
    shift = np.where(good.line == 4, good.shift + 2.0, good.shift)
    field = fit_field(Points(good.x, good.y, shift, good.error, good.line, good.doubt), *DOMAINS, (1, 2))
    assert np.max(np.abs(field.shift(np.array([100.0, 500.0, 900.0]), 100.0) - 0.3)) < 0.08


def test_error_holds_what_lines_share():
    pulls = []
    for seed in range(400):
        field = solved(seed, lambda x, y: 0.3 + 0 * x * y, noise=0.01, doubt=0.05)
        pulls.append(float(np.squeeze((field.shift(500.0, 100.0) - 0.3) / field.shift.sigma(500.0, 100.0))))
    assert abs(np.mean(pulls)) < 0.17
    assert 0.85 < np.std(pulls) < 1.15


def test_lines_too_few_for_a_slope_along_the_dispersion():
    field = solved(3, lambda x, y: 0.3 * (x - 500) / 400 + 0 * y, lines=2)
    assert field.orders[0] == 0
