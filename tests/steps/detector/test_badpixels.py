"""Bad pixels are found on calibrations and stay flagged."""

from __future__ import annotations

import numpy as np
import pytest

from builders.frames import clean
from nightpipe.base.errors import BadFrameError
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.steps.detector.badpixels import BadPixels, MaskBad


def flats(rng):
    return [clean(rng, level, shape=(80, 120)) for level in (20000.0, 5000.0)]


def bad_of(frame):
    return (frame.mask & np.uint32(Flag.BAD)) != 0


def test_hot_pixels_and_columns():
    bias = clean(np.random.default_rng(1), 0.0, shape=(80, 120)).but(unit="adu")
    bias.data[10, 20] += 200
    bias.data[:, 70] += 30
    bad = bad_of(BadPixels().run((bias,), ()))
    assert bad[10, 20]
    assert bad[:, 70].all()
    assert bad.sum() == 81


def test_dead_and_unsteady_pixels():
    one, two = flats(np.random.default_rng(2))
    one.data[5, 5] *= 0.3
    two.data[5, 5] *= 0.3
    one.data[40, 60] *= 0.8
    bad = bad_of(BadPixels().run((), (one, two)))
    assert bad[5, 5]
    assert bad[40, 60]
    assert bad.sum() == 2


def test_map_is_applied_without_unmasking():
    one, two = flats(np.random.default_rng(3))
    one.data[5, 5] *= 0.3
    found = BadPixels().run((), (one,))
    assert found.data[5, 5] == 0
    two.mask[6, 6] = Flag.COSMIC
    masked = MaskBad().run(two, found)
    assert masked.mask[5, 5] == Flag.BAD
    assert masked.mask[6, 6] == Flag.COSMIC


def test_something_to_look_at_is_needed():
    with pytest.raises(BadFrameError):
        BadPixels().run((), ())
    one, _ = flats(np.random.default_rng(4))
    with pytest.raises(BadFrameError, match="shape"):
        BadPixels().run((), (one, clean(np.random.default_rng(5), 5.0, shape=(80, 121))))


def test_rows_that_a_bias_takes_out_are_not_bad():
    rng = np.random.default_rng(3)
    data = rng.normal(0.0, 1.0, (60, 2000)).astype(np.float32)
    data[20] += 0.5  # certain to twenty sigma of the row's median, and half the noise of a pixel
    data[40] += 8.0
    zero = np.zeros(data.shape, np.uint32)
    found = BadPixels().run(masters=(Frame(data, np.ones_like(data), zero, "adu"),), flats=())
    assert (found.data[20] == 0).mean() < 0.01
    assert (found.data[40] == 0).all()
