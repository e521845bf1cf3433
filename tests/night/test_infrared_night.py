"""A simulated night of RIMAS through `reduce`: no bias, no overscan, a sky that moves, two arms."""

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
    folder = tmp_path_factory.mktemp("rimas")
    truth = write_night("rimas", folder / "raw", seed=5, filters=("J", "H"), exposures=5, host=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTPIPE_DATA", str(folder / "data"))
        import_tables([truth / "refcat.fits"], "refcat2")
        reduction = nightpipe.reduce(folder / "raw", out=folder / "out", workers=1, figures=False)
    return reduction, truth


def test_both_arms_are_stacked_on_a_common_sky(reduced):
    reduction, _ = reduced
    assert [target.metrics["frames_used"] for target in reduction.targets] == [5, 5]
    for outcome in reduction.outcomes.values():
        if outcome.node.recipe == "measure":
            assert outcome.node.inputs["skies"]
            assert "sky.own" not in {caveat.code for caveat in outcome.caveats}
    for target in reduction.targets:
        assert not {"pedestal.estimated", "detect.noise", "psf.poor"} & {caveat.code for caveat in target.caveats}
        assert len(target.exposures) == 5


def test_the_sky_is_as_bright_as_it_was(reduced):
    reduction, truth = reduced
    facts = json.loads((truth / "rimas.json").read_text())["exposures"]
    for one in (one for one in facts if one["type"] == "science"):
        run = next(node for node in reduction.outcomes.values()
                   if node.node.recipe == "measure" and one["file"].startswith(node.node.exposure))  # fmt: skip
        gain = 2.1 if one["camera"] == "C0" else 2.2
        sky = one["patches"][0]["sky"] / one["exptime"]
        assert run.record["metrics"]["sky"][0] * gain / 2.0 == pytest.approx(sky, rel=0.1)


def test_stars_lie_where_they_are(reduced):
    reduction, truth = reduced
    with fits.open(truth / "stars.fits") as hdus:
        stars = Table(hdus[1].data)
    for target in reduction.targets:
        path = next(product.path for product in target.products if product.kind == "Sources")
        found = Table.read(path.with_suffix(".ecsv"), format="ascii.ecsv")
        found = found[(found["quality"] == 0) & (found["flux"] > 30 * found["flux_error"])]
        years = 2025.92 - 2000.0
        dec = np.asarray(stars["DEC"])
        ra = np.asarray(stars["RA"]) + years * np.asarray(stars["PM_RA"]) / 3.6e6 / np.cos(np.radians(dec))
        dec = dec + years * np.asarray(stars["PM_DEC"]) / 3.6e6
        east = (np.asarray(found["ra"])[:, None] - ra[None]) * np.cos(np.radians(dec))[None] * 3600
        north = (np.asarray(found["dec"])[:, None] - dec[None]) * 3600
        nearest = np.hypot(east, north).min(axis=1)
        assert len(found) >= 20
        assert np.median(nearest) < 0.05
        assert np.mean(nearest < 0.3) > 0.9
