"""Choosing the order and throwing lines out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from nightpipe.base.errors import NoSolutionError
from nightpipe.maths.linefit import Limits, best_order

N = 1000


def lines(rng, order, count=40, noise=0.03):
    x = np.sort(rng.uniform(20, N - 20, count))
    coef = np.array([6000.0, 1000.0, 30.0, -8.0, 4.0, -2.0])[: order + 1]
    wave = chebyshev.chebval(2 * x / (N - 1) - 1, coef)
    dispersion = np.full(count, 2.0)
    return x + rng.normal(0, noise, count), wave, np.full(count, noise), dispersion


def chosen(rng_seed, order, wrong=()):
    rng = np.random.default_rng(rng_seed)
    x, wave, sigma, dispersion = lines(rng, order)
    for k in wrong:
        x[k] += 0.8
    good = np.ones(len(x), dtype=bool)
    return best_order(x, wave, sigma, dispersion, N, good, Limits(), np.full(len(x), 2.0))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_left_out_lines_choose_the_true_order(order):
    found = [chosen(seed, order)[0] for seed in range(8)]
    assert min(found) >= order
    assert np.median(found) == order


def test_wrong_lines_are_rejected_and_right_ones_kept():
    order, used, _ = chosen(3, 3, wrong=(5, 20, 33))
    assert not used[[5, 20, 33]].any()
    assert used.sum() >= 35
    assert order == 3


def test_a_line_far_out_is_not_rejected_for_its_leverage():
    rng = np.random.default_rng(9)
    x, wave, sigma, dispersion = lines(rng, 3, count=20)
    x[:19] = np.sort(rng.uniform(500, 980, 19))
    x[19] = 30.0
    wave = chebyshev.chebval(2 * x / (N - 1) - 1, [6000.0, 1000.0, 30.0, -8.0])
    x = x + rng.normal(0, 0.01, 20)
    _, used, _ = best_order(x, wave, sigma, dispersion, N, np.ones(20, dtype=bool), Limits(), np.full(20, 2.0))
    assert used[19]


def test_too_few_lines_are_refused():
    rng = np.random.default_rng(1)
    x, wave, sigma, dispersion = lines(rng, 1, count=3)
    with pytest.raises(NoSolutionError):
        best_order(x, wave, sigma, dispersion, N, np.ones(3, dtype=bool), Limits(), np.full(3, 2.0))
