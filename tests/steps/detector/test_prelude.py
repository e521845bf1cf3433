"""Limits, bias, dark, electrons: what is flagged, subtracted, propagated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.frames import clean, detector, exposure, noise, raw
from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.model.exposure import FrameType
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.steps.detector.bias import Bias, CompareBias
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.detector.dark import Dark
from nightpipe.steps.detector.gain import Electrons
from nightpipe.steps.detector.linearity import Linearity
from nightpipe.steps.detector.overscan import Overscan


def adu(value, var=0.0, shape=(64, 96), **changes):
    zero = np.zeros(shape, np.uint32)
    data, variance = (np.full(shape, v, np.float32) for v in (value, var))
    return Frame(data, variance, zero, "adu", exposure(), detector(), **changes)


def master_bias(rng, *, structure=0.0, read_noise=5.0, pedestal=1000.0, n=9, shape=None):
    level = pedestal + structure * np.sin(np.arange(112) / 5.0)[None, :]
    level[:, 96:] = pedestal
    frames = [raw(rng, 0.0, pedestal=level, read_noise=read_noise, kind=FrameType.BIAS) for _ in range(n)]
    return CombineFrames().run(tuple(Overscan().run(frame) for frame in frames))


def test_saturated_pixels_spill_into_their_neighbours():
    frame = adu(100.0)
    frame.data[10, 10], frame.data[30, 30] = 61000, 55000
    flagged = Linearity(grow=1).run(frame)
    assert ((flagged.mask & np.uint32(Flag.SATURATED)) != 0).sum() == 9
    assert flagged.mask[30, 30] == Flag.NONLINEAR
    assert flagged.mask[10, 10] & Flag.NONLINEAR


def test_unknown_limits_flag_nothing():
    frame = adu(1e6).but(detector=detector(saturation=0.0, linear_to=0.0))
    assert not Linearity().run(frame).mask.any()


def test_bias_adds_its_variance_and_flags():
    bias = adu(3.0, 0.25)
    bias.mask[5, 5] = Flag.BAD
    result = Bias().run(adu(10.0, 0.5), bias)
    assert np.all(result.data == 7)
    assert np.all(result.var == np.float32(0.75))
    assert result.mask[5, 5] == Flag.BAD


def test_unstable_pixels_of_the_bias_are_bad():
    bias = adu(3.0).but(header={"NPNOISE": 2.0})
    bias.data[0, :3] = [900.0, 60.0, 20.0]
    flagged = (Bias().run(adu(10.0), bias).mask & np.uint32(Flag.BAD)) != 0
    assert flagged[0, :3].tolist() == [True, True, False]
    assert flagged.sum() == 2


def test_calibrations_must_fit():
    with pytest.raises(BadFrameError, match="shape"):
        Bias().run(adu(1.0), adu(1.0, shape=(64, 95)))
    with pytest.raises(BadFrameError, match="electron"):
        Bias().run(adu(1.0), adu(1.0).but(unit="electron"))


def test_bias_structure_is_removed():
    rng = np.random.default_rng(1)
    bias = master_bias(rng, structure=8.0, n=20)
    level = np.full((1, 112), 1000.0)
    level[:, :96] += 8.0 * np.sin(np.arange(96) / 5.0)
    frame = Bias().run(Overscan().run(raw(rng, 0.0, pedestal=level)), bias)
    assert np.std(frame.data.mean(axis=0)) < 0.75  # 0.43 by the frame's own noise, structure was 5.7


def test_pedestal_step_structure_and_noise_are_noticed():
    rng = np.random.default_rng(2)
    now, before = master_bias(rng, pedestal=1200.0), master_bias(rng)
    assert [c.code for c in CompareBias().run(now, (before,)).caveats] == ["bias.level"]
    quiet = CompareBias().run(master_bias(rng), (before,))
    assert quiet.caveats == ()
    assert quiet.level[0] == pytest.approx(0, abs=0.3)
    assert quiet.noise_ratio[0] == pytest.approx(1, abs=0.03)
    changed = CompareBias().run(master_bias(rng, structure=6.0), (before,))
    assert "bias.structure" in {c.code for c in changed.caveats}
    assert changed.structure[0] == pytest.approx(6 / np.sqrt(2), rel=0.2)
    noisy = CompareBias().run(master_bias(rng, read_noise=7.0), (before,))
    assert [c.code for c in noisy.caveats] == ["bias.noise"]
    assert CompareBias().run(now, ()).names == ()


def test_dark_is_scaled_only_where_allowed():
    dark = adu(4.0, 0.1).but(exposure=exposure(FrameType.DARK, exptime=50.0))
    fixed = Dark().run(adu(10.0), dark)
    assert np.all(fixed.data == 10)
    assert [c.code for c in fixed.caveats] == ["dark.exptime"]
    scaled = Dark().run(adu(10.0).but(detector=detector(scalable_dark=True)), dark)
    assert np.all(scaled.data == 2)
    assert np.allclose(scaled.var, 0.4)
    same = Dark().run(adu(10.0), dark.but(exposure=exposure(FrameType.DARK, exptime=101.0)))
    assert np.all(same.data == 6)
    assert not same.caveats


@pytest.mark.parametrize("light", [0.0, 20.0, 300.0, 20000.0])
def test_variance_is_right_on_average_and_not_the_pixels_own(light):
    rng = np.random.default_rng(3)
    chip = detector(nx=200, ny=200)
    frame = Electrons().run(Overscan(knots=0).run(raw(rng, light, chip=chip, digital=False)), noise(chip))
    truth = light + 25.0
    assert frame.var.mean() == pytest.approx(truth, rel=0.025)
    assert np.std((frame.data - light) / np.sqrt(frame.var)) == pytest.approx(1, abs=0.02)
    weighted = np.sum(frame.data / frame.var) / np.sum(1 / frame.var)
    assert weighted == pytest.approx(light, abs=0.12 + (1.1 if light > 400 else 0))  # own values would give -1
    assert np.allclose(frame.variance_of(np.full((200, 200), light)), truth, rtol=1e-3)


def test_gain_by_amplifier():
    chip = detector(amps=2)
    exposed = raw(np.random.default_rng(4), 3000.0, chip=chip, gain=(1.0, 2.0))
    known = noise(chip)
    from dataclasses import replace

    frame = Electrons().run(Overscan().run(exposed), replace(known, gain=(1.0, 2.0)))
    assert frame.data[:, :48].mean() == pytest.approx(3000, rel=0.003)
    assert frame.data[:, 48:].mean() == pytest.approx(3000, rel=0.003)
    with pytest.raises(BadFrameError, match="amplifiers"):
        Electrons().run(Overscan().run(exposed), noise(detector()))
    with pytest.raises(BadFrameError, match="adu"):
        Electrons().run(frame, known)


def test_a_pedestal_that_nobody_took_away_is_estimated():
    chip = detector(axis="", nx=128, ny=128)
    light = np.zeros((128, 128))
    light[40:80] = 900.0
    frame = Electrons().run(Overscan().run(raw(np.random.default_rng(5), light, chip=chip)), noise(chip))
    assert {"overscan.none", "pedestal.estimated"} <= {c.code for c in frame.caveats}
    assert frame.data[:32].mean() == pytest.approx(0, abs=2.5)
    assert np.sqrt(frame.var[:32]).mean() == pytest.approx(5.0, abs=0.4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), light=st.floats(0, 1e5))
def test_never_unmasks_and_stays_finite(seed, light):
    rng = np.random.default_rng(seed)
    frame = Overscan().run(raw(rng, light, digital=False))
    flags = np.where(rng.random(frame.shape) < 0.1, np.uint32(Flag.BAD), np.uint32(0))
    frame = frame.but(mask=frame.mask | flags)
    after = Electrons().run(Bias().run(Linearity().run(frame), adu(0.0, 0.1)), noise(detector()))
    assert np.all(after.mask & frame.mask == frame.mask)
    assert np.isfinite(after.data).all()
    assert np.isfinite(after.var).all()
    assert np.all(after.var > 0)


def test_clean_builder_agrees_with_its_variance():
    frame = clean(np.random.default_rng(6), 100.0, shape=(200, 200))
    assert np.std((frame.data - 100) / np.sqrt(frame.var)) == pytest.approx(1, abs=0.02)


def test_without_overscan_and_bias_the_dark_takes_the_pedestal_whatever_its_time():
    told = (Caveat("overscan.none", "no overscan"),)
    frame = adu(1500.0, caveats=told)
    dark = adu(1000.0, 0.25, caveats=told)
    result = Dark().run(frame, dark)
    assert np.all(result.data == 500)
    assert [caveat.code for caveat in result.caveats] == ["overscan.none"]
    short = Dark().run(frame.but(exposure=exposure(exptime=5.0)), dark)
    assert np.all(short.data == 500)
    assert "dark.pedestal" in [caveat.code for caveat in short.caveats]
    clean_frame = Electrons().run(short, noise(detector()))
    assert "pedestal.estimated" not in [caveat.code for caveat in clean_frame.caveats]
