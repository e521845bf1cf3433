"""SEDM's lenslet unit: how its frames are read in both epochs, and where its lattice lies on the oriented frame."""

from __future__ import annotations

import pytest

from nightpipe.instruments.registry import recognise
from nightpipe.instruments.resolve import detector, disperser, exposure
from nightpipe.model.exposure import FrameType

PIXIS = {
    "SIMPLE": True, "NAXIS": 2, "NAXIS1": 2048, "NAXIS2": 2048, "CAM_NAME": " IFU Cam", "UTC": "2018:250:08:09:18.3",
    "EXPTIME": 2430.0, "ADCSPEED": 0.1, "SER_NO": "05313416", "GAIN": 1.78, "TEMP": -50.0, "AIRMASS": 1.148,
    "OBJECT": "ZTF18abotdef  [A]", "IMGTYPE": "Science", "NAME": "ZTF18abotdef", "DOMEST": "open", "LAMPSTAT": "off",
    "TEL_RA": "17:34:56.36", "TEL_DEC": "+54:13:12.7", "OBJRA": "17:35:14.2288", "OBJDEC": "+54:14:48.7716",
    "HG_LAMP": "UNKNOWN", "XE_LAMP": "off", "CD_LAMP": "off",
}  # fmt: skip
ANDOR = PIXIS | {"NAXIS1": 2088, "UTC": "2024-09-12T04:20:11.0", "SER_NO": "26265", "ADCSPEED": 1.0, "GAIN": 0.9}


def seen(header):
    spec = recognise([header])
    shot = exposure(spec, [header], "raw/ifu.fits")
    camera = detector(spec, [header], shot)
    return shot, camera, disperser(spec, shot, camera)


@pytest.mark.parametrize(
    ("changes", "kind", "target", "lamps"),
    [
        ({}, FrameType.SCIENCE, "ZTF18abotdef", ()),
        ({"OBJECT": "ZTF18abotdef [B]"}, FrameType.SCIENCE, "ZTF18abotdef", ()),
        ({"OBJECT": "STD-BD+28d4211 [A]", "IMGTYPE": "Standard"}, FrameType.STANDARD, "BD+28d4211", ()),
        ({"OBJECT": "Calib: Hg 1 of 5", "IMGTYPE": "lamp", "DOMEST": "closed"}, FrameType.ARC, "Hg", ("Hg",)),
        ({"OBJECT": "Calib: Xe 5 of 5", "XE_LAMP": "on", "DOMEST": "closed"}, FrameType.ARC, "Xe", ("Xe",)),
        ({"OBJECT": "x", "IMGTYPE": "lamp", "CD_LAMP": "on", "DOMEST": "closed"}, FrameType.ARC, "x", ("Cd",)),
        ({"OBJECT": "Calib: dome lamp 1 of 5", "LAMPSTAT": "on"}, FrameType.FLAT, "dome lamp", ("Halogen",)),
        ({"OBJECT": "Calib: bias 1 of 10", "EXPTIME": 0.0}, FrameType.BIAS, "bias", ()),
        ({"OBJECT": "ACQ-ZTF18abotdef", "IMGTYPE": "Acquisition"}, FrameType.ACQUISITION, "ZTF18abotdef", ()),
        ({"OBJECT": "Focus: 15.8", "IMGTYPE": "Focus"}, FrameType.FOCUS, "Focus: 15.8", ()),
        ({"OBJECT": "Calib: twilight", "IMGTYPE": "twilight"}, FrameType.SKY_FLAT, "twilight", ()),
        ({"OBJECT": "STOW"}, FrameType.TEST, "STOW", ()),
        ({"OBJECT": "test of the shutter"}, FrameType.TEST, "test of the shutter", ()),
        ({"DOMEST": "closed"}, FrameType.TEST, "ZTF18abotdef", ()),
    ],
)
def test_the_robots_words_say_what_a_frame_is(changes, kind, target, lamps):
    shot, _, _ = seen(PIXIS | changes)
    assert (shot.type, shot.target, shot.lamps) == (kind, target, lamps)


def test_what_a_header_does_not_know_is_not_a_number():
    shot, _, _ = seen(PIXIS | {"AIRMASS": -999.0, "TEMP": -999, "TEL_RA": "-999"})
    assert shot.airmass is None
    assert shot.temperature is None
    assert shot.ra == pytest.approx(shot.object_ra)


def test_time_is_read_in_either_form():
    assert seen(PIXIS)[0].start == "2018-09-07T08:09:18.300"
    assert seen(ANDOR)[0].start == "2024-09-12T04:20:11.000"


def test_each_epoch_has_its_sections():
    _, pixis, _ = seen(PIXIS)
    _, fast, _ = seen(PIXIS | {"ADCSPEED": 2.0})
    _, andor, _ = seen(ANDOR)
    assert pixis.amplifiers[0].data == (0, 2045, 0, 2048)
    assert pixis.amplifiers[0].overscan == ((2045, 2048, 0, 2048),)
    assert (pixis.amplifiers[0].read_noise, fast.amplifiers[0].read_noise) == (5.0, 20.0)
    assert andor.amplifiers[0].data == (20, 2068, 0, 2048)
    assert not pixis.increasing
    assert not andor.increasing


@pytest.mark.parametrize("header", [PIXIS, ANDOR])
def test_the_lattice_is_turned_with_the_frame(header):
    _, camera, prism = seen(header)
    lattice = prism.lenslets
    width = camera.amplifiers[0].data[1] - camera.amplifiers[0].data[0]
    assert lattice.middle[0] == pytest.approx(width - 1 - 950)
    assert lattice.middle[1] == pytest.approx(950)
    assert lattice.step[0] < -52
    assert lattice.step[1] == pytest.approx(7.0, abs=0.1)
    assert lattice.other[0] == pytest.approx(-20.2, abs=0.1)
    places = [place for _, place in lattice.features]
    assert places == sorted(places)


def test_the_description_says_that_there_are_lenslets():
    assert recognise([PIXIS]).kind == "lenslets"
