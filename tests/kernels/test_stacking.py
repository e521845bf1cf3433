from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightpipe.kernels import stacking
from nightpipe.kernels.stacking import REJECTED, Rules, stack_plain, stack_tile


def rules(n, **changes):
    one = np.ones(n)
    return Rules(one, one, 0.1 * one, 0.1 * one, 5.0)._replace(**changes)


def scene(seed, n):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (n, 12, 14))
    values[:, 4:8, 5:9] += 100 * rng.uniform(0.9, 1.1, (n, 1, 1))
    values[rng.random(values.shape) < 0.02] += 40
    bits = np.where(rng.random(values.shape) < 0.15, 8, 0)
    return values, rng.uniform(1, 2, values.shape), bits.astype(np.uint32), rng


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 9))
def test_equals_plain_numpy(seed, n):
    values, var, bits, rng = scene(seed, n)
    chosen = rules(n, weight=rng.uniform(1, 2, n))
    one, two = stack_tile(values, var, bits, chosen), stack_plain(values, var, bits, chosen)
    if n > 1:
        np.testing.assert_array_equal(one.number, two.number)
        np.testing.assert_array_equal(one.bits, two.bits)
        for a, b in zip(one[:3], two[:3], strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 8))
def test_order_of_frames_does_not_matter_and_nothing_is_unmasked(seed, n):
    values, var, bits, rng = scene(seed, n)
    order = rng.permutation(n)
    one, two = stack_tile(values, var, bits, rules(n)), stack_tile(values[order], var[order], bits[order], rules(n))
    np.testing.assert_allclose(one.value, two.value, atol=1e-4)
    np.testing.assert_array_equal(one.bits, two.bits)
    assert (one.bits[(bits != 0).all(axis=0)] == 8).all()
    assert (one.number <= (bits == 0).sum(axis=0)).all()
    assert all(np.isfinite(part).all() for part in one)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_cosmic_rays_go_with_their_skirts_and_cores_of_stars_stay(n):
    rng = np.random.default_rng(n)
    values = rng.normal(0, 1, (n, 30, 30))
    values[:, 10:14, 10:14] += 1000 * np.linspace(0.95, 1.05, n)[:, None, None]
    values[:, 20, 20:23] *= 0.1
    values[0, 20, 20:23] = [500, 500, 4]
    one = stack_tile(values, np.ones_like(values), np.zeros(values.shape), rules(n, tolerance=np.full(n, 0.2)))
    assert (one.number[10:14, 10:14] == n).all()
    assert list(one.number[20, 20:23]) == [n - 1] * 3
    assert (one.number == n).mean() > 0.99


def test_pixel_that_nobody_saw_is_zero_and_says_why():
    values = np.zeros((2, 3, 3))
    bits = np.zeros(values.shape, np.uint32)
    bits[:, 1, 1] = (2, 4)
    one = stack_tile(values, values + 1, bits, rules(2))
    assert (one.bits[1, 1], one.value[1, 1], one.weight[1, 1]) == (6, 0, 0)
    assert REJECTED == 128


def test_form_of_the_input_compiles_nothing():
    values, var, bits, _ = scene(1, 3)
    stack_tile(values.astype(">f8"), var.astype("f4"), bits.astype(bool), rules(3))
    assert len(stacking._stack.signatures) == 1
