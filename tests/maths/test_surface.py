"""Penalised spline surfaces against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.kernels import splines
from nightpipe.maths.surface import Surface, normal_equations, solve_surface, tiny_penalty

BREAKS = np.linspace(0.0, 12.0, 13)


def points(rng, n=1500):
    u, v = rng.uniform(0, 12, n), rng.uniform(-1, 1, n)
    weight = rng.uniform(50, 150, n)
    value = np.sin(u) + v * np.cos(u / 2) + 0.3 * v**2 + rng.normal(0, 1, n) / np.sqrt(weight)
    return u, v, value, weight


def dense(u, v, order):
    first, basis = splines.basis(BREAKS, u)
    design = np.zeros((len(u), len(BREAKS) + 2, order + 1))
    for a in range(4):
        design[np.arange(len(u)), first + a] += basis[:, a, None] * v[:, None] ** np.arange(order + 1)
    return design.reshape(len(u), -1)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_coefficients_and_covariance_are_those_of_dense_least_squares(order):
    u, v, value, weight = points(np.random.default_rng(order))
    normal = normal_equations(u, v, value, weight, BREAKS, order)
    surface = solve_surface(normal, tiny_penalty(normal, 1e-12), covariance=True)
    design = dense(u, v, order)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    np.testing.assert_allclose(surface.coef.ravel(), inverse @ design.T @ (weight * value), atol=1e-6)
    at = np.array([0.3, 5.5, 11.9])
    for k, block in enumerate(surface.covariance(at)):
        rows = np.stack([dense(at[k : k + 1], np.ones(1), 0)[0]])
        spread = np.kron(rows, np.eye(order + 1))
        np.testing.assert_allclose(block, spread @ inverse @ spread.T, rtol=1e-4, atol=1e-9)


def test_a_stiff_term_follows_a_straight_line_and_a_free_one_the_data():
    u, v, value, weight = points(np.random.default_rng(4))
    normal = normal_equations(u, v, value, weight, BREAKS, 1)
    strength = tiny_penalty(normal)
    free = solve_surface(normal, strength).coef[:, 1]
    strength[:, 1] = 1e9 * normal.diagonal[:, 0].max()
    stiff = solve_surface(normal, strength).coef[:, 1]
    assert np.abs(np.diff(stiff, 2)).max() < 1e-3
    assert np.abs(np.diff(free, 2)).max() > 0.05


def test_a_gap_without_data_is_bridged():
    u, v, value, weight = points(np.random.default_rng(5))
    weight[(u > 4) & (u < 7)] = 0.0
    normal = normal_equations(u, v, value, weight, BREAKS, 0)
    surface = solve_surface(normal, tiny_penalty(normal), covariance=True)
    assert np.isfinite(surface(np.linspace(0, 12, 50), np.zeros(50))).all()
    inside, outside = surface.covariance(np.array([5.5, 2.0]))[:, 0, 0]
    assert inside > 100 * outside


def test_the_gradient_vanishes_at_the_solution():
    u, v, value, weight = points(np.random.default_rng(6))
    normal = normal_equations(u, v, value, weight, BREAKS, 1)
    surface = solve_surface(normal, tiny_penalty(normal, 1e-12))
    assert np.abs(normal.gradient(surface.coef)).max() < 1e-4 * np.abs(normal.right).max()


def test_covariance_needs_to_be_asked_for():
    with pytest.raises(ValueError, match="covariance"):
        Surface(BREAKS, np.zeros((15, 1))).covariance(np.array([1.0]))
