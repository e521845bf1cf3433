from __future__ import annotations

import numpy as np

from nightpipe.kernels import chorus
from nightpipe.kernels.band import factorise, solve
from nightpipe.kernels.chorus import design_plain, normal_equations, right_side, score_of, sung


def case(seed=1, n=4000, last=30.0):
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, last, n)
    gain = np.array([rng.uniform(0, 1, n), np.ones(n), rng.uniform(0, 1, n) * (rng.random(n) > 0.5)])
    score = score_of(place, rng.normal(0, 0.05, n), gain, (1.0, 0.5, 2.0), last)
    return score, rng.normal(10, 1, n), rng.uniform(0.5, 2, n) * (rng.random(n) > 0.1)


def full(band):
    size, width = band.shape
    matrix = np.zeros((size, size))
    for d in range(width):
        index = np.arange(d, size)
        matrix[index, index - d] = matrix[index - d, index] = band[index, d]
    return matrix


def test_normal_equations_equal_those_of_the_whole_matrix():
    score, data, weight = case()
    design = design_plain(score)
    band, right = normal_equations(score, data, weight)
    np.testing.assert_allclose(full(band), design.T @ (weight[:, None] * design), atol=1e-9)
    np.testing.assert_allclose(right, design.T @ (weight * data), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(right_side(score, data, weight), right, rtol=1e-12)


def test_spectra_are_found_again_without_noise():
    score, _, weight = case()
    coef = np.random.default_rng(2).normal(5, 1, score.size)
    data = sung(score, coef).sum(axis=0)
    np.testing.assert_allclose(data, design_plain(score) @ coef, rtol=1e-10)
    band, right = normal_equations(score, data, weight)
    factor, weak = factorise(band)
    assert not weak.any()
    np.testing.assert_allclose(solve(factor, right), coef, atol=1e-6)


def test_blur_widens_a_line_by_its_variance():
    place = np.linspace(0, 40, 2001)
    none, some = (score_of(place, np.full(place.size, b), np.ones((1, place.size)), (0.25,), 40.0) for b in (0.0, 0.05))
    line = np.exp(-0.5 * ((place - 20.3) / 1.2) ** 2)
    band, right = normal_equations(none, line, np.ones(place.size))
    coef = solve(factorise(band)[0], right)
    seen = sung(some, coef)[0]
    width = np.sqrt(np.sum(seen * (place - 20.3) ** 2) / seen.sum())
    assert abs(width**2 - 1.2**2 - 0.1) < 2e-3


def test_one_signature_each():
    chorus.rehearse()
    case_ = case(n=50)
    normal_equations(*case_)
    kernels = (chorus._assemble, chorus._project, chorus._sing)
    assert [len(one.signatures) for one in kernels] == [1, 1, 1]
