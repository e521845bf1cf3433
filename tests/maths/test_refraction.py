from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.refraction import (
    lift,
    parallactic_angle,
    pressure_at,
    refractivity,
    vapour_pressure,
    way_up,
)
from nightpipe.simulate.atmosphere import Air, altitude_and_parallactic, refraction


@pytest.mark.parametrize(
    ("temperature", "pressure", "expected"), [(20, 80e3, 21458.0), (20, 100e3, 26824.4), (10, 100e3, 27774.7)]
)
def test_index_of_dry_air_as_published(temperature, pressure, expected):
    # Ciddor 1996, Applied Optics 35, 1566, table 1: 633 nm, 450 ppm CO2
    assert 1e8 * float(refractivity(6330.0, pressure, temperature)) == pytest.approx(expected, rel=3e-4)


def test_vapour_and_pressure():
    assert vapour_pressure(20.0, 100.0) == pytest.approx(2339, rel=0.005)
    assert pressure_at(1712.0) == pytest.approx(82400, rel=0.005)
    assert pressure_at(0.0) == 101325.0


@pytest.mark.parametrize("airmass", [1.05, 1.5, 2.2])
def test_another_formula_says_the_same_within_two_per_cent(airmass):
    wave = np.array([3700.0, 4500.0, 7000.0, 9200.0])
    zenith = float(np.degrees(np.arccos(1 / airmass)))
    mine = lift(wave, 6000.0, zenith, (625.0 * 133.322, 12.0, 6.0 * 133.322))
    other = refraction(wave, 6000.0, airmass, Air(625.0, 12.0, 6.0))
    np.testing.assert_allclose(mine, other, rtol=0.02)
    assert (np.diff(mine) < 0).all()


def test_the_zenith_lies_north_of_a_southern_star_at_culmination_and_east_of_a_setting_one():
    longitude, latitude, mjd = -116.86, 33.36, 58738.3
    from nightpipe.maths.airmass import sidereal_time

    now = float(sidereal_time(mjd, longitude))
    assert parallactic_angle(now - 0.25, 0.0, mjd, longitude, latitude) == pytest.approx(0.0, abs=0.6)
    assert 0 < parallactic_angle(now - 45.0, 0.0, mjd, longitude, latitude) < 90
    assert -90 < parallactic_angle(now + 45.0, 0.0, mjd, longitude, latitude) < 0
    for hour, dec in ((-40.0, 10.0), (25.0, 60.0), (60.0, -5.0)):
        zenith, angle, airmass = way_up(now - hour, dec, mjd, longitude, latitude)
        height, other = altitude_and_parallactic(now - hour, dec, now, latitude)
        assert 90 - zenith == pytest.approx(height, abs=0.3)
        assert angle == pytest.approx(other, abs=1.5)
        assert airmass > 1
