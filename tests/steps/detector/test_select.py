"""Selection of flats: what is refused, and that people have the last word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nightpipe.base.errors import BadFrameError
from nightpipe.model.detector import Amplifier, Detector
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.steps.detector.imageflat import MaskStars, NormaliseImageFlat
from nightpipe.steps.detector.select import SelectFlats

SHAPE = (256, 256)
DETECTOR = Detector("CCD", (Amplifier("1", (0, 256, 0, 256), (), "y", 1.0, 5.0),), "", True, 49000, 45000, 0.5)
BIAS = Frame(np.full(SHAPE, 1000, np.float32), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.uint32), "adu")
Y, X = np.mgrid[:256, :256]


def flat(name, level, extra=0.0, tilt=0.0):
    rng = np.random.default_rng(len(name) + int(level))
    data = level * (1 - 1e-6 * ((X - 128) ** 2 + (Y - 128) ** 2)) * (1 + tilt * (X / 255 - 0.5)) + extra
    data = np.minimum(rng.normal(data, np.sqrt(level)) + 1000, 50000).astype(np.float32)
    exposure = Exposure(f"{name}.fits", "", "x", FrameType.SKY_FLAT, "", Setup(), "2020-01-01T00:00:00", level, 1.0)
    return RawFrame(data, exposure, DETECTOR)


def judged(*frames, **parameters):
    found = SelectFlats(**parameters).run(frames, BIAS)
    return dict(zip(found.names, found.reasons, strict=True)), found


GOOD = tuple(flat(f"good{k}", 15000 + 1000 * k) for k in range(4))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (flat("odd", 60000), "saturated"),
        (flat("odd", 42000), "too bright"),
        (flat("odd", 3000), "too faint"),
        (flat("odd", 20500, tilt=0.2), "uneven"),
        (flat("odd", 20500, extra=np.where(abs(X - Y) < 6, 3000.0, 0.0)), "stars or trails"),
    ],
    ids=["saturated", "bright", "faint", "gradient", "trail"],
)
def test_a_flat_that_does_not_serve_is_refused_with_the_reason(frame, reason):
    reasons, found = judged(*GOOD, frame)
    assert reasons["odd"].startswith(reason)
    assert set(found.taken) == {"good0", "good1", "good2", "good3"}
    assert found.caveats[0].code == "flat.refused"
    assert "odd" in found.caveats[0].text


def test_people_have_the_last_word():
    reasons, _ = judged(*GOOD, flat("faint", 3000), keep="faint", drop="good1, good2")
    assert reasons["faint"] == ""
    assert reasons["good1"] == reasons["good2"] == "left out by hand"


def test_good_flats_carry_no_caveat():
    _, found = judged(*GOOD)
    assert found.caveats == ()
    assert found.thumbnails.shape == (4, 64, 64)


def test_no_flats_is_an_error():
    with pytest.raises(BadFrameError, match="flats to choose from"):
        SelectFlats().run((), BIAS)


def frames(*extras):
    made = []
    for k, extra in enumerate(extras):
        raw = flat(f"f{k}", 20000, extra)
        data = raw.data - 1000
        made.append(Frame(data, np.maximum(data, 1), np.zeros(SHAPE, np.uint32), "electron", raw.exposure, DETECTOR))
    return tuple(made)


def test_stars_are_masked_and_little_else():
    star = 8000 * np.exp(-((X - 100) ** 2 + (Y - 60) ** 2) / 30)
    masked = MaskStars().run(frames(0.0, star, 0.0, 0.0))
    assert not masked[1].good[60, 100]
    assert not masked[1].good[66, 100]
    assert masked[1].good.mean() > 0.97
    assert masked[0].good.mean() > 0.995


def test_a_flat_has_median_one_and_dead_pixels_are_told():
    (one,) = frames(0.0)
    data = one.data.copy()
    data[10, 10], data[20, 20] = 100.0, 8000.0
    made = NormaliseImageFlat().run(replace(one, data=data))
    assert float(np.median(made.data)) == pytest.approx(1.0, abs=1e-4)
    assert made.data[10, 10] == 1.0
    assert made.mask[10, 10] != 0
    assert made.mask[20, 20] != 0
    assert (made.mask != 0).sum() == 2
