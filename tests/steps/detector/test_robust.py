"""The arithmetic under the prelude: robust scales, smooth curves, noise of a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightpipe.maths import robust
from nightpipe.maths.noise import expected_signal, model_variance
from nightpipe.maths.smooth import penalised_spline
from nightpipe.maths.transfer import bias_noise, gain, joined, overscan_noise, transfer


def test_scales_of_a_normal_sample():
    sample = np.random.default_rng(1).normal(3, 2, 200_000)
    assert robust.mad_std(sample) == pytest.approx(2, rel=0.01)
    for clip in (2.0, 3.0, 4.0):
        mean, scatter, _ = robust.clipped_stats(sample, clip)
        assert mean == pytest.approx(3, abs=0.02)
        assert scatter == pytest.approx(2, rel=0.01)


def test_outliers_do_not_move_location_and_scale():
    sample = np.random.default_rng(2).normal(0, 1, 10_000)
    sample[:800] = 1000
    mean, scatter, count = robust.clipped_stats(sample)
    assert abs(mean) < 0.05
    assert scatter == pytest.approx(1, rel=0.03)
    assert count <= 9200


def test_digitised_samples_have_a_scale():
    sample = np.round(np.random.default_rng(3).normal(100, 0.3, 5000))
    assert robust.clipped_stats(sample)[1] > 0
    assert np.isnan(robust.clipped_stats(np.array([np.nan]))[0])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0, 1))
def test_masked_median_is_the_median_of_the_good(seed, share):
    rng = np.random.default_rng(seed)
    values, good = rng.normal(0, 1, (7, 9)), rng.random((7, 9)) < share
    for axis in (0, 1):
        middle, count = robust.masked_median(values, good, axis)
        for k in range(values.shape[1 - axis]):
            line = np.take(values, k, 1 - axis)[np.take(good, k, 1 - axis)]
            assert count[k] == len(line)
            assert middle[k] == pytest.approx(np.median(line) if len(line) else 0.0)


def test_boxes_cover_what_they_can():
    image = np.arange(70).reshape(7, 10)
    cut = robust.boxes(image, 3)
    assert cut.shape == (6, 9)
    assert np.array_equal(cut[0], [0, 1, 2, 10, 11, 12, 20, 21, 22])
    assert robust.boxes(image, 100).shape == (1, 70)


def test_smooth_curve_is_as_stiff_as_the_points_say():
    rng = np.random.default_rng(4)
    x = np.arange(500)
    flat = penalised_spline(7 + rng.normal(0, 1, 500))
    assert flat.freedom < 6
    wave = 20 * np.sin(x / 40)
    curve = penalised_spline(wave + rng.normal(0, 1, 500))
    assert curve.freedom > 10
    assert np.std(curve.value - wave) < 0.3


def test_smooth_curve_ignores_outliers_and_states_its_error():
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(40):
        points = 5 * np.sin(np.arange(300) / 50) + rng.normal(0, 1, 300)
        points[::23] += 50
        fit = penalised_spline(points)
        pulls.append(((fit.value - 5 * np.sin(np.arange(300) / 50)) / np.sqrt(fit.var))[20:-20:20])
    assert 0.7 < np.std(pulls) < 1.4


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 60), knots=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_smooth_curve_of_any_length(n, knots, seed):
    fit = penalised_spline(np.random.default_rng(seed).normal(0, 1, n), knots=knots)
    assert np.isfinite(fit.value).all()
    assert np.isfinite(fit.var).all()


def test_variance_of_a_model():
    assert model_variance([-5.0, 0.0, 100.0], 5.0).tolist() == [25.0, 25.0, 125.0]
    assert model_variance(100.0, 5.0, per_electron=2.0, relative=0.01) == pytest.approx(25 + 200 + 100)


def test_expected_signal_does_not_follow_the_pixel():
    image = np.random.default_rng(6).normal(50, 7, (300, 300)).astype(np.float32)
    good = np.ones(image.shape, bool)
    estimate = expected_signal(image, good)
    assert abs(np.corrcoef(estimate.ravel(), image.ravel())[0, 1]) < 0.02
    assert estimate.mean() == pytest.approx(50, abs=0.1)
    image[100, 100], good[100, 100] = 1e6, False
    assert expected_signal(image, good)[100, 101] < 70
    assert (
        expected_signal(np.full((5, 5), 1000.0, np.float32) + np.eye(5, dtype=np.float32), np.ones((5, 5), bool))[2, 2]
        == 1001
    )


def test_photon_transfer_ignores_structure_and_lamp_drift():
    rng = np.random.default_rng(7)
    light = 8000 * (1 + 0.5 * np.sin(np.arange(256) / 20)) * rng.normal(1, 0.05, (256, 256))
    one, two = (rng.poisson(light * f) / 1.3 + rng.normal(0, 4, light.shape) for f in (1.0, 0.6))
    found = gain(joined([transfer(one, two, np.zeros(light.shape, bool), 4.0)]))
    assert found.value == pytest.approx(1.3, rel=0.02)
    assert abs(found.value - 1.3) < 4 * found.error


def test_read_noise_ignores_a_drifting_pedestal():
    rng = np.random.default_rng(8)
    one, two = (rng.normal(1000 + 40 * k + np.linspace(0, 5 * k, 256)[:, None], 3, (256, 256)) for k in range(2))
    found = bias_noise(one, two)
    assert abs(found.value - 3) < 4 * found.error
    assert found.error < 0.02


def test_overscan_noise():
    rng = np.random.default_rng(9)
    pedestal = np.linspace(0, 50, 400)
    lines = pedestal[:, None] + rng.normal(0, 3, (400, 20)) + np.array([40.0, -20.0] + [0.0] * 18)
    found = overscan_noise(lines, pedestal)
    assert abs(found.value - 3) < 4 * found.error
