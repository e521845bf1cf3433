"""Simulated headers are read as real ones: recognised, typed, and saying what was done."""

from __future__ import annotations

import pytest

from builders.simulated import ARMS
from nightpipe.instruments import resolve
from nightpipe.instruments.registry import instrument, recognise, site
from nightpipe.io.references import find_standard
from nightpipe.model.exposure import FrameType
from nightpipe.simulate.bench import bench
from nightpipe.simulate.dialects import dialect
from nightpipe.simulate.dialects.base import precessed, sexagesimal
from nightpipe.simulate.night import checked, plain_headers
from nightpipe.simulate.rig import stream
from nightpipe.simulate.schedule import schedule


def night(arm, **options):
    """Return (shot, spec, exposure, headers) of each exposure of a night, without a pixel."""
    known, tongue, asked = bench(arm), dialect(arm), checked(options)
    place = site(instrument(tongue.described).site)
    found = []
    for shot in schedule(known, place, asked, 5.0, stream(1, "schedule")):
        layout = tongue.layout(shot, asked)
        headers = plain_headers(tongue.cards(shot, layout, known, asked), layout, extension=tongue.extension)
        spec = recognise(headers)
        found.append((shot, spec, resolve.exposure(spec, headers, tongue.file_name(shot)), headers))
    return found


@pytest.mark.parametrize("arm", ARMS)
def test_frames_are_recognised_and_typed(arm):
    taken = night(arm)
    assert {shot.type for shot, *_ in taken} >= {FrameType.ARC, FrameType.FLAT, FrameType.SCIENCE, FrameType.STANDARD}
    for shot, spec, exposure, _ in taken:
        assert spec.name == dialect(arm).described
        star = find_standard(exposure.target, exposure.ra, exposure.dec)
        if shot.type is FrameType.STANDARD:
            assert exposure.type in (FrameType.SCIENCE, FrameType.STANDARD)
            assert star is not None
            assert star.name == shot.standard.name
        else:
            assert exposure.type is shot.type, exposure.path
        assert not exposure.notes


@pytest.mark.parametrize("arm", ARMS)
def test_headers_tell_what_was_done(arm):
    for shot, _, exposure, _ in night(arm):
        assert exposure.exptime == pytest.approx(shot.exptime, abs=0.01)
        assert exposure.start[:19] == shot.start.strftime("%Y-%m-%dT%H:%M:%S")
        assert exposure.setup.binning == shot.binning
        if shot.type in (FrameType.SCIENCE, FrameType.STANDARD):
            assert exposure.airmass == pytest.approx(shot.airmass, abs=2e-3)
            assert exposure.ra == pytest.approx(shot.ra, abs=4e-3)
            assert exposure.dec == pytest.approx(shot.dec, abs=2e-3)
            assert f"{shot.slit:.1f}" in exposure.setup.slit
            assert exposure.lamps == ()
        if shot.type is FrameType.ARC:
            assert exposure.lamps


@pytest.mark.parametrize("arm", ARMS)
def test_detector_and_disperser_follow_from_the_headers(arm):
    for shot, spec, exposure, headers in night(arm):
        detector = resolve.detector(spec, headers, exposure)
        assert detector.dispersion in ("x", "y")
        if shot.type is FrameType.SCIENCE:
            assert resolve.disperser(spec, exposure, detector).fwhm > 0


@pytest.mark.parametrize("grism", [spec.name for spec in instrument("alfosc").dispersers])
def test_every_grism_of_alfosc_can_be_asked_for(grism):
    science = [row for row in night("alfosc", disperser=grism) if row[0].type is FrameType.SCIENCE]
    for _, spec, exposure, headers in science:
        detector = resolve.detector(spec, headers, exposure)
        assert resolve.disperser(spec, exposure, detector).name == grism


def test_a_vertical_slit_disperses_along_x():
    for shot, spec, exposure, headers in night("alfosc", vertical=True, binning=(1, 1)):
        if shot.type is FrameType.SCIENCE:
            assert resolve.detector(spec, headers, exposure).dispersion == "x"


def test_catalogue_position_of_alfosc_standards_is_of_1950_and_in_hours():
    _, _, exposure, headers = next(row for row in night("alfosc") if row[0].standard is not None)
    assert headers[0]["OBJRA"] * 15.0 != pytest.approx(exposure.ra, abs=0.3)
    assert headers[0]["OBJRA"] * 15.0 == pytest.approx(exposure.ra, abs=1.5)


def test_angles_are_written_as_telescopes_do():
    assert sexagesimal(-0.05, digits=1) == "-00:03:00.0"
    assert sexagesimal(189.478333, hours=True, digits=1) == "12:37:54.8"
    assert sexagesimal(59.99999 / 3600.0, digits=2) == "00:01:00.00"
    ra, dec = precessed(*precessed(147.23, 13.74, -50.0), 50.0)
    assert (ra, dec) == pytest.approx((147.23, 13.74), abs=5e-3)
