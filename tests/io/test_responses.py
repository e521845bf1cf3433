"""The library of responses: written, found again, told to be from another night."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.flux import exposure, observed
from nightpipe.base.errors import MissingCardError
from nightpipe.io.references import extinction, find_standard
from nightpipe.io.responses import library_response, write_response
from nightpipe.io.tables import facts, folder
from nightpipe.model.exposure import Setup
from nightpipe.steps.post.fluxcal import FluxCalibrate
from nightpipe.steps.post.sensitivity import Sensitivity

AIR = extinction("La Palma")


@pytest.fixture(scope="module")
def measured():
    star = find_standard("Feige 34")
    spectrum, truth = observed(star, AIR)
    return Sensitivity().run((spectrum,), (star,), AIR), spectrum, truth


def test_round_trip(tmp_path, measured):
    response, spectrum, _ = measured
    write_response(tmp_path / "one.dat", response, spectrum.exposure)
    found = library_response(replace(spectrum.exposure, mjd=58940.0), tmp_path)
    assert found is not None
    assert found.source == "library"
    assert found.standards == response.standards
    assert found.range == pytest.approx(response.range, abs=0.01)
    ours, _ = found.at(response.wave)
    assert np.max(np.abs(ours - response.log_response)) < 0.003
    assert [caveat.code for caveat in found.caveats] == ["flux.library"]


def test_calibration_with_the_library_says_so(tmp_path, measured):
    response, spectrum, truth = measured
    write_response(tmp_path / "one.dat", response, spectrum.exposure)
    fluxed = FluxCalibrate().run(spectrum, library_response(spectrum.exposure, tmp_path), AIR)
    assert "flux.library" in [caveat.code for caveat in fluxed.caveats]
    assert fluxed.meta["response_source"] == "library"
    clear = (fluxed.wave > 4000) & (fluxed.wave < 6800)
    assert np.median(fluxed.flux[clear] / truth[clear]) == pytest.approx(1.0, abs=0.01)


def test_nearest_setup_and_night_are_preferred(tmp_path, measured):
    response, spectrum, _ = measured
    other = replace(spectrum.exposure, setup=replace(spectrum.exposure.setup, filter="GG420"))
    write_response(tmp_path / "old.dat", replace(response, mjd=58000.0), spectrum.exposure)
    write_response(tmp_path / "new.dat", replace(response, mjd=58930.0), spectrum.exposure)
    write_response(tmp_path / "filtered.dat", replace(response, mjd=58928.9), other)
    plain, blocked = library_response(spectrum.exposure, tmp_path), library_response(other, tmp_path)
    assert plain is not None
    assert blocked is not None
    assert plain.mjd == 58930.0
    assert blocked.mjd == 58928.9
    with_other = replace(other, setup=replace(other.setup, filter="OG515"))
    told = library_response(with_other, tmp_path)
    assert told is not None
    assert "flux.library_filter" in [caveat.code for caveat in told.caveats]


def test_other_dispersers_have_none(tmp_path, measured):
    response, spectrum, _ = measured
    write_response(tmp_path / "one.dat", response, spectrum.exposure)
    assert library_response(exposure(setup=Setup(disperser="another")), tmp_path) is None


def test_a_response_over_nothing_is_not_written(tmp_path, measured):
    response, spectrum, _ = measured
    with pytest.raises(MissingCardError):
        write_response(tmp_path / "x.dat", replace(response, range=(5000.0, 5000.0)), spectrum.exposure)


@pytest.mark.parametrize("path", sorted(folder("responses").glob("*.dat")), ids=lambda path: path.stem)
def test_packaged_responses_are_credible(path):
    known = facts(path)
    there = replace(exposure(), instrument=known["instrument"], mjd=float(known["mjd"]))
    there = replace(there, setup=Setup(arm=known["arm"], disperser=known["disperser"], filter=known["filter"]))
    response = library_response(there)
    assert response is not None
    assert np.all(np.diff(response.wave) > 0)
    assert 25.0 < response.log_response.max() < 40.0
    assert known["standards"]
