"""Traces rendered and fitted against their plain twins and the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from nightpipe.kernels import lenslets

OFFSET = np.linspace(-6.0, 6.0, 601)
BELOW = ndtr(OFFSET)


def traces(n=4, m=12):
    rng = np.random.default_rng(3)
    first = np.array([-2, 0, 3, 5])
    rows = 8.0 + 7.0 * np.arange(n)[:, None] + rng.uniform(-0.5, 0.5, (n, 1)) + 0.02 * np.arange(m)
    return first, rows, np.full((n, m), 1.15), rng.uniform(50, 500, (n, m))


def test_the_image_is_that_of_the_plain_twin_and_holds_all_light():
    first, rows, sigma, light = traces()
    image = lenslets.render((40, 15), first, rows, sigma, light, OFFSET, BELOW)
    plain = lenslets.render_plain((40, 15), first, rows, sigma, light, OFFSET, BELOW)
    assert np.abs(image - plain).max() < 1e-3
    inside = [light[k, i] for k in range(4) for i in range(12) if 0 <= first[k] + i < 15]
    assert image.sum() == pytest.approx(sum(inside), rel=1e-5)


def test_light_shift_and_width_are_found_again():
    first, rows, sigma, light = traces()
    image = lenslets.render((40, 15), first, rows + 0.03, sigma * 1.02, light, OFFSET, BELOW)
    weight = np.ones_like(image)
    start = light * 1.1
    model = lenslets.render((40, 15), first, rows, sigma, start, OFFSET, BELOW)
    said = lenslets.improve(image - model, weight, first, rows, sigma, start, OFFSET, BELOW)
    on = said[..., 1] > 0
    assert said[..., 0][on] == pytest.approx(light[on], rel=0.02)
    assert np.median(said[..., 2][on]) == pytest.approx(0.03, abs=0.005)
    assert np.median(said[..., 4][on]) == pytest.approx(0.02 * 1.15, abs=0.008)


def test_the_errors_are_those_of_many_draws():
    first, flat = np.zeros(1, int), np.ones((1, 4000))
    model = (first, 10.2 * flat, 1.1 * flat, 3e3 * flat, OFFSET, BELOW)
    noise = np.random.default_rng(4).normal(0, 5, (21, 4000))
    said = lenslets.improve(noise, np.full(noise.shape, 0.04), *model)[0]
    pulls = [(said[:, 0] - 3e3) * np.sqrt(said[:, 1]), said[:, 2] * np.sqrt(said[:, 3])]
    for pull in [*pulls, said[:, 4] * np.sqrt(said[:, 5])]:
        assert np.std(pull) == pytest.approx(1.0, abs=0.05)
        assert abs(np.mean(pull)) < 0.06


def test_the_profile_is_found_again_from_pixels_at_all_phases():
    first, rows, sigma, light = traces()
    rows, light = np.repeat(rows, 20, axis=1) + np.linspace(0, 1, 240), np.repeat(light, 20, axis=1)
    sigma = np.full(rows.shape, 1.15)
    wide = 0.9 * ndtr(OFFSET) + 0.1 * ndtr(OFFSET / 2.0)
    image = lenslets.render((40, 260), first, rows, sigma, light, OFFSET, wide)
    model = lenslets.render((40, 260), first, rows, sigma, light, OFFSET, BELOW)
    knots = np.linspace(-5.0, 5.0, 35)
    normal, right = lenslets.shape_normal(
        image - model, np.ones_like(image), first, rows, sigma, light, OFFSET, BELOW, knots
    )
    density = np.linalg.solve(normal + 1e-6 * np.trace(normal) * np.eye(35) / 35, right)
    true = np.exp(-0.5 * knots**2) / 2.5066 * 0.9 + np.exp(-0.125 * knots**2) / 5.0133 * 0.1
    assert np.abs(density - true).max() < 0.02


def test_one_compiled_signature():
    lenslets.rehearse()
    for kernel in (lenslets._render, lenslets._improve, lenslets._shape):
        assert len(kernel.signatures) == 1
