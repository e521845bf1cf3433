"""Places for forced photometry: as headers and people write them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders.frames import exposure
from nightpipe.base.errors import ConfigError
from nightpipe.model.spot import Spot
from nightpipe.steps.imaging.places import ForcedPlaces


def known():
    return replace(exposure(name="e1"), target="M82", object_ra=148.968, object_dec=69.68)


def test_the_headers_object_comes_first():
    spots = ForcedPlaces(places="SN=148.9256,69.6739").run(known())
    assert spots == (Spot("M82", 148.968, 69.68), Spot("SN", 148.9256, 69.6739))


def test_a_header_without_coordinates_gives_none():
    assert ForcedPlaces().run(replace(known(), object_ra=None)) == ()
    assert ForcedPlaces(header=False).run(known()) == ()


def test_hours_where_the_right_ascension_has_parts():
    first, second = ForcedPlaces(header=False, places="SN=10:12:13.4,-00:01:02 ; 359.5,-0.25").run(known())
    assert first.ra == pytest.approx(15 * (10 + 12 / 60 + 13.4 / 3600))
    assert first.dec == pytest.approx(-(1 / 60 + 2 / 3600))
    assert second == Spot("place 2", 359.5, -0.25)


@pytest.mark.parametrize("text", ["SN=east", "SN=12.0", "SN=10.0,95.0"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(ConfigError):
        ForcedPlaces(places=text).run(known())
