"""P200/DBSP, LT/SPRAT and Shane/Kast: one command each, no parameter touched."""

from __future__ import annotations

import pytest

from builders.nights import outputs, reduced
from nightpipe.base.errors import ReferenceMissingError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def sprat(shared_data, tmp_path_factory):
    return reduced(shared_data("sprat-2018") / "raw", tmp_path_factory.mktemp("sprat"))


@pytest.fixture(scope="module")
def kast(shared_data, tmp_path_factory):
    return reduced(shared_data("kast-blue-2015") / "raw", tmp_path_factory.mktemp("kast"))


@pytest.fixture(scope="module")
def dbsp(tmp_path_factory):
    from nightpipe.io.download import local

    try:
        raw = local("dbsp-quicklook")
    except ReferenceMissingError as error:
        pytest.skip(str(error))
    return reduced(raw, tmp_path_factory.mktemp("dbsp"))


def test_sprat_without_bias_flat_or_overscan_gives_fluxed_spectra(sprat):
    assert sprat.status.word == "caveats"
    assert {target.name for target in sprat.targets} == {"LHS6328", "Hilt102"}
    assert all(target.spectra[0].unit == "erg/s/cm2/Angstrom" for target in sprat.targets)
    assert {"bias.missing", "flat.missing"} <= {caveat.code for caveat in sprat["LHS6328"].caveats}


def test_sprat_arcs_are_solved_alike(sprat):
    waves = [one for one in sprat.outcomes.values() if one.node.recipe == "arc"]
    assert len(waves) == 2
    assert all(one.record["metrics"]["wave_rms_px"][0] < 0.25 for one in waves)


def test_kast_reduces_and_its_two_amplifiers_are_measured(kast):
    assert kast.status.word == "caveats"
    noise = outputs(kast, "noise").one("noise")
    assert noise.amplifiers == ("L", "R")
    assert noise.gain == pytest.approx((1.2, 1.25), abs=0.06)


@pytest.mark.parametrize("exposure", ["b24", "b27", "b28", "b29"])
def test_kast_has_one_object_a_frame(kast, exposure):
    assert len(outputs(kast, "extract", exposure).all("sources")) == 1


def test_kast_wavelengths_agree_with_the_published_reduction(kast, shared_data):
    import numpy as np
    from astropy.io import fits

    ours = outputs(kast, "extract", "b28").all("spectra")[0]
    with fits.open(shared_data("kast-blue-2015") / "truth" / "spec1d_b28.fits.gz") as hdus:
        table = hdus[1].data
        wave, counts = np.array(table["OPT_WAVE"]), np.array(table["OPT_COUNTS"])
    window = (ours.wave > 4461.0) & (ours.wave < 5261.0)
    theirs = np.interp(ours.wave[window], wave, counts)
    shifts = np.linspace(-3, 3, 121)
    score = [np.corrcoef(np.interp(ours.wave[window] + s, ours.wave, ours.flux), theirs)[0, 1] for s in shifts]
    assert abs(shifts[int(np.argmax(score))]) < 1.0


def test_dbsp_arms_agree_where_they_overlap(dbsp):
    assert dbsp["BD+28d4211"].spectra[0].meta["splice_ratio"] == pytest.approx(1.0, abs=0.05)


def test_dbsp_needs_no_bias(dbsp):
    assert dbsp.status.word == "caveats"
    assert {"bias.missing"} <= {caveat.code for caveat in dbsp["BD+28d4211"].caveats}
    assert any("slit" in caveat.code for caveat in dbsp["BD+28d4211"].caveats)


@pytest.mark.parametrize("exposure", ["blue0050", "red0052"])
def test_dbsp_standard_is_one_object(dbsp, exposure):
    assert len(outputs(dbsp, "extract", exposure).all("sources")) == 1
