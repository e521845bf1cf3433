from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nightpipe.kernels import clip
from nightpipe.kernels.arrays import ShapeError
from nightpipe.kernels.combine import clipped_mean, clipped_median, clipped_plain
from nightpipe.kernels.networks import merge_exchange, sort_columns


def stack(n, shape=(12, 17), seed=1, outliers=0.03):
    rng = np.random.default_rng(seed)
    frames = rng.normal(1000.0, 10.0, (n, *shape)).astype(np.float32)
    frames[rng.random(frames.shape) < outliers] += 400.0
    return frames, rng.random(frames.shape) < 0.1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 20, 33, 70])
def test_network_sorts_any_number(n):
    values = np.random.default_rng(n).normal(size=(n, 50)).astype(np.float32)
    expected = np.sort(values, axis=0)
    sort_columns(values, merge_exchange(n))
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 20, 45])
@pytest.mark.parametrize("median", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_plain_numpy(n, median, masked):
    frames, mask = stack(n)
    mask = mask if masked else None
    result = (clipped_median if median else clipped_mean)(frames, mask)
    expected = clipped_plain(frames, mask, median=median)
    np.testing.assert_array_equal(result.used, expected.used)
    np.testing.assert_array_equal(result.rejected, expected.rejected)
    np.testing.assert_allclose(result.value, expected.value, rtol=2e-7)
    np.testing.assert_allclose(result.error, expected.error, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("iterations", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("limits", [(2.0, 2.5), (3.0, 3.0), (8.0, 2.0)])
def test_sums_follow_every_turn_of_clipping(iterations, limits):
    frames, mask = stack(20, (40, 50), outliers=0.1)
    frames[:, :3] = np.rint(frames[:, :3] / 20)  # so coarse that many columns have no MAD
    options = {"low": limits[0], "high": limits[1], "iterations": iterations}
    for given_mask in (None, mask):
        result, expected = (one(frames, given_mask, **options) for one in (clipped_mean, clipped_plain))
        same = result.used == expected.used
        assert same.mean() > 0.998  # a value in a thousand lies on the edge of the clip to the last bit of a float32
        np.testing.assert_allclose(result.value[same], expected.value[same], rtol=3e-7)
        np.testing.assert_allclose(result.error[same], expected.error[same], rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), n=st.integers(1, 9))
def test_order_does_not_matter_and_nothing_is_unmasked(data, n):
    values = hnp.arrays(np.float32, (n, 7), elements=st.floats(-1e6, 1e6, width=32) | st.just(np.float32("nan")))
    frames = data.draw(values)
    mask = data.draw(hnp.arrays(bool, (n, 7)))
    order = data.draw(st.permutations(range(n)))
    first = clipped_mean(frames, mask)
    second = clipped_mean(frames[order], mask[order])
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    good = np.sum(np.isfinite(frames) & ~mask, axis=0)
    np.testing.assert_array_equal(first.used.astype(int) + first.rejected, good)
    assert (first.used[good > 0] > 0).all()


def test_masked_values_never_enter():
    frames, _ = stack(7, outliers=0.0)
    frames[2] = 1e30
    frames[3] = np.nan
    mask = np.zeros(frames.shape, np.uint32)
    mask[2] = 8
    result = clipped_mean(frames, mask, iterations=0)
    np.testing.assert_allclose(result.value, np.delete(frames, [2, 3], 0).mean(0), rtol=1e-6)
    assert (result.used == 5).all()


def test_one_cosmic_ray_in_five_frames_goes():
    frames, _ = stack(5, outliers=0.0)
    frames[1, 4, 4] += 500.0
    result = clipped_mean(frames)
    assert result.rejected[4, 4] >= 1
    assert abs(result.value[4, 4] - 1000) < 30


def test_two_frames_are_clipped_on_their_variance():
    frames = np.full((3, 4, 4), 100.0)
    frames[0, 1, 1] = 500.0
    result = clipped_mean(frames, variance=np.full(frames.shape, 25.0), scale="variance")
    assert result.value[1, 1] == 100.0
    assert result.error[1, 1] == pytest.approx(5 / np.sqrt(2))
    assert result.error[0, 0] == pytest.approx(5 / np.sqrt(3))


def test_weights_and_factors():
    frames = np.stack([np.full((2, 2), 10.0), np.full((2, 2), 40.0)])
    result = clipped_mean(frames, weights=[3.0, 1.0], factors=[2.0, 0.5], iterations=0)
    np.testing.assert_allclose(result.value, 20.0)
    result = clipped_mean(frames, weights=[3.0, 1.0], iterations=0, variance=np.ones(frames.shape))
    np.testing.assert_allclose(result.value, 17.5)
    np.testing.assert_allclose(result.error, np.sqrt(10) / 4)


@pytest.mark.parametrize(("function", "n"), [(clipped_mean, 6), (clipped_median, 5), (clipped_median, 9)])
def test_error_is_the_scatter_of_the_value(function, n):
    frames = np.random.default_rng(5).normal(0, 1, (n, 200, 200))
    result = function(frames, iterations=0)
    ratio = result.value.std() / np.sqrt(np.mean(result.error.astype(float) ** 2))
    assert 0.98 < ratio < 1.02


def test_form_of_the_input_changes_nothing_and_compiles_nothing():
    frames, mask = stack(6)
    expected = clipped_mean(frames, mask)
    read_only = frames.copy()
    read_only.flags.writeable = False
    strided = np.repeat(frames, 2, axis=2)[:, :, ::2]
    for given_frames in (read_only, strided, frames.astype(">f4"), frames.astype(float), list(frames)):
        for given_mask in (mask, mask.astype(np.uint32) * 4, list(mask)):
            for a, b in zip(clipped_mean(given_frames, given_mask), expected, strict=True):
                np.testing.assert_array_equal(a, b)
    assert len(clip.clip_tiles.signatures) == 1


def test_unlike_shapes_are_refused():
    with pytest.raises(ShapeError):
        clipped_mean([np.zeros((2, 2)), np.zeros((2, 3))])
    with pytest.raises(ShapeError):
        clipped_mean(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))
    with pytest.raises(ShapeError):
        clipped_mean(np.zeros((2, 2, 2)), scale="variance")
