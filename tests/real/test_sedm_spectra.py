"""Public spectra of SEDM: their headers are recognised, their text is read and written to the letter."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.instruments import resolve
from nightpipe.instruments.registry import recognise
from nightpipe.io.anyspectrum import read_any
from nightpipe.io.sedm import as_text, name_of, read_text, spectrum_stem
from nightpipe.model.exposure import FrameType

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def files(shared_data):
    return sorted(shared_data("sedm-spectra").glob("*.txt"))


def exposure_of(path):
    """Return header and exposure of a public spectrum, under the name of its raw frame."""
    header = {key: _value(value) for key, value in read_text(path).header.items()}
    raw = "ifu" + path.name.partition("_crr_b_ifu")[2][:17] + ".fits"
    header["NAXIS1"] = 2048
    spec = recognise([header], raw)
    assert spec.name == "sedm"
    return header, resolve.exposure(spec, [header], raw)


def _value(text):
    try:
        return float(text) if "." in text or text.lstrip("-").isdigit() else text
    except ValueError:
        return text


def test_every_text_is_written_as_it_was_read(files):
    assert len(files) == 31
    for path in files:
        if path.name.startswith("spec_"):
            assert as_text(read_text(path)) == path.read_text()


def test_every_header_is_that_of_a_science_exposure_of_this_object(files):
    for path in files:
        header, exposure = exposure_of(path)
        name = path.stem.rsplit("_", 1)[1]
        assert exposure.type is FrameType.SCIENCE
        assert (exposure.target, name_of(exposure, header)) == (name, name)
        assert exposure.exptime == header["EXPTIME"] > 600
        assert exposure.airmass == pytest.approx(max(header["AIRMASS"], 1.0))
        day = f"{exposure.name[3:7]}-{exposure.name[7:9]}-{exposure.name[9:11]}"  # OBSDATE may be a day behind
        assert exposure.start.startswith(day)
        assert abs(exposure.object_ra - exposure.ra) < 0.3
        assert exposure.setup.mode in ("05313416", "5313416.0", "")  # one header has no serial number


def test_our_names_are_theirs(files):
    for path in (one for one in files if "_robot_" in one.name):
        header, exposure = exposure_of(path)
        assert spectrum_stem(exposure, header) == path.stem


def test_their_third_column_is_known_for_a_variance(files):
    found = read_any(next(path for path in files if path.name.startswith("spec_auto_robot")))
    assert "spectrum.variance" in {caveat.code for caveat in found.caveats}
    assert 3 < np.median(found.flux[found.good] / np.sqrt(found.var[found.good])) < 300
