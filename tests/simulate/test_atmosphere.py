"""The air: refraction against Filippenko's table, airmass, extinction, bands."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from nightpipe.simulate.atmosphere import (
    Air,
    airmass_at,
    altitude_and_parallactic,
    bands,
    extinction,
    refraction,
    sidereal_degrees,
)

AIR = Air(pressure=600.0, temperature=7.0, vapour=8.0)


@pytest.mark.parametrize(("wave", "arcsec"), [(4000, 0.71), (4500, 0.29), (6000, -0.37), (7000, -0.60), (9000, -0.84)])
def test_refraction_is_that_of_filippenko_table_1_at_sec_z_1_5(wave, arcsec):
    assert refraction(np.array([float(wave)]), 5000.0, 1.5, AIR)[0] == pytest.approx(arcsec, abs=0.012)


def test_nothing_is_refracted_at_the_zenith():
    assert np.all(refraction(np.array([3500.0, 9000.0]), 5500.0, 1.0, AIR) == 0.0)


def test_extinction_of_la_palma_is_near_the_published_curve():
    published = {3400: 0.593, 4000: 0.294, 4500: 0.181, 5500: 0.102, 7000: 0.036}  # King 1985, RGO technical note 31
    air = Air(pressure=580.0, temperature=8.0, aerosol=0.0)  # the published curve is for air without dust
    for wave, magnitude in published.items():
        assert extinction(np.array([float(wave)]), air)[0] == pytest.approx(magnitude, abs=0.02)


@pytest.mark.parametrize(("low", "high", "width"), [(6840, 7010, 6.9), (7540, 7734, 29.7), (8070, 8410, 12.6)])
def test_bands_are_as_deep_as_those_of_a_line_by_line_model(low, high, width):
    """Equivalent widths [A] at one airmass, 1,700 m above the sea with 5 mm of water (MODTRAN's cross-sections)."""
    wave = np.arange(low, high, 0.1)
    assert np.sum(1.0 - bands(wave, 1.0, AIR)) * 0.1 == pytest.approx(width, rel=0.05)


def test_the_a_band_saturates_and_the_continuum_is_clear():
    wave = np.arange(7400.0, 7900.0, 0.1)
    one, two = bands(wave, 1.0, AIR), bands(wave, 2.0, AIR)
    assert np.sum(1.0 - two) / np.sum(1.0 - one) == pytest.approx(1.32, abs=0.03)
    assert one[(wave < 7500) | (wave > 7800)].min() > 0.98


def test_sidereal_time_and_altitude_of_a_known_moment():
    # Greenwich mean sidereal time at 0h UT of 2020-03-21 is 11h 55m 54s (Astronomical Almanac).
    sidereal = sidereal_degrees(datetime(2020, 3, 21, tzinfo=UTC), 0.0)
    assert sidereal / 15.0 == pytest.approx(11 + 55 / 60 + 54 / 3600, abs=0.002)
    altitude, parallactic = altitude_and_parallactic(30.0, 20.0, 30.0, 20.0)
    assert altitude == pytest.approx(90.0, abs=1e-4)
    assert altitude_and_parallactic(30.0, 0.0, 60.0, 40.0)[1] > 0.0  # west of the meridian
    assert np.isfinite(parallactic)


def test_airmass_agrees_with_hardies_formula():
    assert airmass_at(90.0) == pytest.approx(1.0, abs=1e-6)
    for altitude in (60.0, 45.0, 30.0):  # Hardie 1962, in Astronomical Techniques
        s = 1.0 / np.sin(np.radians(altitude)) - 1.0
        hardie = 1.0 + s - 0.0018167 * s - 0.002875 * s**2 - 0.0008083 * s**3
        assert airmass_at(altitude) == pytest.approx(hardie, abs=4e-3)
