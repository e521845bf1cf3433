from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

from builders import imagefield as field
from nightpipe.base.errors import NoSolutionError
from nightpipe.cli.main import app
from nightpipe.io.skyfiles import read_moc, read_sky_image, read_star_list
from nightpipe.model.moc import Circle, Moc
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.steps.imaging.newsources import NewSources

SHAPE = (400, 400)
ZP = 25.0


def seen(where, mags, seed=1, **columns):
    rng = np.random.default_rng(seed)
    n = len(mags)
    x, y = rng.uniform(20, 380, (2, n))
    flux = 10 ** (0.4 * (ZP - np.asarray(mags)))
    zero = np.zeros(n)
    return Sources(
        x, y, zero, zero, flux, flux / 50, zero.astype(np.uint32), zero.astype(np.int32), columns
    ), where.to_sky(x, y)


def catalogue(ra, dec, mags, band="r", depth=None, **changes):
    zero = np.zeros(len(ra))
    made = {"pm_ra": zero, "pm_dec": zero, "error": zero, "mags": {band: np.asarray(mags)}} | changes
    deep = {band: depth} if depth else {}
    return StarCatalogue("test", np.asarray(ra), np.asarray(dec), 2000.0, field.CENTRE, 0.1, depth=deep, **made)


def test_a_source_that_the_catalogue_lacks_is_new_and_ranked():
    where, mags = field.wcs(SHAPE), np.linspace(15, 19.5, 30)
    sources, (ra, dec) = seen(where, mags)
    known = np.ones(30, bool)
    known[[4, 20]] = False
    bat = Circle("BAT", float(ra[4]), float(dec[4]), 3 / 60)
    xrt = Circle("XRT", float(ra[4]), float(dec[4]), 4 / 3600)
    found = NewSources().run(sources, where, ZP, catalogue(ra[known], dec[known], mags[known], depth=21.0), 2020.0, "r",
                             (bat, xrt))  # fmt: skip
    np.testing.assert_allclose(found.columns["mag"], mags[[4, 20]], atol=1e-9)
    assert found.columns["class"][0] == 2
    assert "findnew.moving" in [caveat.code for caveat in found.caveats]


def test_faint_or_red_sources_beyond_the_depth_are_not_new():
    where, mags = field.wcs(SHAPE), np.append(np.linspace(15, 18, 30), [19.0, 19.9])
    sources, (ra, dec) = seen(where, mags)
    shallow = NewSources().run(sources, where, ZP, catalogue(ra[:30], dec[:30], mags[:30], depth=19.5), band="r")
    np.testing.assert_allclose(shallow.columns["mag"], [19.0])
    assert "findnew.shallow" in [caveat.code for caveat in shallow.caveats]
    red = NewSources().run(sources, where, ZP, catalogue(ra[:30], dec[:30], mags[:30], "G", depth=19.5), band="r")
    assert len(red) == 0
    assert {"findnew.band", "findnew.shallow"} <= {caveat.code for caveat in red.caveats}
    counted = NewSources().run(sources, where, ZP, catalogue(ra[:30], dec[:30], mags[:30]), band="r")
    assert len(counted) == 0  # the counts end at 18


def test_proper_motions_shapes_and_flags_count():
    where, mags = field.wcs(SHAPE), np.linspace(15, 19.5, 30)
    sources, (ra, dec) = seen(where, mags, ellipticity=np.where(np.arange(30) == 3, 0.5, 0.0))
    moved = catalogue(ra[4:], dec[4:] - 4.0 / 3600, mags[4:], depth=21.0, pm_dec=np.full(26, 200.0))
    found = NewSources().run(sources, where, ZP, moved, 2020.0, "r")
    np.testing.assert_allclose(np.sort(found.columns["mag"]), mags[:3])  # the fourth is long
    still = NewSources().run(sources, where, ZP, moved, 2000.0, "r")
    assert len(still) >= 27  # of 29: a neighbour may lie where a star would have been


def test_catalogue_of_another_field_is_refused():
    where, mags = field.wcs(SHAPE), np.linspace(15, 19.5, 30)
    sources, (ra, dec) = seen(where, mags)
    with pytest.raises(NoSolutionError, match="covers"):
        NewSources().run(sources, where, ZP, catalogue(ra + 3, dec, mags, depth=21.0))


def test_coverage_map_holds_its_cells():
    from astropy import units
    from astropy_healpix import lonlat_to_healpix

    fine = int(lonlat_to_healpix(150.1 * units.deg, 20.0 * units.deg, 2**9, order="nested"))
    wide = int(lonlat_to_healpix(10.0 * units.deg, -45.0 * units.deg, 2**3, order="nested"))
    moc = Moc("map", np.array([4 * 4**9 + fine, 4 * 4**3 + wide]))
    assert list(moc.holds([150.1, 10.0, 150.6, 200.0], [20.0, -45.0, 20.0, 5.0])) == [True, True, False, False]


def written_image(path, where, electrons, rng):
    made = field.observed(rng, electrons, exptime=100)
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    for k in (0, 1):
        header[f"CRVAL{k + 1}"], header[f"CRPIX{k + 1}"] = where.crval[k], where.crpix[k] + 1
        for j in (0, 1):
            header[f"CD{k + 1}_{j + 1}"] = where.cd[k][j]
    fits.writeto(path, made.data / 100, header)


def test_command_writes_table_and_figure(tmp_path):
    rng, where = np.random.default_rng(2), field.wcs(SHAPE)
    stars = field.light(rng, 60, where, SHAPE, low=100, high=3000)
    written_image(tmp_path / "field.fits", where, field.expected(SHAPE, where, stars, fwhm=3.5, exptime=100), rng)
    brightest = int(np.argsort(stars.rate)[-8])
    rest = np.arange(60) != brightest
    known = Table({"RA": stars.ra[rest], "DEC": stars.dec[rest], "rmag": 25 - 2.5 * np.log10(stars.rate[rest])})
    for depth in (22, 22.4):  # entries fainter than the image shows tell how deep the catalogue goes
        for _ in range(40):
            ra, dec = where.to_sky(*rng.uniform(0, 400, 2))
            known.add_row((float(ra) + 0.05, float(dec), depth))
    known.write(tmp_path / "stars.csv")
    moc = 4 * 4**2 + np.arange(12 * 4**2)
    fits.BinTableHDU.from_columns([fits.Column("UNIQ", "K", array=moc)]).writeto(tmp_path / "all.fits")
    place = [str(stars.ra[brightest]), str(stars.dec[brightest])]
    words = ["findnew", str(tmp_path / "field.fits"), str(tmp_path / "stars.csv"), "--bat", *place, "3", "--xrt",
             *place, "5", "--moc", str(tmp_path / "all.fits"), "--zp", "25", "--band", "r"]  # fmt: skip
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    text = (tmp_path / "field_new.txt").read_text()
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert len(rows) >= 1
    assert float(rows[0][1]) == pytest.approx(stars.ra[brightest], abs=2e-4)
    assert rows[0][7] == "3"
    assert "moving objects were not checked" in text
    assert (tmp_path / "field_new.png").stat().st_size > 10_000
    assert len(read_star_list(tmp_path / "stars.csv")) == 139
    assert read_moc(tmp_path / "all.fits").uniq.size == 192
    assert read_sky_image(tmp_path / "field.fits").wcs.scale == pytest.approx(field.SCALE, rel=1e-6)


def test_what_an_image_does_not_say_is_told(tmp_path):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 16.0, "CRPIX2": 16.0}
    header = fits.Header(cards | {"CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4})
    data = np.random.default_rng(1).normal(0, 3, (32, 32)).astype(np.float32)
    fits.writeto(tmp_path / "plain.fits", data, header)
    image = read_sky_image(tmp_path / "plain.fits")
    assert {caveat.code for caveat in image.caveats} == {"image.noise", "image.exptime"}
    assert np.sqrt(image.var[0, 0]) == pytest.approx(3.0, rel=0.15)


def test_a_hit_on_the_detector_is_no_new_source():
    where, mags = field.wcs(SHAPE), np.linspace(15, 19.5, 30)
    sources, (ra, dec) = seen(where, mags)
    share = np.where(np.arange(30) == 20, 0.4, 0.05)
    sharp = replace(sources, columns=sources.columns | {"peak": share * sources.flux})
    known = ~np.isin(np.arange(30), [4, 20])
    found = NewSources().run(sharp, where, ZP, catalogue(ra[known], dec[known], mags[known], depth=21.0), band="r")
    np.testing.assert_allclose(found.columns["mag"], mags[[4]], atol=1e-9)
    assert "findnew.hits" in [caveat.code for caveat in found.caveats]
