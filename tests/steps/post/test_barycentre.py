"""Barycentric velocity and time against astropy, which is the oracle here and not the method."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from builders.flux import LA_PALMA, exposure, observed
from nightpipe.io.references import extinction, find_standard
from nightpipe.maths.airmass import airmass, altitude
from nightpipe.maths.barycentre import barycentric
from nightpipe.steps.post.barycentre import Barycentre

CASES = [(147.2337, 13.7442, 58928.86386), (10.0, -40.0, 57300.1), (280.0, 66.0, 55000.75), (83.0, -5.0, 60310.05)]


def oracle(ra, dec, mjd):
    from astropy import units
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
            place = EarthLocation.from_geodetic(LA_PALMA.longitude, LA_PALMA.latitude, LA_PALMA.height)
            star, time = SkyCoord(ra, dec, unit="deg"), Time(mjd, format="mjd", location=place)
            velocity = star.radial_velocity_correction("barycentric", obstime=time).to_value(units.km / units.s)
            day = (time.tdb + time.light_travel_time(star, ephemeris="builtin")).jd
            return velocity, day, star.transform_to(AltAz(obstime=time, location=place)).alt.deg


@pytest.mark.parametrize(("ra", "dec", "mjd"), CASES)
def test_agrees_with_astropy(ra, dec, mjd):
    velocity, day, height = oracle(ra, dec, mjd)
    ours = barycentric(ra, dec, mjd, LA_PALMA.longitude, LA_PALMA.latitude, LA_PALMA.height)
    assert ours[0] == pytest.approx(velocity, abs=0.002)
    assert (ours[1] - day) * 86400.0 == pytest.approx(0.0, abs=0.05)
    assert altitude(ra, dec, mjd, LA_PALMA.longitude, LA_PALMA.latitude) == pytest.approx(height, abs=0.02)


def test_airmass_at_known_altitudes():
    """Young 1994: 1 at the zenith, 31.7 at the horizon, near the secant in between."""
    assert airmass(90.0) == pytest.approx(1.0, abs=1e-4)
    assert airmass(30.0) == pytest.approx(1.9943, abs=5e-3)
    assert airmass(0.001) == pytest.approx(31.7, abs=0.2)
    assert np.isinf(airmass(-5.0))


def test_step_writes_the_correction_and_leaves_the_wavelengths():
    spectrum, _ = observed(find_standard("Feige 34"), extinction("La Palma"))
    placed = spectrum.but(exposure=exposure(ra=147.2337, dec=13.7442, mjd=58928.86386))
    done = Barycentre().run(placed)
    assert done.meta["barycorr"] == pytest.approx(-16.788, abs=0.005)
    assert done.meta["bjd_tdb"] == pytest.approx(2458929.36938, abs=1e-5)
    assert done.meta["specsys"] == "TOPOCENT"
    assert np.array_equal(done.wave, spectrum.wave)
    assert done.caveats == ()


def test_without_a_position_there_is_a_caveat():
    spectrum, _ = observed(find_standard("Feige 34"), extinction("La Palma"))
    done = Barycentre().run(spectrum)
    assert "barycorr" not in done.meta
    assert done.caveats[0].code == "barycentre.none"
