"""How headers write angles, times, binnings and sections."""

from __future__ import annotations

import pytest
from astropy.coordinates import FK5, SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from nightpipe.instruments.precession import to_j2000
from nightpipe.instruments.sections import in_array, middle, of_array
from nightpipe.instruments.values import angle, corners, mjd, moment, number, pair, sexagesimal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-00:03:24.4", -0.05677778),
        ("27d17m00s", 27.2833333),
        ("21 51 10.36", 21.8528778),
        ("+28", 28.0),
        ("12.5", 12.5),
    ],
)
def test_sexagesimal(text, value):
    assert sexagesimal(text) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "unit", "hours", "value"),
    [
        (192.5, "deg", True, 192.5),
        ("192.5", "deg", True, 192.5),
        (12.5, "hours", True, 187.5),
        ("12:30:00", "sexagesimal", True, 187.5),
        ("12:30:00", "", True, 187.5),
        ("-12:30:00", "", False, -12.5),
        (12.5, "", True, 12.5),
    ],
)
def test_angles(text, unit, hours, value):
    assert angle(text, unit, hours=hours) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "none", "1:2:3:4"])
def test_what_is_no_angle(text):
    with pytest.raises(ValueError, match="no"):
        angle(text, "sexagesimal", hours=True)


def test_numbers_in_text():
    assert number("42.14 mm") == 42.14
    assert number("-1e-3") == -0.001
    with pytest.raises(ValueError, match="no number"):
        number("unknown")


@pytest.mark.parametrize("text", ["2015-05-20T01:35:27.67", "2015-05-20 01:35:27.67", "2015/05/20T01:35:27.670Z"])
def test_moments_are_utc(text):
    assert mjd(moment(text)) == pytest.approx(57162.06629248, abs=1e-8)


def test_pairs_and_sections():
    assert pair("1 2") == pair("1x2") == pair("1,2") == (1, 2)
    assert corners("[851:1250, 1:2102]") == (851, 1250, 1, 2102)
    assert corners("[1:1024,:]") == (1, 1024, None, None)
    for wrong in ("", "[1:2]", "[a:b,c:d]"):
        with pytest.raises(ValueError, match="section"):
            corners(wrong)


@pytest.mark.parametrize(
    ("text", "binning", "shape", "section"),
    [
        ("[51:2098,1:2052]", (1, 2), (1051, 400), (0, 400, 0, 1026)),
        ("[51:2098,2069:2102]", (1, 2), (1051, 400), (0, 400, 1034, 1051)),
        ("[51:2098,2069:2102]", (1, 1), (2102, 400), (0, 400, 2068, 2102)),
        ("[900:901,2:5]", (1, 2), (1051, 400), (49, 51, 1, 2)),
        ("[1:50,1:2102]", (1, 1), (2102, 400), None),
        ("[:,1:10]", (2, 2), (1051, 200), (0, 200, 0, 5)),
    ],
)
def test_sections_in_detector_pixels_follow_window_and_binning(text, binning, shape, section):
    assert in_array(text, shape, (851, 1250, 1, 2102), binning) == section


@given(first=st.integers(1, 300), size=st.integers(1, 300), origin=st.integers(1, 200), step=st.integers(1, 4))
def test_a_section_holds_just_the_pixels_that_lie_in_it(first, size, origin, step):
    last, n = first + size - 1, 60
    section = in_array(f"[{first}:{last},:]", (1, n), (origin, origin + n * step - 1, 1, 1), (step, 1))
    inside = [i for i in range(n) if first <= origin + i * step and origin + (i + 1) * step - 1 <= last]
    assert (section is None) == (not inside)
    if section is not None:
        assert list(range(section[0], section[1])) == inside


def test_sections_of_the_array_count_from_its_end():
    assert of_array("[-34:-1,1:-1]", (2835, 460)) == (426, 460, 0, 2835)
    assert of_array("[54:-50,:]", (2835, 460)) == (53, 411, 0, 2835)
    assert of_array("[1:2,1:1]", (9, 9)) == (0, 2, 0, 1)
    assert of_array("[20:30,1:2]", (9, 9)) is None


def test_the_middle_of_what_was_read():
    assert middle("[1:2048,1:4096]", (895, 1254, 565, 3399), "y") == (2048.5, 1982.0)
    assert middle("[51:2098,1:2052]", (851, 1250, 1, 2102), "y") == (1026.5, 1026.5)
    assert middle("[1:100,1:10]", None, "x") == (50.5, 50.5)


@pytest.mark.parametrize(("ra", "dec"), [(189.478, 24.996), (0.01, -60.0), (359.9, 80.0), (120.0, 0.0)])
def test_precession_agrees_with_astropy(ra, dec):
    there = SkyCoord(ra, dec, unit="deg", frame=FK5(equinox="J2015.383")).transform_to(FK5(equinox="J2000"))
    mine = SkyCoord(*to_j2000(ra, dec, 2015.383), unit="deg", frame=FK5(equinox="J2000"))
    assert mine.separation(there).arcsec < 0.1
