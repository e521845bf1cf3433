"""A simulated night of images, raw to magnitudes with a survey's catalogue: places, zero points, the new source."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import nightpipe
from nightpipe.io.catalogues.store import import_tables
from nightpipe.simulate.night import write_night

pytestmark = pytest.mark.night


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    truth = write_night(
        "arcsat", folder / "raw", seed=5, filters=("sdss_r",), exposures=3, trails=False, clouds=0.85, host=0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTPIPE_DATA", str(folder / "data"))
        import_tables([truth / "refcat.fits"], "refcat2")
        reduction = nightpipe.reduce(folder / "raw", out=folder / "out", workers=1, figures=False)
    (target,) = reduction.targets
    return target, truth, metrics_of(reduction)


def metrics_of(reduction) -> dict[str, float]:
    """Return the last metrics of each name; frames' own are of `calibrateimages`."""
    runs = [one for one in reduction.outcomes.values() if one.record]
    return {name: value[0] for one in runs for name, value in one.record["metrics"].items()}


def sources(target) -> Table:
    path = next(product.path for product in target.products if product.kind == "Sources")
    return Table.read(path.with_suffix(".ecsv"), format="ascii.ecsv")


def matched(table, ra, dec, within=2.0):
    """Return for each place the nearest row and the offset [arcsec], where it lies near."""
    east = (np.asarray(table["ra"])[None] - ra[:, None]) * np.cos(np.radians(dec))[:, None] * 3600
    north = (np.asarray(table["dec"])[None] - dec[:, None]) * 3600
    row = np.hypot(east, north).argmin(axis=1)
    each = np.arange(len(ra))
    near = np.hypot(east, north)[each, row] < within
    return row[near], east[each, row][near], north[each, row][near], near


def true_stars(truth):
    with fits.open(truth / "stars.fits") as hdus:
        return Table(hdus[1].data)


def true_zero(truth, name) -> float:
    """Return the zero point that a frame truly has, for stars of middling colour, behind the flat's usual pixel."""
    facts = json.loads((truth / "arcsat.json").read_text())
    exptime = next(one["exptime"] for one in facts["exposures"] if one["file"].startswith(name))
    (path,) = truth.glob(f"{name}.*")
    with fits.open(path) as hdus:
        stars = next(hdu.data for hdu in hdus if hdu.name.startswith("STARS"))
        bright = (stars["MAG"] > 14.5) & (stars["MAG"] < 18.5)
        zero = float(np.median(stars["MAG"][bright] + 2.5 * np.log10(stars["ELECTRONS"][bright] / exptime)))
    with fits.open(truth / "Apogee.fits") as hdus:
        return zero + 2.5 * np.log10(float(np.median(hdus["FLAT"].data)))


def test_places_are_right(reduced):
    target, truth, _ = reduced
    stars, found = true_stars(truth), sources(target)
    bright = np.asarray(stars["r"] < 18.5)
    years = 2019.33 - 2000.0
    dec = np.asarray(stars["DEC"][bright])
    ra = np.asarray(stars["RA"][bright]) + years * np.asarray(stars["PM_RA"][bright]) / 3.6e6 / np.cos(np.radians(dec))
    _, east, north, near = matched(found, ra, dec + years * np.asarray(stars["PM_DEC"][bright]) / 3.6e6)
    assert near.sum() >= 30
    assert abs(np.median(east)) < 0.05
    assert abs(np.median(north)) < 0.05
    assert np.hypot(east, north).mean() < 0.3


def test_zero_points_and_transparency_are_right(reduced):
    _, truth, metrics = reduced
    names = [name.partition("/")[2] for name in metrics if name.startswith("frame_zero_point/")]
    off = np.array([metrics[f"frame_zero_point/{name}"] - true_zero(truth, name) for name in names])
    assert len(names) == 3
    assert np.ptp(off) < 0.006  # the frames against each other
    assert abs(off.mean()) < 0.03  # how much of the far wings' light is found: it is not in the magnitudes
    assert max(metrics[f"transparency/{name}"] for name in names) == pytest.approx(1.0)
    assert metrics["zero_point_error"] < 0.01
    assert 20.0 < metrics["sky_brightness"] < 21.0


def test_magnitudes_are_those_of_the_stars(reduced):
    target, truth, metrics = reduced
    stars, found = true_stars(truth), sources(target)
    use = np.asarray((stars["r"] > 15) & (stars["r"] < 18.5))
    row, _, _, near = matched(found, np.asarray(stars["RA"][use]), np.asarray(stars["DEC"][use]), 1.5)
    whole = np.asarray(found["quality"])[row] == 0
    off = (np.asarray(found["mag"])[row] - np.asarray(stars["r"][use])[near])[whole]
    assert abs(np.median(off)) < 0.03
    assert 19.8 < metrics["depth"] < 21.5


def test_the_new_source_is_among_them(reduced):
    target, truth, _ = reduced
    place = json.loads((truth / "arcsat.json").read_text())["transient"]
    row, _, _, _ = matched(sources(target), np.array([place["ra"]]), np.array([place["dec"]]), 1.0)
    assert len(row) == 1


def test_the_light_curve_holds_the_new_source_on_every_image_and_the_stack(reduced):
    target, _, metrics = reduced
    path = next(product.path for product in target.products if product.kind == "LightCurve")
    found = Table.read(path.with_suffix(".ecsv"), format="ascii.ecsv")
    assert len(found) == 4
    assert list(found["image"]).count("stack of 3") == 1
    assert np.all(np.diff(found["mjd"]) >= 0)
    off = np.asarray(found["mag"]) - 19.5
    assert np.all(np.abs(off) < 3 * np.asarray(found["mag_error"]) + 0.1)  # a tenth for what the zero point lacks
    assert metrics["object_mag"] == pytest.approx(19.5, abs=0.2)
    assert metrics["object_limit"] > 20.0
    with fits.open(path) as hdus:
        assert hdus["LIGHTCURVE"].data["mag"] == pytest.approx(np.asarray(found["mag"]))
