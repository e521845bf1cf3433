from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.special import erf

from nightpipe.kernels import fits
from nightpipe.kernels.arrays import ShapeError
from nightpipe.kernels.fits import gaussians, model_plain, multiplets, windows


def line(x, centre, sigma, flux, constant, slope=0.0):
    upper, lower = ((x + half - centre) / (np.sqrt(2) * sigma) for half in (0.5, -0.5))
    return constant + slope * (x - x.mean()) + flux * 0.5 * (erf(upper) - erf(lower))


def lines(n, seed=1, m=31, snr=None):
    rng = np.random.default_rng(seed)
    x = np.arange(m, dtype=float)
    centre, sigma = rng.uniform(m / 2 - 3, m / 2 + 3, n), rng.uniform(0.9, 2.5, n)
    flux = rng.uniform(60, 4000, n) if snr is None else np.full(n, snr)
    truth = np.array([line(x, *row, 100.0, 0.5) for row in zip(centre, sigma, flux, strict=True)])
    noise = np.sqrt(np.maximum(truth, 1) + 25)
    return x, truth + rng.normal(size=truth.shape) * noise, noise**-2.0, centre, sigma, flux


def test_noiseless_lines_come_back():
    x, _, weight, centre, sigma, flux = lines(50)
    truth = np.array([line(x, *row, 100.0, 0.5) for row in zip(centre, sigma, flux, strict=True)])
    result = gaussians(truth, weight, 100.0, np.full(50, 115.0), 1.5, slope=True)
    assert result.ok.all()
    np.testing.assert_allclose(result.centre - 100, centre, atol=1e-6)
    np.testing.assert_allclose(result.sigma, sigma, atol=1e-6)
    np.testing.assert_allclose(result.flux[:, 0], flux, rtol=1e-6)
    np.testing.assert_allclose(result.slope, 0.5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Covariance of the parameters")
@pytest.mark.parametrize("slope", [False, True])
def test_never_worse_than_scipy(slope):
    x, values, weight, _, _, _ = lines(150, seed=4)
    result = gaussians(values, weight, 0.0, np.full(150, 15.0), 1.5, slope=slope)
    np.testing.assert_allclose(
        np.sum(weight * (values - model_plain(result, 0.0, len(x))) ** 2, axis=1), result.chi2, rtol=1e-9
    )
    for k in np.flatnonzero(result.ok):
        start = [15.0, 1.5, values[k].sum() - 31 * np.median(values[k]), np.median(values[k])] + [0.0] * slope
        best, cov = curve_fit(line, x, values[k], start, sigma=weight[k] ** -0.5, absolute_sigma=True, ftol=1e-12)
        chi2 = np.sum(weight[k] * (values[k] - line(x, *best)) ** 2)
        assert result.chi2[k] <= chi2 * (1 + 1e-6)
        if result.chi2[k] >= chi2 * (1 - 1e-6):
            assert result.centre[k] == pytest.approx(best[0], abs=1e-4)
            assert result.centre_error[k] == pytest.approx(np.sqrt(cov[0, 0]), rel=2e-2)
    assert result.ok.mean() > 0.97


@pytest.mark.pulls
def test_pulls_of_centre_and_flux():
    _, values, weight, centre, _, flux = lines(6000, seed=6, snr=3000)
    result = gaussians(values, weight, 0.0, np.rint(centre), 1.5, slope=True)
    assert result.ok.all()
    for pull in (
        (result.centre - centre) / result.centre_error,
        (result.flux[:, 0] - flux) / result.flux_error[:, 0],
        (result.sigma - lines(6000, seed=6, snr=3000)[4]) / result.sigma_error,
    ):
        assert abs(pull[result.ok].mean()) < 0.05
        assert 0.95 < pull[result.ok].std() < 1.05
    assert result.chi2.sum() / result.dof.sum() == pytest.approx(1, abs=0.02)


def test_blend_has_the_right_centre_where_one_line_has_not():
    rng = np.random.default_rng(0)
    x = np.arange(40.0)
    offsets = np.array([-1.5, 1.2, np.nan])
    truth = line(x, 19.3 - 1.5, 1.3, 5000, 50) + line(x, 19.3 + 1.2, 1.3, 1800, 0)
    values = truth + rng.normal(0, 8, (200, 40))
    blend = multiplets(values, np.full(values.shape, 1 / 64), 0.0, 19.0, 1.0, offsets)
    single = gaussians(values, np.full(values.shape, 1 / 64), 0.0, 19.0, 1.0)
    assert blend.ok.all()
    pull = (blend.centre - 19.3) / blend.centre_error
    assert abs(pull.mean()) < 0.25
    assert 0.8 < pull.std() < 1.2
    np.testing.assert_allclose(blend.flux[:, :2].mean(0), [5000, 1800], rtol=0.02)
    assert not blend.flux[:, 2].any()
    assert abs(single.centre.mean() - 19.3) > 0.3


def test_width_can_be_held():
    _, values, weight, _, _, _ = lines(20)
    result = gaussians(values, weight, 0.0, 15.0, 1.7, hold_width=True)
    np.testing.assert_array_equal(result.sigma, 1.7)
    np.testing.assert_array_equal(result.sigma_error, 0.0)
    assert result.ok.all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), shift=st.integers(-1000, 1000), bad=st.integers(0, 30))
def test_moves_with_the_window_and_bad_pixels_never_enter(seed, shift, bad):
    _, values, weight, _, _, _ = lines(3, seed)
    weight[:, bad] = 0.0
    first = gaussians(values, weight, 0.0, 15.0, 1.5)
    spoiled = values.copy()
    spoiled[:, bad] = 1e7
    second = gaussians(spoiled, weight, float(shift), 15.0 + shift, 1.5)
    np.testing.assert_allclose(second.centre[first.ok] - shift, first.centre[first.ok], atol=1e-5)
    assert np.isfinite(first.centre).all()
    assert np.isfinite(first.chi2).all()


def test_nothing_to_fit_is_not_ok():
    flat = gaussians(np.ones((2, 20)), np.ones((2, 20)), 0.0, 10.0, 1.0)
    assert not flat.ok.any()
    empty = gaussians(np.ones((1, 20)), np.zeros((1, 20)), 0.0, 10.0, 1.0)
    assert not empty.ok.any()
    assert np.isinf(empty.centre_error).all()


def test_windows_reach_over_the_edge_without_weight():
    spectrum = np.arange(50.0)
    spectrum[20] = np.nan
    values, weight, first = windows(spectrum, np.ones(50), [1.2, 20.0], 4)
    np.testing.assert_array_equal(first, [-3, 16])
    np.testing.assert_array_equal(weight[0], [0, 0, 0, 1, 1, 1, 1, 1, 1])
    assert weight[1, 4] == 0
    np.testing.assert_array_equal(values[0, 3:], np.arange(6))


def test_form_of_the_input_compiles_nothing():
    _, values, weight, _, _, _ = lines(8)
    expected = gaussians(values, weight, 0.0, 15.0, 1.5)
    read_only = values.copy()
    read_only.flags.writeable = False
    for form in (read_only, values.astype(">f8"), np.asfortranarray(values)):
        np.testing.assert_array_equal(gaussians(form, weight, 0.0, 15.0, 1.5).centre, expected.centre)
    multiplets(values, weight, 0.0, 15.0, 1.5, [-1.0, 1.0], slope=True, hold_width=True)
    assert len(fits._fit_all.signatures) == 1


def test_too_many_lines_are_refused():
    with pytest.raises(ShapeError):
        multiplets(np.ones((1, 20)), np.ones((1, 20)), 0.0, 10.0, 1.0, np.arange(7.0))
