from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_lsq_spline

from nightpipe.kernels import band, splines
from nightpipe.kernels.splines import KnotsError, evaluate, fit_bspline, variance
from nightpipe.kernels.splines_plain import design_plain, fit_plain


def points(n=3000, seed=2):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 10, n), rng.uniform(-30, 50, n)
    knots = np.sort(np.concatenate([[0, 10], rng.uniform(0, 10, 25)]))
    return x, y, np.sin(x) * (1 + 0.01 * y) + rng.normal(0, 0.1, n), rng.uniform(0.5, 2, n), knots


@pytest.mark.parametrize("order_y", [0, 1, 2, 3])
def test_equals_dense_least_squares(order_y):
    x, y, value, weight, knots = points()
    fit = fit_bspline(x, value, weight, knots, order_y, y)
    coef, cov = fit_plain(x, value, weight, knots, order_y, y)
    design = design_plain(x, knots, order_y, y)
    model = design @ coef.ravel()
    np.testing.assert_allclose(fit.coef, coef, atol=1e-11)
    np.testing.assert_allclose(evaluate(fit, x, y), model, atol=1e-12)
    np.testing.assert_allclose(variance(fit, x, y), np.einsum("ij,jk,ik->i", design, cov, design), rtol=1e-10)
    assert fit.chi2 == pytest.approx(np.sum(weight * (value - model) ** 2))
    assert fit.dof == len(x) - coef.size


def test_equals_scipy():
    x, _, value, weight, knots = points()
    order = np.argsort(x)
    peer = make_lsq_spline(x[order], value[order], splines.extended_knots(knots), k=3, w=np.sqrt(weight[order]))
    fit = fit_bspline(x, value, weight, knots)
    np.testing.assert_allclose(fit.coef[:, 0], peer.c, atol=1e-10)
    np.testing.assert_allclose(evaluate(fit, x), peer(x), atol=1e-10)


def test_knots_without_data_follow_their_neighbours():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(0, 4, 2000), rng.uniform(6, 10, 2000)])
    knots = np.linspace(-1, 10, 70)
    fit = fit_bspline(x, 2 * x + 1, np.ones_like(x), knots)
    assert fit.unsupported.any()
    assert not fit.unsupported[len(knots) // 4]
    everywhere = np.linspace(-1, 10, 500)
    np.testing.assert_allclose(evaluate(fit, everywhere), 2 * everywhere + 1, atol=1e-6)
    assert variance(fit, 5.0) > 1e3 * variance(fit, 2.0)


def test_determined_coefficients_do_not_feel_the_gap():
    x, _, value, weight, knots = points()
    keep = (x < 4) | (x > 6)
    fit = fit_bspline(x, value, weight * keep, knots)
    coef, _ = fit_plain(x, value, weight, knots)
    left = np.linspace(0, 2.5, 50)
    design = design_plain(np.concatenate([left, [0.0, 10.0]]), knots)[:-2]
    np.testing.assert_allclose(evaluate(fit, left), design @ coef.ravel(), atol=0.02)
    only_left = x < 4
    part = knots[knots <= 4]
    alone = fit_bspline(x[only_left], value[only_left], weight[only_left], np.append(part, 4.0))
    np.testing.assert_allclose(evaluate(fit, left), evaluate(alone, left), atol=0.02)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), shift=st.integers(-50, 50), order_y=st.integers(0, 2))
def test_order_of_points_and_origin_do_not_matter(seed, shift, order_y):
    x, y, value, weight, knots = points(600, seed)
    order = np.random.default_rng(seed).permutation(len(x))
    first = fit_bspline(x, value, weight, knots, order_y, y)
    second = fit_bspline(x[order] + shift, value[order], weight[order], knots + shift, order_y, y[order])
    if not first.unsupported.any():
        np.testing.assert_allclose(evaluate(first, x, y), evaluate(second, x + shift, y), atol=1e-7)
    assert np.isfinite(first.coef).all()
    assert np.isfinite(variance(first, x, y)).all()


def test_points_without_weight_or_outside_do_not_count():
    x, _, value, weight, knots = points()
    clean = fit_bspline(x, value, weight, knots)
    more = np.concatenate([x, [1.0, -3.0, 12.0]])
    spoiled = np.concatenate([value, [np.nan, 1e9, 1e9]])
    weights = np.concatenate([weight, [0.0, 1.0, 1.0]])
    np.testing.assert_allclose(fit_bspline(more, spoiled, weights, knots).coef, clean.coef, atol=1e-12)


def test_beyond_the_knots_the_end_is_held():
    x, _, value, weight, knots = points()
    fit = fit_bspline(x, value, weight, knots)
    np.testing.assert_array_equal(evaluate(fit, [-5.0, 99.0]), evaluate(fit, [0.0, 10.0]))


def test_variance_is_the_scatter_of_the_model():
    x, _, _, _, knots = points(800)
    rng = np.random.default_rng(0)
    at = np.linspace(0.1, 9.9, 40)
    fits = [fit_bspline(x, rng.normal(0, 0.5, len(x)), np.full(len(x), 4.0), knots) for _ in range(400)]
    models = np.array([evaluate(fit, at) for fit in fits])
    ratio = np.sqrt(np.mean(models**2 / variance(fits[0], at)))
    assert 0.97 < ratio < 1.03


def test_threads_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 400_000)
    results = []
    for count in ("1", "3"):
        monkeypatch.setenv("NIGHTPIPE_THREADS", count)
        results.append(fit_bspline(x, x**2, np.ones_like(x), np.linspace(0, 1, 20)).coef)
    np.testing.assert_array_equal(*results)


def test_form_of_the_input_compiles_nothing():
    x, y, value, weight, knots = points()
    expected = evaluate(fit_bspline(x, value, weight, knots, 1, y), x, y)
    x.flags.writeable = False
    strided = np.repeat(value, 2)[::2]
    fit = fit_bspline(x.reshape(-1, 1), strided.reshape(-1, 1), weight.astype(">f8"), list(knots), 1, y)
    np.testing.assert_allclose(evaluate(fit, x.astype(">f8"), y), expected, atol=1e-12)
    kernels = (splines._accumulate, splines._assemble, splines._value_at, splines._variance_at, band._cholesky)
    assert [len(one.signatures) for one in kernels] == [1, 1, 1, 1, 1]


def test_unusable_knots_and_points_are_refused():
    x, _, value, weight, knots = points()
    with pytest.raises(KnotsError, match="increasing"):
        fit_bspline(x, value, weight, [0, 3, 3, 10])
    with pytest.raises(KnotsError, match="positive weight"):
        fit_bspline(x, value, weight * 0, knots)
    with pytest.raises(KnotsError, match="determine"):
        fit_bspline([1.0], [1.0], [1.0], knots)
