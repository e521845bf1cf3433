"""A supernova 2 arcsec from its host: blended with it on the stack, found in the difference with an earlier image."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

import nightpipe
from nightpipe.cli.main import app
from nightpipe.io.catalogues.store import import_tables
from nightpipe.simulate.night import write_night

pytestmark = pytest.mark.night
SCENE = {"filters": ("sdss_r",), "trails": False, "host": 17.5, "host_offset": 2.0}
"""Exposure times and seeing stay: the simulator draws galaxies as deep as these go, others for another depth."""


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Reduce a night before the explosion, elsewhere on the detector, and one after it."""
    folder = tmp_path_factory.mktemp("supernova")
    before = {"transient_mag": 30.0, "pointing_error": 25.0, "exposures": 4}
    truth = write_night("arcsat", folder / "old", seed=5, start="2019-04-20T04:00:00", **SCENE, **before)
    write_night("arcsat", folder / "new", seed=5, transient_mag=19.0, exposures=3, **SCENE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTPIPE_DATA", str(folder / "data"))
        import_tables([truth / "refcat.fits"], "refcat2")
        (old,) = nightpipe.reduce(folder / "old", out=folder / "out-old", workers=1, figures=False).targets
        reference = old.stack.path
        new = nightpipe.reduce(folder / "new", out=folder / "out-new", references=[reference], workers=1, figures=True)
    place = json.loads((folder / "new-truth" / "arcsat.json").read_text())["transient"]
    return new, reference, (place["ra"], place["dec"])


def offsets(table, place):
    """Return how far [arcsec] the rows lie from a place."""
    east = (np.asarray(table["ra"]) - place[0]) * np.cos(np.radians(place[1])) * 3600
    return np.hypot(east, (np.asarray(table["dec"]) - place[1]) * 3600)


def table_of(target, ending):
    path = next(product.path for product in target.products if product.path.stem.endswith(ending))
    return path, Table.read(path.with_suffix(".ecsv"), format="ascii.ecsv")


def test_the_supernova_is_found_in_the_difference(nights):
    reduction, _, place = nights
    (target,) = reduction.targets
    path, found = table_of(target, "_transients")
    real = found[found["quality"] == 0]
    off = offsets(real, place)
    assert off.min() < 0.7
    assert len(real) <= 3
    nearest = real[int(np.argmin(off))]
    assert nearest["mag"] == pytest.approx(19.0, abs=0.25)
    assert target.metrics["difference"][target.name]["mag"] == pytest.approx(19.0, abs=0.25)
    text = path.with_suffix(".txt").read_text()
    assert " real" in text
    assert f"{nearest['ra']:.6f}" in text


def test_it_is_no_new_source_of_the_catalogue_comparison(nights):
    reduction, _, place = nights
    _, found = table_of(reduction.targets[0], "_new")
    assert not (offsets(found, place) < 0.7).any()


def test_difference_and_figures_are_products(nights):
    reduction, _, _ = nights
    (target,) = reduction.targets
    path = next(product.path for product in target.products if product.kind == "Difference")
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus[1:7]] == ["SCI", "VAR", "MASK", "SIGNIF", "REFERENC", "PSF"]
    assert {"transients", "new"} <= {figure.stem.rpartition("_")[2] for figure in target.figures}


def test_findnew_takes_a_reference(nights, tmp_path):
    reduction, reference, place = nights
    image = reduction.targets[0].stack.path
    words = ["findnew", str(image), "--reference", str(reference), "--out", str(tmp_path / "new.txt")]
    result = CliRunner().invoke(app, [*words, "--bat", f"{place[0]}", f"{place[1]}", "1.0"])
    assert result.exit_code == 0, result.output
    first = (tmp_path / "new.txt").read_text().splitlines()
    rows = [line.split() for line in first if not line.startswith("#")]
    assert rows[0][-1] == "real"
    assert rows[0][7] == "1"
    assert offsets({"ra": [float(rows[0][1])], "dec": [float(rows[0][2])]}, place)[0] < 0.7
    assert (tmp_path / "new.png").exists()
