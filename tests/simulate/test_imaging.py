"""Simulated images: headers as the real ones, light as the truth says, in every imager."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from astropy.io import fits

from nightpipe.base.errors import ConfigError
from nightpipe.instruments import resolve
from nightpipe.instruments.registry import instrument, recognise
from nightpipe.kernels.stamps import add_galaxies, add_points, add_points_plain
from nightpipe.model.exposure import FrameType
from nightpipe.simulate.imaging.camera import known_imagers, observatory, windowed
from nightpipe.simulate.imaging.chip import chip, digitised, electrons, poisson, wells
from nightpipe.simulate.imaging.dialects import dialect
from nightpipe.simulate.imaging.dialects.base import Taken
from nightpipe.simulate.imaging.locus import BANDS, magnitudes
from nightpipe.simulate.imaging.night import TARGET, checked, expose, is_imager, write_imaging_night
from nightpipe.simulate.imaging.pointing import Pointing
from nightpipe.simulate.imaging.psf import WING, Blur, reach, star_image
from nightpipe.simulate.imaging.reference import REFCAT, reference
from nightpipe.simulate.imaging.scene import field_of, science
from nightpipe.simulate.imaging.schedule import Fault, Planner, filters_of, wanted
from nightpipe.simulate.imaging.stars import counts, field_stars, galactic, one
from nightpipe.simulate.rig import stream

IMAGERS = known_imagers()


def shots(name, **options):
    asked = checked(options)
    return Planner(observatory(name), asked, stream(1, "schedule")).night(), asked


def small(name="arcsat", ny=200, nx=240, **changes):
    """Return an observatory whose first camera is cut to a few pixels."""
    known = observatory(name)
    box = (0, nx, 0, ny)
    patch = known.cameras[0].patches[0].model_copy(update={"box": box})
    update = {"shape": (ny, nx), "light": box, "overscan": (), "patches": (patch,), **changes}
    return known.model_copy(update={"cameras": (known.cameras[0].model_copy(update=update),)})


def science_shot(known, **options):
    asked = checked({"calibrations": False, "exposures": 2, "galaxies": False, "trails": False, **options})
    return Planner(known, asked, stream(1, "schedule")).night()[0], asked


@pytest.mark.parametrize("name", IMAGERS)
def test_a_night_has_what_its_instrument_takes(name):
    taken, _ = shots(name)
    kinds = [shot.kind for shot in taken]
    assert set(kinds) == {*observatory(name).calibrations, "science"}
    assert all(shot.altitude > 25 for shot in taken if shot.kind == "science")
    assert all(one.start < two.start for one, two in pairwise(taken))


@pytest.mark.parametrize("name", IMAGERS)
def test_headers_can_be_written_and_names_are_unique(name):
    known, tongue = observatory(name), dialect(name)
    taken, asked = shots(name)
    names = []
    for shot in taken:
        for camera in wanted(known, asked):
            if shot.kind == "bias" and camera.infrared:
                continue
            item = Taken(known, camera, shot, filters_of(camera, shot.turn, asked), TARGET)
            hdus = tongue.hdus(np.zeros((4, 5), np.uint32), item)
            header = hdus[0].header
            assert "DATE-OBS" in header or "DATE-BEG" in header or "UTC" in header
            assert header["EXPTIME"] == pytest.approx(shot.exptime, abs=0.01)
            names.append(tongue.file_name(item))
    assert len(set(names)) == len(names)


def test_star_counts_are_those_of_the_sky():
    v = np.arange(8.0, 20.01, 0.25)
    pole = float(np.trapezoid(counts(v, 0.0, 90.0), v))
    assert 1400 < pole < 3200  # some 2000 stars per square degree to V 20 at the pole (Bahcall & Soneira 1980, table 6)
    assert np.trapezoid(counts(v, 90.0, 10.0), v) > 8 * pole
    assert galactic(266.405, -28.936) == (pytest.approx(0.0, abs=0.02), pytest.approx(0.0, abs=0.02))


def test_colours_follow_the_locus():
    rng = np.random.default_rng(1)
    sun = magnitudes(np.full(500, 15.0), np.full(500, 0.55), rng)
    assert np.median(sun["g"] - sun["r"]) == pytest.approx(0.44, abs=0.02)
    assert np.median(sun["V"] - sun["r"]) == pytest.approx(0.18, abs=0.04)
    stars = field_stars((200.0, 30.0), 1.0, 20.0, rng)
    red = (stars.mags["g"] - stars.mags["r"]) > 1.2
    assert 0.25 < red[stars.mags["r"] > 19].mean() < 0.7


def test_the_geometry_goes_both_ways_and_has_the_stated_scale():
    place = Pointing((10.0, 60.0), (500.0, 520.0), 0.4, 30.0, -1, (1e-4, 2e-5, -1e-4), 30.0, (0.01, -0.02))
    x, y = np.array([3.0, 900.0, 500.0]), np.array([10.0, 700.0, 520.0])
    back = place.to_pixel(*place.to_sky(x, y))
    assert np.allclose(back, (x, y), atol=1e-7)
    plain = replace(place, stretch=(0.0, 0.0, 0.0), barrel=0.0, tilt=(0.0, 0.0))
    ra, dec = plain.to_sky(np.array([500.0]), np.array([620.0]))
    north = (dec[0] - 60.0) * 3600
    east = (ra[0] - 10.0) * 3600 * np.cos(np.radians(60.0))
    assert np.hypot(north, east) == pytest.approx(40.0, rel=1e-3)
    assert np.degrees(np.arctan2(east, north)) == pytest.approx(30.0, abs=0.1)
    assert np.linalg.det(place.cd) < 0
    turned = np.degrees(plain.direction(30.0))
    assert turned == pytest.approx(90.0, abs=1e-6)


def test_stamps_equal_their_plain_twin_and_keep_the_light():
    star = star_image(Blur(1.2, 6000.0, 1.5), 0.32)
    image, twin = np.zeros((60, 64), np.float32), np.zeros((60, 64), np.float32)
    place = ([20.3, 40.77], [31.6, 22.1], [1000.0, 500.0])
    add_points(image, *place, star.nodes, 8, [15.0, 15.0], WING)
    add_points_plain(twin, *place, star.nodes, 8, [15.0, 15.0])
    assert np.abs(image - twin).max() < 2e-3 * twin.max()
    big = np.zeros((1601, 1601), np.float32)
    add_points(big, [800.2], [799.7], [1e6], star.nodes, 8, [800.0], WING)
    assert big.sum() == pytest.approx(1e6, rel=5e-3)
    y, x = np.indices(big.shape)
    near = np.hypot(x - 800, y - 800) < 12
    assert (big * x)[near].sum() / big[near].sum() == pytest.approx(800.2, abs=0.02)


def test_galaxies_keep_their_light_and_have_their_size():
    image = np.zeros((301, 301), np.float32)
    add_galaxies(image, [150.2], [149.6], [5e4], [9.0], [1.0], [1.0], [0.0])
    assert image.sum() == pytest.approx(5e4, rel=1e-4)
    y, x = np.indices(image.shape)
    assert image[np.hypot(x - 150.2, y - 149.6) < 9.0].sum() == pytest.approx(2.5e4, rel=0.03)


def test_the_seeing_is_what_was_asked_for():
    star = star_image(Blur(1.5, 5000.0, 2.5, jitter=0.02, field=0.0, coma=0.0), 0.2)
    assert star.fwhm * 0.2 == pytest.approx(1.5, rel=0.05)
    assert reach(np.array([1e2, 1e7]), 10.0, star)[1] > 40


def test_photons_are_drawn_as_photons():
    rng = np.random.default_rng(2)
    for level in (2.0, 50.0, 299.0, 400.0, 2e4):
        drawn = poisson(np.full((300, 300), level, np.float32), rng).astype(float)
        assert drawn.mean() == pytest.approx(level, abs=4.5 * np.sqrt(level / 9e4) + 0.05)
        assert drawn.var() == pytest.approx(level, rel=0.025)


def test_saturated_columns_bleed_and_no_charge_is_lost():
    camera = observatory("arcsat").cameras[0].model_copy(update={"nonlinear": 0.0})
    charge = np.zeros((60, 9), np.float32)
    charge[30, 4] = 5.5 * camera.full_well
    read, full = wells(camera, charge)
    assert read.sum() == pytest.approx(charge.sum(), rel=1e-6)
    assert full[30, 4]
    assert read[28:33, 4].min() == pytest.approx(camera.full_well)
    assert (read[:, [3, 5]] == 0).all()


def test_noise_and_gain_are_the_true_ones():
    known = small(ny=300, nx=300)
    silicon = chip(known.cameras[0], np.random.default_rng(3))
    rng = np.random.default_rng(4)
    even = np.full((300, 300), 20000.0, np.float32)
    pair = [
        digitised(silicon, electrons(silicon, even, 1.0, rng, cosmics=False)[0], 0.0, rng).astype(float)
        for _ in range(2)
    ]
    bias = [digitised(silicon, even * 0.0, 0.0, rng).astype(float) for _ in range(2)]
    signal = (pair[0] - bias[0]).mean()
    noise = (np.var(pair[0] - pair[1]) - np.var(bias[0] - bias[1])) / 2.0
    assert signal / noise == pytest.approx(known.cameras[0].gain, rel=0.02)
    assert np.std(bias[0] - bias[1]) / np.sqrt(2) * known.cameras[0].gain == pytest.approx(6.1, rel=0.03)


def test_stars_lie_and_shine_as_the_truth_says():
    known = small()
    shot, asked = science_shot(known)
    field = field_of(known, asked, 1)
    place = science(known, known.cameras[0], shot, field, asked, 1).pointing
    ra, dec = place.to_sky(118.3, 97.6)
    alone = one(float(ra), float(dec), dict.fromkeys(BANDS, 14.0))
    light = science(known, known.cameras[0], shot, replace(field, stars=alone, transient=False), asked, 1)
    patch, brightest = light.patches[0], 0
    x, y, flux = light.x[0], light.y[0], patch.flux[0]
    assert (x, y) == (pytest.approx(118.3, abs=1e-6), pytest.approx(97.6, abs=1e-6))
    field = replace(field, stars=alone)
    rows, columns = np.indices(light.image.shape)
    near = np.hypot(rows - y, columns - x) < 4 * patch.star.fwhm
    found = light.image[near] - np.median(light.image)
    assert found.sum() == pytest.approx(flux, rel=0.08)
    assert (found * columns[near]).sum() / found.sum() == pytest.approx(x, abs=0.05)
    assert np.allclose(light.pointing.to_sky(x, y), [part[brightest] for part in field.stars.at(shot.epoch)], atol=1e-8)


def test_natural_magnitudes_and_air_make_the_flux():
    known = small()
    shot, asked = science_shot(known, clouds=0.8)
    field = field_of(known, asked, 1)
    patch = science(known, known.cameras[0], shot, field, asked, 1).patches[0]
    colour = field.stars.mags["g"] - field.stars.mags["i"] - 1.0
    air = shot.airmass * (patch.filter.extinction + patch.filter.second * colour)
    expected = shot.exptime * shot.clear * 10 ** (-0.4 * (patch.natural + air - patch.filter.zero))
    assert np.allclose(patch.flux, expected, rtol=1e-6)
    assert 0.5 < shot.clear < 1.0


def test_infrared_stars_stay_in_the_next_frame():
    known = small("rimas", persist=0.01)
    camera = known.cameras[0]
    shot, asked = science_shot(known, faults=(Fault.SATURATED,), exptime=5.0)
    field = field_of(known, asked, 1)
    silicon = chip(camera, np.random.default_rng(1))
    _, _, left, _ = expose(known, silicon, shot, field, asked, 1)
    assert left is not None
    assert left.max() == pytest.approx(0.01 * camera.full_well)


def test_the_survey_has_noise_depth_holes_and_motions():
    rng = np.random.default_rng(5)
    stars = field_stars((200.0, 30.0), 0.7, 23.0, rng)
    survey = reference(REFCAT, stars, None, rng)
    assert survey["ra"][0].size < len(stars)
    r = survey["r"][0]
    assert np.nanmax(r) < REFCAT.depth["r"] + 0.5
    assert np.nanmedian(survey["r_error"][0][r > 20]) > np.nanmedian(survey["r_error"][0][r < 17])
    assert np.abs(survey["pm_ra"][0]).max() > 10


def test_an_unknown_option_and_filter_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="nonsense"):
        checked({"nonsense": 1})
    with pytest.raises(ConfigError, match="filters"):
        write_imaging_night("soxs-acq", tmp_path / "raw", filters="Q")


def test_a_night_lies_whole_with_its_truth(tmp_path):
    truth = write_imaging_night("soxs-acq", tmp_path / "raw", filters="r", exposures=2, transient_mag=18.0)
    night = json.loads((truth / "soxs-acq.json").read_text())
    files = sorted(path.name for path in (tmp_path / "raw").iterdir())
    assert files == sorted(item["file"] for item in night["exposures"])
    last = [item for item in night["exposures"] if item["type"] == "science"][-1]
    with fits.open(tmp_path / "raw" / last["file"]) as hdus, fits.open(truth / last["file"]) as known:
        assert hdus[0].header["ESO SEQ ARM"] == "ACQ"
        assert hdus[0].data.shape == (1024, 1024)
        table = known["STARS_r"].data
        stars = table[(table["X"] > 20) & (table["X"] < 1000) & (table["Y"] > 20) & (table["Y"] < 1000)]
        bright = stars[np.argmax(stars["ELECTRONS"])]
        x, y = round(float(bright["X"])), round(float(bright["Y"]))
        assert hdus[0].data[y - 2 : y + 3, x - 2 : x + 3].max() > np.median(hdus[0].data) + 500
    with fits.open(truth / "stars.fits") as hdus:
        assert hdus["STARS"].data["TRANSIENT"].sum() == 1
    with fits.open(truth / "refcat.fits") as hdus:
        assert hdus["REFCAT"].header["EPOCH"] == 2015.5


@pytest.mark.parametrize("name", IMAGERS)
def test_headers_are_read_as_those_of_the_instrument(name):
    known, tongue = observatory(name), dialect(name)
    taken, asked = shots(name)
    wants = {"science": FrameType.IMAGE, "domeflat": FrameType.FLAT, "skyflat": FrameType.SKY_FLAT}
    for shot in {shot.kind: shot for shot in taken}.values():
        for camera in wanted(known, asked):
            if shot.kind == "bias" and camera.infrared:
                continue
            filters = filters_of(camera, shot.turn, asked)
            item = Taken(known, camera, shot, filters, TARGET)
            hdus = tongue.hdus(np.zeros(camera.shape, np.uint32), item)
            headers = tuple(dict(hdu.header) for hdu in hdus)
            spec = instrument("generic") if name == "generic" else recognise(headers)
            found = resolve.parts(spec, headers, tongue.file_name(item))
            seen = [(part, resolve.exposure(spec, part, path)) for path, part in found]
            assert len(seen) == len(camera.patches)
            for part, exposure in seen:
                assert exposure.type is (wants.get(shot.kind) or FrameType(shot.kind))
                assert exposure.exptime == pytest.approx(shot.exptime, abs=0.01)
                described = resolve.detector(spec, part, exposure)
                assert described.amplifiers[0].gain == pytest.approx(camera.gain, rel=0.2)
                if shot.kind == "science":
                    assert exposure.target == TARGET
                    assert exposure.ra == pytest.approx(shot.ra, abs=0.1)
                    assert exposure.setup.filter in filters


def test_a_window_is_the_middle_of_the_field():
    whole, known = observatory("lmi"), windowed(observatory("lmi"), 512)
    camera = known.cameras[0]
    assert camera.shape == (516, 567)
    assert camera.light == (27, 539, 3, 515)
    assert camera.overscan == ((543, 567, 3, 515),)
    shot, asked = science_shot(known)
    seen, cut = (science(one, one.cameras[0], shot, field_of(one, asked, 1), asked, 1) for one in (whole, known))
    dx, dy = (whole.cameras[0].light[1] - 27 - 512) // 2, (whole.cameras[0].light[3] - 3 - 512) // 2
    ra, dec = cut.pointing.to_sky(np.array([100.0]), np.array([400.0]))
    x, y = seen.pointing.to_pixel(ra, dec)
    assert (float(x[0]), float(y[0])) == pytest.approx((100 + dx + 0.5, 400 + dy), abs=0.6)


def test_what_cannot_be_windowed_is_told(tmp_path):
    with pytest.raises(ConfigError, match="window"):
        write_imaging_night("sedm_rc", tmp_path / "raw", window=300)


def test_names_of_the_descriptions_are_known():
    assert all(is_imager(name) for name in ("soxs_ac", "soxs-acq", "sedm_rc", "lmi", "ratir", "rimas", "generic"))
