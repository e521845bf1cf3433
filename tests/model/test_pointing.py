"""The first guess of an image's sky."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.model.detector import Amplifier, Camera, Detector
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.model.pointing import header_wcs, nominal_wcs


def camera(**changes):
    values = {"rotation": 0.0, "mirrored": False, "centre": (499.5, 499.5)} | changes
    amplifiers = (Amplifier("1", (10, 1010, 20, 1020), (), "y", 1.0, 5.0),)
    return Detector("CCD", amplifiers, "", True, 6e4, 5e4, 0.36, camera=Camera(**values))


def exposure(ra=180.0, dec=60.0):
    return Exposure(
        "a.fits", "", "x", FrameType.IMAGE, "", Setup(), "2020-01-01T00:00:00", 58849.0, 1.0, ra=ra, dec=dec
    )


@pytest.mark.parametrize("rotation", [0.0, 30.0, -90.0, 180.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_parity_are_those_of_the_camera(rotation, mirrored):
    wcs = nominal_wcs(exposure(), camera(rotation=rotation, mirrored=mirrored))
    assert abs((wcs.rotation - rotation + 180) % 360 - 180) < 1e-9
    assert wcs.parity == (1 if mirrored else -1)
    assert wcs.scale == pytest.approx(0.36)


def test_the_offset_moves_the_centre_on_the_sky():
    wcs = nominal_wcs(exposure(), camera(offset=(3.0, -1.2)))
    assert wcs.crval == pytest.approx((180.0 + 0.05 / 0.5, 60.0 - 0.02))


def test_a_radial_distortion_is_the_same_all_around():
    wcs = nominal_wcs(exposure(dec=0.0), camera(radial=((4, -19.6), (6, -4128.15))))
    angle = np.linspace(0, 6, 7)
    ra, dec = wcs.to_sky(499.5 + 450 * np.cos(angle), 499.5 + 450 * np.sin(angle))
    r = np.hypot((ra - 180.0), dec)
    nominal = 450 * 0.36 / 3600
    wanted = nominal * (1 - 19.6 * nominal**4 - 4128.15 * nominal**6)
    assert r == pytest.approx(np.full(7, wanted), rel=1e-5)


def test_no_pointing_no_guess():
    assert nominal_wcs(exposure(ra=None), camera()) is None


def test_the_headers_solution_is_moved_with_the_trimming():
    header = {"CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRVAL2": -5.0, "CRPIX1": 511.0, "CRPIX2": 521.0,
              "CDELT1": -1e-4, "CDELT2": 1e-4, "CROTA2": 90.0}  # fmt: skip
    wcs = header_wcs(header, camera())
    assert wcs.crpix == (500.0, 500.0)
    assert wcs.parity == -1
    assert abs(wcs.cd[0][0]) < 1e-12
    assert header_wcs({}, camera()) is None
