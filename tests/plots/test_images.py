"""Figures of images: bearings that are true, flats with the reasons, weather by camera."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.model.selection import Selection
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Wcs
from nightpipe.plots import images


def stack(shape=(120, 160), cd=((-1e-4, 0.0), (0.0, 1e-4))):
    rng = np.random.default_rng(3)
    data = rng.normal(0, 1, shape).astype(np.float32)
    count = np.full(shape, 3, np.uint8)
    count[:10] = 0
    one = np.ones(shape, np.float32)
    wcs = Wcs((359.999, 60.0), (79.5, 59.5), cd)
    mask = np.zeros(shape, np.uint32)
    return Stack(data, one, mask, one, count, wcs, 30.0, np.nan, np.ones((1, 1)), 1.0, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("cd", "north", "east"),
    [
        (((-1e-4, 0.0), (0.0, 1e-4)), (0, 1), (-1, 0)),
        (((1e-4, 0.0), (0.0, 1e-4)), (0, 1), (1, 0)),
        (((0.0, 1e-4), (1e-4, 0.0)), (1, 0), (0, 1)),
    ],
)
def test_north_and_east_point_where_they_lie(cd, north, east):
    found = images._compass(stack(cd=cd).wcs, (120, 160))
    assert np.allclose(found[0], north, atol=1e-3)
    assert np.allclose(found[1], east, atol=1e-3)


def test_the_scale_bar_has_a_round_length():
    assert images._round(47.0) == (30, "30 arcsec")
    assert images._round(130.0) == (120, "2 arcmin")
    assert images._round(4000.0) == (3600, "1 deg")


def test_large_images_are_averaged_over_what_is_known():
    data = np.arange(2000.0)[None, :] * np.ones((3, 1))
    good = np.ones(data.shape, bool)
    good[:, :3] = False
    small = images._thin(data, good)
    assert small.shape == (1, 667)
    assert np.isnan(small[0, 0])
    assert small[0, 1] == pytest.approx(4.0)


def test_stacks_and_their_sources_are_drawn():
    zero = np.zeros(2)
    sources = Sources(
        zero + 50, zero + 60, zero, zero, zero + 1, zero, np.zeros(2, np.uint32), np.array([0, 4], np.int32)
    )
    assert len(images.field(stack()).axes) == 3
    drawn = images.detected(stack(), sources)
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()] == ["1 sound", "1 with a quality bit"]


def test_the_flats_show_who_serves_and_why_not():
    level = np.array([0.9, 0.5])
    none, small = level * 0, np.ones((2, 8, 8), np.float32)
    judged = Selection(("a", "b"), ("too bright: 0.9", ""), level, none, none, none, small)
    figure = images.selection(judged, (0.2, 0.8))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:2] == ["1: too bright", "2: serves"]
    assert figure.axes[-1].get_title(loc="left") == "1 of 2 serve"


def test_the_weather_has_transparency_only_where_it_is_known():
    looks = [images.Look(60000.1 + k / 100, "C1 i", 1.2, 3.0) for k in range(3)]
    assert len(images.weather(looks).axes) == 2
    assert len(images.weather([*looks, images.Look(60000.2, "C0 r", 1.0, 2.0, 22.1, 0.9)]).axes) == 4


def test_images_of_several_nights_stand_side_by_side():
    place, label = images._times([60010.2, 60000.1, 60010.3])
    assert place.tolist() == [2, 1, 3]
    assert label == "images in order of time"
    assert images._times([60000.9, 60001.1])[0].round(6).tolist() == [-2.4, 2.4]
