"""An object that a person asks for by its coordinates, and pairs that the pointings give away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.slit import Scene, Star, build
from nightpipe.base.run import PlainRun
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.recipes.longslit import _sky_and_sources, _with_asked
from nightpipe.recipes.planner import nodded

NORTH = (41.3 - 39.5) * 0.4 / 3600


def placed(**parameters):
    run = PlainRun({f"PlaceSource.{name}": value for name, value in parameters.items()})
    built = build(replace(Scene(), stars=(Star(20.0, 2e4),)))
    frame = replace(built.frame, exposure=replace(built.frame.exposure, ra=150.0, dec=20.0))
    sky, found = _sky_and_sources(run, frame, None, built.wave, built.slit)
    return run, found, _with_asked(run, frame, sky, built.wave, built.slit, found)


def test_nothing_changes_where_nobody_asks():
    _, found, sources = placed()
    assert sources is found


def test_a_coordinate_becomes_the_last_object():
    _, found, sources = placed(ra=150.0, dec=20.0 + NORTH, position_angle=0.0)
    assert [one.name for one in sources] == ["OBJ1", "OBJ2"]
    assert sources[1].forced
    assert sources[1].y == pytest.approx(41.3, abs=1e-3)
    assert sources[1].fwhm == found[0].fwhm
    assert abs(sources[1].snr) < 5


def test_what_was_found_at_the_coordinate_is_extracted_once():
    there = (20.0 - 39.5) * 0.4 / 3600
    _, found, sources = placed(ra=150.0, dec=20.0 + there, position_angle=0.0)
    assert len(found) == len(sources) == 1
    assert sources[0].forced


@pytest.mark.parametrize(
    ("asked", "why"),
    [({"ra": 150.0, "dec": 20.0}, "position_angle"), ({"ra": 150.0, "dec": 21.0, "position_angle": 0.0}, "slit")],
)
def test_what_cannot_be_placed_is_told_and_the_rest_goes_on(asked, why):
    run, found, sources = placed(**asked)
    assert sources == found
    (told,) = [one for one in run.caveats if one.code == "source.not_placed"]
    assert why in told.text


def exposure(name, east, minutes):
    ra = 150.0 + east / 3600 / np.cos(np.radians(20.0))
    setup = Setup(mode="spectra")
    return Exposure(
        f"/raw/{name}.fits", "", "toy", FrameType.SCIENCE, "SN", setup, "", 59000 + minutes / 1440, 600.0, ra=ra, dec=20
    )


def test_pairs_are_known_by_their_pointings():
    first, beside, far, late = (
        exposure("a", 0, 0),
        exposure("b", 12, 11),
        exposure("c", 600, 5),
        exposure("d", 12, 300),
    )
    still = exposure("e", 0.4, 6)
    assert nodded(first, [beside, far, late, still]) is beside
    assert nodded(first, [far, late, still]) is None
    assert nodded(first, [replace(beside, ra=None)]) is None
