"""Zero points: bias and pull on simulated stars with extinction and colour, real star lists, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.frames import exposure
from builders.pulls import bounds
from nightpipe.base.errors import ConfigError, NoSolutionError
from nightpipe.maths.systems import ps1_of_sdss, sdss_of_ps1
from nightpipe.model.exposure import Setup
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Astrometry, Wcs
from nightpipe.steps.imaging.zeropoint import FitZeroPoint, band_of

WCS = Wcs((150.0, 20.0), (512.0, 512.0), ((-1e-4, 0.0), (0.0, 1e-4)))
PLATE = Astrometry(WCS, "header", 50, (0.05, 0.05), 0.01, "test", 2015.5, 0.0, 50.0, np.zeros((0, 6)))
SHOT = exposure(setup=Setup(mode="imaging", filter="SDSS-r"), airmass=1.4)


def scene(rng, n=60, term=0.03, k=0.1, outliers=0.1, zero=25.0):
    """Stars at colour g-i about 1.2; their r fluxes pass `k` mag of extinction per airmass and a colour term."""
    x, y = rng.uniform(20, 1000, (2, n))
    ra, dec = WCS.to_sky(x, y)
    colour = rng.normal(1.2, 0.5, n)
    r = rng.uniform(15, 20, n)
    error = np.full(n, 0.01)
    mags = {"g": r + 0.6 * colour, "r": r + rng.normal(0, error), "i": r - 0.4 * colour}
    flux = 10 ** (-0.4 * (r - (zero - k * 1.4) - term * (colour - 1.2)))
    sigma = np.hypot(0.01 * flux, 0.3)
    wrong = rng.random(n) < outliers
    seen = (flux + rng.normal(0, sigma)) * np.where(wrong, rng.uniform(1.2, 3, n), 1.0)
    zeros = np.zeros(n)
    sources = Sources(x, y, zeros + 0.02, zeros + 0.02, seen, sigma, zeros.astype(np.uint32), zeros.astype(np.int32),
                      {"background": zeros + 400.0})  # fmt: skip
    stars = StarCatalogue("test", ra, dec, 2021.0, (150.0, 20.0), 0.1, zeros, zeros, zeros + 0.02, mags,
                          dict.fromkeys(mags, error), dict.fromkeys(mags, "PS1"))  # fmt: skip
    return sources, stars


def test_bias_and_pull_with_extinction_colour_and_outliers():
    rng = np.random.default_rng(1)
    step = FitZeroPoint(colour_zero=1.2)
    found = [step.run(*_args(scene(rng)), SHOT, 0.1) for _ in range(600)]
    zp, error = np.array([[z.zp, z.error] for z in found]).T
    pulls = (zp - (25.0 - 0.14)) / error
    assert abs(np.mean(zp) - 24.86) < 0.003
    assert pulls.std() == pytest.approx(1, abs=max(0.1, bounds(600)[1]))
    assert np.mean([z.above for z in found]) == pytest.approx(25.0, abs=0.003)
    assert np.mean([z.colour_term for z in found]) == pytest.approx(0.03, abs=0.004)


def _args(made):
    return made[0], PLATE, made[1]


def test_magnitudes_come_back_with_the_formula_of_the_model():
    sources, stars = scene(np.random.default_rng(2), outliers=0.0)
    z = FitZeroPoint().run(sources, PLATE, stars, SHOT)
    colour = stars.mags["g"] - stars.mags["i"]
    mag = z.zp - 2.5 * np.log10(sources.flux) + z.colour_term * (colour - z.colour_zero)
    assert np.median(mag - stars.mags["r"]) == pytest.approx(0, abs=0.006)


def test_depth_sky_and_transparency():
    sources, stars = scene(np.random.default_rng(3))
    z = FitZeroPoint().run(sources, PLATE, stars, SHOT, 0.1, best=25.5)
    assert z.depth == pytest.approx(z.zp - 2.5 * np.log10(5 * np.median(sources.flux_error)), abs=0.6)
    assert z.sky == pytest.approx(z.zp - 2.5 * np.log10(4.0 / 0.36**2))
    assert z.transparency == pytest.approx(10 ** (-0.4 * 0.5), rel=0.02)


def test_the_error_is_that_of_the_mean():
    z = FitZeroPoint().run(*_args(scene(np.random.default_rng(4), n=400)), SHOT)
    assert z.error < 0.1 * z.scatter


def test_colours_that_do_not_tell_leave_the_prior():
    sources, stars = scene(np.random.default_rng(5), n=10, outliers=0.0)
    same = replace(stars, mags=stars.mags | {"g": stars.mags["r"] + 0.6, "i": stars.mags["r"] - 0.6})
    z = FitZeroPoint(term=0.02, term_error=0.01).run(sources, PLATE, same, SHOT)
    assert z.colour_term == pytest.approx(0.02, abs=0.002)


def test_wrong_filters_and_catalogues_are_refused():
    sources, stars = scene(np.random.default_rng(6))
    with pytest.raises(ConfigError, match="filter"):
        FitZeroPoint().run(sources, PLATE, stars, replace(SHOT, setup=Setup(filter="H-alpha")))
    with pytest.raises(ConfigError, match="magnitudes in z"):
        FitZeroPoint(band="z").run(sources, PLATE, stars, SHOT)
    with pytest.raises(NoSolutionError, match="at least 3 stars"):
        FitZeroPoint().run(sources, PLATE, replace(stars, ra=stars.ra + 1), SHOT)
    shuffled = replace(stars, mags=stars.mags | {"r": np.random.default_rng(1).permutation(stars.mags["r"])})
    with pytest.raises(NoSolutionError, match="agree"):
        FitZeroPoint().run(sources, PLATE, shuffled, SHOT)


@pytest.mark.parametrize(
    ("name", "band"),
    [("SDSS-R", "r"), ("r'_SDSS", "r"), ("gp", "g"), ("Bessell V", "V"), ("Ks", "K"), ("i", "i"), ("B_Bes 440", "B")],
)
def test_bands_of_filters(name, band):
    assert band_of(name) == band


def test_systems_go_there_and_back():
    rng = np.random.default_rng(0)
    ps1 = {band: rng.normal(18, 0.3, 50) for band in "griz"}
    back = ps1_of_sdss(sdss_of_ps1(ps1))
    for band in "griz":
        assert back[band] == pytest.approx(ps1[band], abs=1e-6)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "band", "zp", "scatter", "slope"),
    [("cpt1m012", "i", 29.095, 0.042, 0.004), ("ogg2m001", "g", 29.550, 0.013, -0.017)],
)
def test_real_star_lists_have_the_known_zero_points(shared_data, name, band, zp, scatter, slope):
    """The numbers that others found, with theirs: the column ``flux``, flag 0, stars brighter than 18, a clip of three
    sigma, the colour g-i at the stars' median. Of all stars, to 10 sigma, they are 29.087 and 29.545.
    """
    from astropy.table import Table

    table = Table.read(next(shared_data("catalogues-lco").glob(f"{name}*")))
    n = len(table)
    t = {key: np.asarray(table[key], float) for key in table.colnames}
    zeros = np.zeros(n)
    mags = {b: np.where(t[f"{b}mag"] > 0, t[f"{b}mag"], np.nan) for b in "griz"}
    errors = {b: t[f"{b}magerr"] for b in "griz"}
    stars = StarCatalogue("RefCat2", t["ra"], t["dec"], 2015.5, (0, 0), 1.0, zeros, zeros, zeros + 0.02, mags, errors,
                          dict.fromkeys("griz", "PS1"))  # fmt: skip
    centre = (float(t["ra"].mean()), float(t["dec"].mean()))
    from nightpipe.maths.tan import plane_of_sky

    xi, eta = plane_of_sky(t["ra"], t["dec"], centre)
    plate = replace(PLATE, wcs=Wcs(centre, (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))))
    quality = np.where(t["flag"] == 0, 0, 4).astype(np.int32)
    sources = Sources(xi, eta, zeros, zeros, t["flux"], t["fluxerr"], zeros.astype(np.uint32), quality)
    shot = replace(SHOT, mjd=51544.5 + 15.5 * 365.25)
    every = FitZeroPoint(band=band).run(sources, plate, stars, shot)
    assert every.zp == pytest.approx(zp, abs=0.015)
    found = FitZeroPoint(band=band, faintest=18.0).run(sources, plate, stars, shot)
    print(name, found.zp, found.error, found.scatter, found.colour_term, found.colour_zero, found.stars)
    assert found.zp == pytest.approx(zp, abs=0.005)
    assert found.scatter == pytest.approx(scatter, abs=0.006)
    assert found.colour_term == pytest.approx(slope, abs=0.01)
