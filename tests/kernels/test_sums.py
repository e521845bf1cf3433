from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightpipe.kernels import sums
from nightpipe.kernels.arrays import ShapeError
from nightpipe.kernels.sums import box_plain, box_sum, optimal_plain, optimal_sum


def scene(seed=1, ny=40, nx=300, flux=2000.0, hits=0.01):
    rng = np.random.default_rng(seed)
    y = np.arange(ny)[:, None] - ny / 2 - 2 * np.sin(np.arange(nx) / 50)
    profile = np.exp(-0.5 * (y / 2.5) ** 2)
    profile /= profile.sum(axis=0)
    background = np.full((ny, nx), 25.0 + 100.0)
    data = rng.poisson(flux * profile + 100) - 100 + rng.normal(0, 5, (ny, nx))
    data[rng.random((ny, nx)) < hits] += 800
    return data, background, rng.random((ny, nx)) > 0.02, profile


@pytest.mark.parametrize("photon", [0.0, 1.0])
def test_optimal_equals_plain_numpy(photon):
    data, var, ok, profile = scene()
    profile = profile.astype(np.float32)
    result, expected = (f(data.astype("f4"), var, ok, profile, photon=photon) for f in (optimal_sum, optimal_plain))
    np.testing.assert_array_equal(result.rejected, expected.rejected)
    np.testing.assert_allclose(result.flux, expected.flux, rtol=2e-5)
    np.testing.assert_allclose(result.var, expected.var, rtol=2e-5)
    np.testing.assert_allclose(result.chi2, expected.chi2, rtol=1e-3)


def test_optimal_is_unbiased_with_honest_errors():
    pulls = []
    for seed in range(12):
        data, var, ok, profile = scene(seed, hits=0.0)
        result = optimal_sum(data, var, ok, profile, photon=1.0, threshold=6.0)
        pulls.append((result.flux - 2000) / np.sqrt(result.var))
    pulls = np.concatenate(pulls)
    assert abs(pulls.mean()) < 0.05
    assert 0.95 < pulls.std() < 1.05
    assert np.mean(result.chi2) == pytest.approx(1, abs=0.05)


def test_optimal_rejects_cosmic_rays_on_the_trace():
    data, var, ok, profile = scene(hits=0.0)
    data[20, ::7] += 1500
    data[21, ::7] += 4000
    result = optimal_sum(data, var, ok | True, profile, photon=1.0)
    assert result.rejected[20:22, ::7].mean() > 0.97
    bias = (result.flux[::7] - 2000) / np.sqrt(result.var[::7])
    assert abs(bias.mean()) < 0.5


def test_bright_objects_keep_their_pixels_where_the_profile_is_a_little_wrong():
    data, var, ok, profile = scene(flux=1e6, hits=0.0)
    wrong = np.roll(profile, 1, axis=1) ** 1.03
    wrong /= wrong.sum(axis=0)
    plain = optimal_sum(data, var, ok, wrong, photon=1.0)
    tolerant = optimal_sum(data, var, ok, wrong, photon=1.0, profile_error=0.1)
    assert plain.rejected.sum() > 20 * max(tolerant.rejected.sum(), 1)


def test_masked_pixels_never_enter_and_empty_columns_say_so():
    data, var, ok, profile = scene()
    clean = optimal_sum(data, var, ok, profile)
    spoiled = np.where(ok, data, np.nan)
    np.testing.assert_array_equal(optimal_sum(spoiled, var, ok, profile).flux, clean.flux)
    assert not (clean.rejected & ~ok).any()
    ok[:, 5] = False
    empty = optimal_sum(data, var, ok, profile)
    assert (empty.flux[5], empty.var[5], empty.chi2[5]) == (0, 0, 0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.integers(1, 5), scale=st.floats(0.01, 1000))
def test_optimal_moves_and_scales_with_the_data(seed, shift, scale):
    data, var, ok, profile = scene(seed, ny=24, nx=20)
    padded = [np.pad(part, ((shift, 0), (0, 0))) for part in (data, var, ok, profile)]
    first, second = optimal_sum(data, var, ok, profile), optimal_sum(*padded)
    np.testing.assert_allclose(first.flux, second.flux, rtol=1e-9)
    np.testing.assert_array_equal(first.rejected, second.rejected[shift:])
    third = optimal_sum(data * scale, var * scale**2, ok, profile)
    np.testing.assert_allclose(third.flux, first.flux * scale, rtol=1e-4)
    assert all(np.isfinite(part).all() for part in first)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.floats(-5, 30), width=st.floats(0.1, 40))
def test_box_equals_plain_numpy(seed, low, width):
    data, var, ok, _ = scene(seed, nx=20)
    lower = low + 0.1 * np.arange(20)
    result, expected = (f(data, var, ok, lower, lower + width) for f in (box_sum, box_plain))
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def test_box_counts_parts_of_pixels():
    ones = np.ones((10, 4))
    result = box_sum(ones, ones, ones, 2.25, 5.0)
    np.testing.assert_allclose(result.flux, 2.75)
    np.testing.assert_allclose(result.var, 0.25**2 + 2 + 0.5**2)
    np.testing.assert_allclose(result.fraction, 1)
    np.testing.assert_allclose(box_sum(ones, ones, ones, -1.5, 1.5).fraction, 2 / 3)


def test_box_scales_masked_light_by_the_profile():
    _, var, _, profile = scene()
    ok = np.ones(profile.shape, bool)
    ok[19] = False
    data = profile * 5000
    scaled = box_sum(data, var, ok, 8.0, 32.0, profile)
    np.testing.assert_allclose(scaled.flux, box_sum(data, var, ok | True, 8.0, 32.0).flux, rtol=1e-5)
    assert (scaled.fraction < 0.95).all()
    assert (box_sum(data, var, ok, 8.0, 32.0).flux < 4800).all()
    nothing = box_sum(data, var, ok & False, 8.0, 32.0, profile)
    assert not nothing.flux.any()
    assert not nothing.fraction.any()


def test_form_of_the_input_compiles_nothing():
    data, var, ok, profile = scene()
    expected = optimal_sum(data, var, ok, profile)
    for form in (np.float32, ">f8", "<f4"):
        result = optimal_sum(data.astype(form), var, ok.astype(np.uint8), np.asfortranarray(profile))
        np.testing.assert_allclose(result.flux, expected.flux, rtol=1e-5)
        box_sum(data.astype(form), np.asfortranarray(var), ok, 3, np.full(300, 9))
    read_only = data.copy()
    read_only.flags.writeable = False
    optimal_sum(read_only, var, ok, profile)
    assert len(sums._optimal.signatures) == len(sums._box.signatures) == 1


def test_unlike_shapes_are_refused():
    data, var, ok, profile = scene()
    with pytest.raises(ShapeError):
        optimal_sum(data, var, ok, profile[1:])
    with pytest.raises(ShapeError):
        optimal_sum(data, var, ok, profile, photon=np.ones(7))
