"""Combination: outliers go, the variance is right, order does not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.frames import clean, exposure, raw
from nightpipe.base.errors import BadFrameError
from nightpipe.model.flags import Flag
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.detector.overscan import Overscan


def stack(rng, n, light=2000.0, **facts):
    return [clean(rng, light, name=f"f{k}", **facts) for k in range(n)]


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_cosmic_rays_go_even_with_two_frames(n):
    frames = stack(np.random.default_rng(n), n)
    for k, frame in enumerate(frames):
        frame.data[10 + k, 20:24] += 3000.0
    combined = CombineFrames().run(tuple(frames))
    pulls = (combined.data - 2000) / np.sqrt(combined.var)
    assert np.abs(pulls[10 : 10 + n, 20:24]).max() < 6
    assert np.std(pulls) == pytest.approx(1, abs=0.03)


def test_variance_of_a_noiseless_model_survives():
    combined = CombineFrames().run(tuple(stack(np.random.default_rng(1), 6)))
    expected = combined.variance_of(np.full(combined.shape, 2000.0))
    assert np.median(expected / ((2000 + 25) / 6)) == pytest.approx(1, abs=0.002)


def test_levels_are_matched_and_light_weighs():
    rng = np.random.default_rng(2)
    frames = (clean(rng, 1000.0), clean(rng, 4000.0), clean(rng, 4000.0))
    combined = CombineFrames(scale="level").run(frames)
    assert np.mean(combined.data) == pytest.approx(1000, rel=0.003)
    assert np.std((combined.data - 1000) / np.sqrt(combined.var)) == pytest.approx(1, abs=0.03)
    assert combined.var.mean() == pytest.approx(1000**2 / 9000, rel=0.05)
    assert np.median(combined.variance_of(np.full(combined.shape, 1000.0)) / combined.var) == pytest.approx(1, abs=0.05)


def test_dead_lamp_is_left_out_with_a_caveat():
    rng = np.random.default_rng(3)
    frames = (*stack(rng, 3), clean(rng, 2.0, name="dead"))
    combined = CombineFrames(scale="level").run(frames)
    assert combined.header["NCOMBINE"] == 3
    assert [(c.code, "dead" in c.text) for c in combined.caveats] == [("combine.dim", True)]
    with pytest.raises(BadFrameError, match="lamp"):
        CombineFrames(scale="level").run(tuple(f.but(data=-f.data) for f in frames))


def test_exposure_times_are_matched():
    rng = np.random.default_rng(4)
    frames = (clean(rng, 100.0, exptime=10.0), clean(rng, 300.0, exptime=30.0))
    assert np.mean(CombineFrames(scale="exptime").run(frames).data) == pytest.approx(100, rel=0.01)
    with pytest.raises(BadFrameError, match="exposure times"):
        CombineFrames(scale="exptime").run((frames[0], frames[1].but(exposure=exposure(exptime=0.0))))


def test_flagged_pixels_do_not_enter():
    frames = stack(np.random.default_rng(5), 4)
    frames[1].data[7, 7], frames[1].mask[7, 7] = 1e5, Flag.SATURATED
    for frame in frames:
        frame.mask[8, 8] = Flag.BAD
        frame.mask[9, 9] = Flag.NONLINEAR
    combined = CombineFrames(reject="none").run(tuple(frames))
    assert combined.data[7, 7] == pytest.approx(2000, abs=150)
    assert combined.mask[7, 7] == 0
    assert combined.mask[8, 8] == Flag.BAD
    assert combined.mask[9, 9] == Flag.NONLINEAR


def test_adu_frames_find_their_own_noise():
    rng = np.random.default_rng(6)
    frames = [Overscan(knots=0).run(raw(rng, 0.0, digital=False)) for _ in range(8)]
    frames[2].data[5, 5] += 500
    combined = CombineFrames().run(tuple(frames))
    assert combined.header["NPNOISE"] == pytest.approx(5 / 1.5, rel=0.02)
    assert np.sqrt(np.median(combined.var)) == pytest.approx(5 / 1.5 / np.sqrt(8), rel=0.05)
    assert abs(combined.data[5, 5]) < 6
    alone = CombineFrames().run((frames[0],))
    assert np.sqrt(np.median(alone.var)) == pytest.approx(5 / 1.5, rel=0.03)


def test_noisy_pixels_keep_their_own_variance():
    rng = np.random.default_rng(7)
    frames = [Overscan().run(raw(rng, 0.0)) for _ in range(9)]
    for frame in frames:
        frame.data[3, 4] += rng.normal(0, 80)
    combined = CombineFrames(reject="none").run(tuple(frames))
    assert combined.var[3, 4] > 30 * np.median(combined.var)


def test_shapes_and_units_must_agree():
    rng = np.random.default_rng(8)
    with pytest.raises(BadFrameError):
        CombineFrames().run(())
    with pytest.raises(BadFrameError, match="shape"):
        CombineFrames().run((clean(rng, 1.0), clean(rng, 1.0, shape=(64, 95))))
    with pytest.raises(BadFrameError, match="in electron"):
        CombineFrames().run((clean(rng, 1.0), clean(rng, 1.0).but(unit="adu")))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 6), method=st.sampled_from(["mean", "median"]))
def test_order_does_not_matter_and_all_is_finite(seed, n, method):
    rng = np.random.default_rng(seed)
    frames = stack(rng, n, shape=(12, 40))
    for frame in frames:
        frame.data[rng.integers(0, 12), rng.integers(0, 40)] = 1e6
        frame.mask[rng.random((12, 40)) < 0.1] = Flag.BAD
    one = CombineFrames(method=method).run(tuple(frames))
    two = CombineFrames(method=method).run(tuple(rng.permutation(np.array(frames, dtype=object))))
    assert np.allclose(one.data, two.data, rtol=1e-5)
    assert np.array_equal(one.mask, two.mask)
    assert np.isfinite(one.data).all()
    assert np.isfinite(one.var).all()
    everywhere = np.bitwise_and.reduce([frame.mask for frame in frames])
    assert np.all(one.mask & everywhere == everywhere)
