"""Gain and read noise come out as they went in, whatever lamp and structure do."""

from __future__ import annotations

import numpy as np
import pytest

from builders.frames import detector, raw
from nightpipe.maths.transfer import gain, transfer
from nightpipe.model.exposure import FrameType
from nightpipe.steps.detector.noise import MeasureNoise

CHIP = detector(nx=256, ny=192, over=16)


def biases(rng, n=4, chip=CHIP, **facts):
    return tuple(raw(rng, 0.0, chip=chip, kind=FrameType.BIAS, pedestal=1000 + 3.0 * k, **facts) for k in range(n))


def flats(rng, n=4, chip=CHIP, drift=0.1, **facts):
    y, x = np.mgrid[:192, :256]
    response = rng.normal(1, 0.02, (192, 256))
    light = 9000 * np.exp(-0.5 * ((x - 150) / 80.0) ** 2) * (1 - 0.3 * (y > 150)) * response
    return tuple(
        raw(rng, light * (1 + drift * k), chip=chip, kind=FrameType.FLAT, pedestal=1150.0, **facts) for k in range(n)
    )


def test_true_values_are_recovered_within_their_errors():
    rng = np.random.default_rng(1)
    found = MeasureNoise().run(biases(rng, gain=1.7, read_noise=6.0), flats(rng, gain=1.7, read_noise=6.0))
    assert (found.gain_source, found.read_noise_source) == ("pairs", "pairs")
    assert found.gain[0] == pytest.approx(1.7, rel=0.01)
    assert abs(found.gain[0] - 1.7) < 4 * found.gain_error[0]
    digital = np.hypot(6.0, 1.7 / np.sqrt(12))
    assert found.read_noise[0] == pytest.approx(digital, rel=0.015)
    assert {c.code for c in found.caveats} == {"gain.differs", "noise.differs"}
    text = next(c.text for c in found.caveats if c.code == "gain.differs")
    assert "1.5 by the header" in text
    assert "1.7" in text or "1.69" in text


def test_agreement_with_the_header_needs_no_caveat():
    rng = np.random.default_rng(2)
    assert MeasureNoise().run(biases(rng), flats(rng)).caveats == ()


@pytest.mark.pulls
def test_errors_are_honest():
    rng = np.random.default_rng(3)
    found = [MeasureNoise().run(biases(rng, 3, digital=False), flats(rng, 3, digital=False)) for _ in range(60)]
    for values, errors, truth in (("gain", "gain_error", 1.5), ("read_noise", "read_noise_error", 5.0)):
        pulls = [(getattr(n, values)[0] - truth) / getattr(n, errors)[0] for n in found]
        assert abs(np.mean(pulls)) < 0.6
        assert 0.7 < np.std(pulls) < 1.4


def test_two_amplifiers():
    rng = np.random.default_rng(4)
    chip = detector(nx=256, ny=192, over=16, amps=2)
    found = MeasureNoise().run(biases(rng, chip=chip, gain=(1.5, 1.9)), flats(rng, chip=chip, gain=(1.5, 1.9)))
    assert found.gain == pytest.approx((1.5, 1.9), rel=0.015)


def test_falls_back_on_overscan_then_header():
    rng = np.random.default_rng(5)
    alone = MeasureNoise().run((), flats(rng, 1, read_noise=7.0))
    assert (alone.gain_source, alone.read_noise_source) == ("header", "overscan")
    assert alone.read_noise[0] == pytest.approx(7.0, rel=0.03)
    assert {c.code for c in alone.caveats} == {"gain.header", "noise.differs"}
    bare = detector(nx=256, ny=192, axis="")
    nothing = MeasureNoise().run((), flats(rng, 2, chip=bare))
    assert (nothing.gain_source, nothing.read_noise_source) == ("header", "header")
    assert nothing.read_noise == (5.0,)
    assert {c.code for c in nothing.caveats} == {"gain.header", "noise.header"}
    assert MeasureNoise().run((), ()).amplifiers == ()


def test_dark_lamp_does_not_give_a_gain():
    rng = np.random.default_rng(6)
    dark = tuple(raw(rng, 0.0, chip=CHIP) for _ in range(3))
    assert MeasureNoise().run(biases(rng), dark).gain_source == "header"


def test_ringing_overscan_does_not_count_as_noise():
    rng = np.random.default_rng(7)
    exposed = raw(rng, 100.0, chip=CHIP)
    exposed.data[:, 256:272] += 40 * np.cos(np.arange(16)) * np.exp(-np.arange(16) / 4)
    found = MeasureNoise().run((), (exposed,))
    assert found.read_noise[0] == pytest.approx(np.hypot(5, 1.5 / np.sqrt(12)), rel=0.06)


def test_transfer_leaves_bad_boxes_out():
    rng = np.random.default_rng(8)
    a, b = (rng.poisson(5000, (128, 128)) / 2.0 for _ in range(2))
    bad = np.zeros((128, 128), bool)
    bad[5, 5] = bad[40, 40] = True
    points = transfer(a, b, bad, 0.0, 32)
    assert len(points.signal) == 14
    assert gain(points).value == pytest.approx(2.0, rel=0.06)


def test_a_speed_without_flats_borrows_the_gain_of_another():
    """Both speeds' gain is 1.7 where the header has 1.5; the slow one's read noise, in adu, follows."""
    rng = np.random.default_rng(11)
    fast = MeasureNoise().run(biases(rng, gain=1.7, read_noise=9.0), flats(rng, gain=1.7, read_noise=9.0))
    dark = biases(rng, gain=1.7, read_noise=5.0)
    slow = MeasureNoise().run(dark, ())
    assert "gain.header" in {c.code for c in slow.caveats}
    found = MeasureNoise().run(dark, (), fast)
    assert found.gain_source == "other speed"
    assert found.gain[0] == pytest.approx(1.7, rel=0.01)
    assert found.gain_error[0] == pytest.approx(0.02 * 1.7, rel=0.1)
    assert found.read_noise[0] == pytest.approx(np.hypot(5.0, 1.7 / np.sqrt(12)), rel=0.02)
    text = next(c.text for c in found.caveats if c.code == "gain.other_speed")
    assert "the header has 1.5" in text
    assert not {"gain.header", "gain.differs", "noise.differs"} & {c.code for c in found.caveats}
    assert MeasureNoise().run(dark, (), slow) == slow  # nothing to borrow
    lit = flats(rng, gain=1.7, read_noise=5.0)
    assert MeasureNoise().run(dark, lit, fast).gain_source == "pairs"  # its own goes first
