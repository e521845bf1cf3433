"""Drawing and fitting stars with a gridded PSF: against plain twins and dense least squares."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.kernels import psf
from nightpipe.kernels.arrays import flags, float32, plain


def smooth_grid(degree=1, over=3, half=12, shape=(40, 50)):
    axis = np.arange(-half * over, half * over + 1) / over
    r2 = axis[:, None] ** 2 + axis**2
    core = np.exp(-0.5 * r2 / 1.4**2)
    planes = [core, 0.1 * core * (r2 - 2), 0.05 * core * axis][: (degree + 1) * (degree + 2) // 2]
    return np.array(planes) / core.sum() * over**2, psf.Grid(
        np.array(planes) / core.sum() * over**2, over, degree, shape
    )


def test_values_between_nodes_are_those_of_the_plain_twin():
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(6, 21, 21))
    grid = psf.Grid(basis, 3, 2, (101, 201))
    dx, dy = rng.uniform(-2, 2, (2, 50))
    expected = psf.values_plain(basis, 3, 2, (30 / 100 - 1, 160 / 100 - 1), dx, dy)
    assert psf.values(grid, 30, 80, dx, dy) == pytest.approx(expected, abs=1e-5)


def test_drawing_is_the_sum_of_values():
    _, grid = smooth_grid()
    image = np.zeros((40, 50), np.float32)
    psf.add(image, grid, np.array([[1000.0, 20.3, 17.8]]), np.array([5.0]), 1.0)
    jj, ii = np.mgrid[:40, :50]
    inside = np.hypot(ii - 20.3, jj - 17.8) <= 5
    assert image[inside] == pytest.approx(1000 * psf.values(grid, 20.3, 17.8, (ii - 20.3)[inside], (jj - 17.8)[inside]))
    assert not image[~inside].any()


def fitted(image, var, grid, start, hold, groups, passes):
    stars, rest = np.array(start), float32(image).copy()
    radius = np.full(len(stars), 8.5)
    psf.add(rest, grid, stars, radius, -1.0)
    bad = flags(np.zeros(image.shape))
    args = float32(image), rest, float32(var), bad, grid, stars, flags(hold), plain(groups, np.int64), radius
    for _ in range(passes):
        told = psf.fit_pass(*args, 4.0, 0.0)
    return stars, told, rest


def test_two_overlapping_stars_come_back_exactly_together_or_in_turn():
    _, grid = smooth_grid()
    truth = np.array([[1000.0, 20.3, 17.8], [600.0, 22.9, 18.6]])
    image = np.zeros((40, 50), np.float32)
    psf.add(image, grid, truth, np.full(2, 8.5), 1.0)
    start = truth + np.array([[100, 0.2, -0.3], [-50, -0.2, 0.2]])
    together, _, rest = fitted(image, np.ones((40, 50)), grid, start, [0, 0], [0, 2], 8)
    assert together == pytest.approx(truth, rel=1e-3)
    assert np.abs(rest).max() < 0.1
    in_turn, _, _ = fitted(image, np.ones((40, 50)), grid, start, [0, 0], [0, 1, 2], 60)
    assert in_turn == pytest.approx(truth, rel=5e-3)


def test_errors_are_those_of_dense_least_squares():
    _, grid = smooth_grid()
    truth = np.array([[1000.0, 20.3, 17.8], [600.0, 22.9, 18.6]])
    image = np.zeros((40, 50), np.float32)
    psf.add(image, grid, truth, np.full(2, 8.0), 1.0)
    _, told, _ = fitted(image, np.full((40, 50), 4.0), grid, truth, [1, 1], [0, 2], 1)
    jj, ii = np.mgrid[:40, :50]
    near = (np.hypot(ii - 20.3, jj - 17.8) <= 4) | (np.hypot(ii - 22.9, jj - 18.6) <= 4)
    design = np.stack([psf.values(grid, x, y, ii - x, jj - y)[near] for _, x, y in truth], axis=1)
    assert told[:, 0] == pytest.approx(4 * np.diag(np.linalg.inv(design.T @ design)), rel=1e-3)


def test_a_held_position_stays():
    _, grid = smooth_grid()
    image = np.zeros((40, 50), np.float32)
    psf.add(image, grid, np.array([[1000.0, 20.3, 17.8]]), np.full(1, 6.0), 1.0)
    stars, _, _ = fitted(image, np.ones((40, 50)), grid, [[900.0, 20.0, 18.0]], [1], [0, 1], 3)
    assert tuple(stars[0, 1:]) == (20.0, 18.0)


def test_wider_stars_are_told_by_how_much():
    _, grid = smooth_grid(degree=0)
    jj, ii = np.mgrid[:40, :50]
    sigma2 = 1.4**2 + 0.2
    image = 1e4 * np.exp(-0.5 * ((ii - 25) ** 2 + (jj - 20) ** 2) / sigma2) / (2 * np.pi * sigma2)
    stars, _, rest = fitted(image, np.ones((40, 50)), grid, [[1e4, 25.0, 20.0]], [0], [0, 1], 4)
    bad = flags(np.zeros(image.shape))
    found = psf.judge(float32(image), rest, float32(np.ones((40, 50))), bad, grid, stars, 4.0, 0.0)
    assert 2 * found[0, 2] == pytest.approx(0.2, rel=0.2)


def test_one_compiled_signature():
    psf.rehearse()
    for kernel in (psf._fit, psf._add, psf._values, psf._judge):
        assert len(kernel.signatures) == 1
