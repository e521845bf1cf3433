"""Nights in which something is missing or wrong: the right caveat or error, and a spectrum all the same."""

from __future__ import annotations

import shutil

import pytest
from astropy.io import fits

import nightpipe
from nightpipe.base.errors import PlanError
from nightpipe.simulate.night import write_night

pytestmark = pytest.mark.faults

TARGET = "SIM"


def reduced(raw, out):
    return nightpipe.reduce(raw, out=out, workers=1, figures=False)


def night(tmp_path, fault: str):
    raw = tmp_path / "raw"
    write_night("alfosc", raw, seed=3, exposures=1, faults=(fault,))
    return reduced(raw, tmp_path / "out")


def target_of(reduction):
    return next(one for one in reduction.targets if one.name.startswith(TARGET))


def codes(reduction) -> set[str]:
    return {caveat.code for caveat in target_of(reduction).caveats}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("no-arc", "wave.nominal"),
        ("no-flat", "flat.missing"),
        ("no-bias", "bias.missing"),
        ("no-standard", "flux.library"),
    ],
)
def test_what_is_missing_is_a_caveat_and_the_spectrum_is_there(tmp_path, fault, code):
    reduction = night(tmp_path, fault)
    assert target_of(reduction).spectra
    assert code in codes(reduction)
    assert reduction.status.word == "caveats"


def test_a_dead_lamp_is_unprocessable_and_the_spectrum_falls_back(tmp_path):
    reduction = night(tmp_path, "dead-lamp")
    arcs = [one for one in reduction.outcomes.values() if one.node.recipe == "arc"]
    assert any(one.state.value == "unprocessable" and "lines" in one.message for one in arcs), [a.message for a in arcs]
    assert target_of(reduction).spectra
    assert reduction.status.word == "failed"


def test_a_saturated_arc_is_refused_or_solved_by_its_unsaturated_lines_and_says_so(tmp_path):
    reduction = night(tmp_path, "saturated-arc")
    arcs = [one for one in reduction.outcomes.values() if one.node.recipe == "arc"]
    said = [one.message + " ".join(caveat.code for caveat in one.caveats) for one in arcs]
    assert any("saturated" in text for text in said), said
    assert target_of(reduction).spectra


def test_a_star_off_the_slit_is_not_found_and_not_invented(tmp_path):
    reduction = night(tmp_path, "star-off-slit")
    for spectrum in target_of(reduction).spectra:
        assert float(spectrum.meta["snr"]) < 20


def test_a_frame_of_another_binning_does_not_stop_the_night(tmp_path):
    reduction = night(tmp_path, "mixed-binning")
    assert target_of(reduction).spectra


@pytest.fixture(scope="module")
def raw_night(tmp_path_factory):
    raw = tmp_path_factory.mktemp("night") / "raw"
    write_night("alfosc", raw, seed=4, exposures=1)
    return raw


@pytest.fixture
def copied(raw_night, tmp_path):
    shutil.copytree(raw_night, tmp_path / "raw")
    return tmp_path / "raw"


def frame_of_type(folder, image_type: str):
    for path in sorted(folder.glob("*.fits")):
        if fits.getheader(path).get("IMAGETYP", "").startswith(image_type):
            return path
    raise LookupError(image_type)


def test_bad_files_are_named_and_the_rest_is_reduced(copied, tmp_path):
    flats = sorted(path for path in copied.glob("*.fits") if fits.getheader(path)["IMAGETYP"].startswith("FLAT"))
    flats[0].write_bytes(flats[0].read_bytes()[:40000])
    (copied / "unknown.fits").write_bytes((copied / flats[1].name).read_bytes().replace(b"ALFOSC_FASU", b"NOBODY_KNOW"))
    (copied / "note.fits").write_text("not a FITS file")
    with fits.open(flats[1], mode="update") as hdus:
        hdus[1].header["GAIN"] = "unknown"
    reduction = reduced(copied, tmp_path / "out")
    reasons = {one.name: one.reason for one in reduction.exposures if one.reason}
    assert any("truncated" in text for text in reasons.values()), reasons
    assert any("unknown.fits" in name for name in reasons)
    assert any("note.fits" in name for name in reasons)
    assert target_of(reduction).spectra
    assert reduction.status.word == "failed"


def test_a_missing_card_is_named(copied, tmp_path):
    path = frame_of_type(copied, "OBJECT")
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["EXPTIME"]
    reduction = reduced(copied, tmp_path / "out")
    reason = next(one.reason for one in reduction.exposures if path.name in one.path)
    assert "EXPTIME" in reason


def test_an_empty_folder_and_one_without_fits_say_what_to_do(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PlanError, match="FITS frames"):
        reduced(empty, tmp_path / "out")
    (empty / "readme.txt").write_text("nothing here")
    with pytest.raises(PlanError, match="name the folder"):
        reduced(empty, tmp_path / "out")
