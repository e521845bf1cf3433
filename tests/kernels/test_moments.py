"""Adaptive moments against their plain twin and the truth."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.kernels import moments


def gaussian(x, y, cov, shape=(41, 41)):
    jj, ii = np.mgrid[: shape[0], : shape[1]]
    d = np.stack([ii - x, jj - y])
    return 1e4 * np.exp(-0.5 * np.einsum("aij,ab,bij->ij", d, np.linalg.inv(cov), d))


@pytest.mark.parametrize(("xx", "xy", "yy"), [(4, 0, 4), (6, 1.5, 3), (2.5, -0.5, 5)])
def test_a_gaussian_is_measured_exactly_and_as_the_twin_does(xx, xy, yy):
    data = gaussian(20.3, 19.6, np.array([[xx, xy], [xy, yy]]))
    found = moments.adaptive(data, np.ones_like(data), data * 0, [21.0], [20.0], 1.7)
    x, y, shape = moments.adaptive_plain(data, 21.0, 20.0, 1.7)
    assert found.ok[0]
    assert (found.x[0], found.y[0]) == pytest.approx((20.3, 19.6), abs=1e-3)
    assert (found.x[0], found.y[0]) == pytest.approx((x, y), abs=1e-3)
    assert (found.xx[0], found.xy[0], found.yy[0]) == pytest.approx((shape[0, 0], shape[0, 1], shape[1, 1]), abs=0.02)
    assert (found.xx[0], found.xy[0], found.yy[0]) == pytest.approx((xx, xy, yy), rel=0.03, abs=1e-3)


def test_errors_are_those_of_many_draws():
    rng = np.random.default_rng(1)
    clean = gaussian(20.2, 20.4, np.eye(2) * 4) / 100
    stack = np.concatenate([clean + rng.normal(0, 3, clean.shape) for _ in range(800)])
    y = 20.4 + 41 * np.arange(800)
    found = moments.adaptive(stack, np.full(stack.shape, 9.0), stack * 0, np.full(800, 20.2), y, 2.0)
    ok = found.ok
    assert ok.mean() > 0.98
    assert np.std((found.x - 20.2)[ok] / found.x_error[ok]) == pytest.approx(1, abs=0.12)
    size = (found.xx + found.yy - 8)[ok] / found.size_error[ok]
    assert 1.4826 * np.median(np.abs(size - np.median(size))) == pytest.approx(1, abs=0.15)


def test_a_bad_pixel_takes_the_value_of_its_mirror_image():
    data = gaussian(20.0, 20.0, np.eye(2) * 4)
    bad = np.zeros_like(data)
    bad[21, 21] = 1
    data[21, 21] = 1e6
    found = moments.adaptive(data, np.ones_like(data), bad, [20.1], [19.9], 2.0)
    assert (found.x[0], found.y[0]) == pytest.approx((20, 20), abs=0.01)


def test_nothing_there_is_not_ok_and_stays_where_it_was():
    found = moments.adaptive(np.full((30, 30), -1.0), np.ones((30, 30)), np.zeros((30, 30)), [15.0], [14.0], 2.0)
    assert not found.ok[0]
    assert (found.x[0], found.y[0]) == (15.0, 14.0)


def test_one_compiled_signature():
    moments.rehearse()
    assert len(moments._adaptive.signatures) == 1
