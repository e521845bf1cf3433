"""A simulated night of every long-slit instrument through `reduce`, no parameter touched, against its truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from builders.nights import outputs, reduced
from nightpipe.io.references import extinction, find_standard
from nightpipe.maths.features import HELIUM, METALS, TELLURIC, balmer, in_bands, near_lines, paschen
from nightpipe.simulate.night import write_night
from nightpipe.steps.post.fluxcal import FluxCalibrate
from nightpipe.steps.post.sensitivity import Sensitivity

pytestmark = pytest.mark.night

ARMS = ("alfosc", "dbsp_blue", "dbsp_red", "kast_blue", "kast_red", "sprat")
EDGE = 12


@dataclass(frozen=True)
class Arm:
    """One arm of a reduced night and its truth."""

    name: str
    reduction: Any
    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / f"{self.name}.json").read_text())

    def files(self, *types: str) -> list[dict[str, Any]]:
        return [one for one in self.facts["exposures"] if one["type"] in types]

    def truth(self, exposure: dict[str, Any], name: str) -> Any:
        with fits.open(self.folder / exposure["file"], memmap=False) as hdus:
            return hdus[name].data.copy()

    def outputs(self, recipe: str, exposure: dict[str, Any]):
        return outputs(self.reduction, recipe, exposure["file"].removesuffix(".fits"))

    def metric(self, recipe: str, exposure: dict[str, Any], name: str) -> float:
        stem = exposure["file"].removesuffix(".fits")
        found = [one for key, one in self.reduction.outcomes.items() if one.node.recipe == recipe and stem in key]
        return float(found[0].record["metrics"][name][0])


@pytest.fixture(scope="session")
def night(tmp_path_factory):
    """Return a function that simulates and reduces an instrument's night, once per run of the tests."""
    done: dict[str, Any] = {}

    def made(arm: str) -> Arm:
        instrument = arm.partition("_")[0]
        if instrument not in done:
            raw = tmp_path_factory.mktemp(instrument) / "raw"
            folder = write_night(instrument, raw, seed=5)
            done[instrument] = reduced(raw, raw.with_name("out")), folder
        return Arm(arm, *done[instrument])

    return made


@pytest.fixture(params=ARMS)
def arm(night, request) -> Arm:
    return night(request.param)


def test_the_night_ends_with_flux_and_caveats(arm):
    assert arm.reduction.status.word == "caveats"
    assert [one.message for one in arm.reduction.outcomes.values() if not one.state.good] == []
    assert len(arm.reduction.targets) == 3
    assert all(target.spectra[0].unit == "erg/s/cm2/Angstrom" for target in arm.reduction.targets)


def test_a_wrong_gain_in_the_header_is_contradicted(arm):
    noise = outputs(arm.reduction, "noise", arm.name if "_" in arm.name else "").one("noise")
    (setup,) = list(arm.facts["setups"].values())[:1]
    assert noise.gain == pytest.approx([one["gain"] for one in setup["amplifiers"]], rel=0.03)


def test_each_exposure_has_one_object_where_it_stands(arm):
    for exposure in arm.files("science", "standard"):
        table = arm.truth(exposure, "OBJECT1")
        sources = arm.outputs("extract", exposure).all("sources")
        assert abs(sources[0].y - np.interp(0.5 * len(table), table["X"], table["Y"])) < 0.2, exposure["file"]
        assert len(sources) == 1, exposure["file"]


def test_input_lines_are_recovered_on_the_whole_frame(arm):
    seen = 0
    for exposure in arm.files("arc"):
        try:
            wave = arm.outputs("arc", exposure).one("wave")
        except LookupError:  # another arc is nearer to every exposure
            continue
        assert np.sqrt(np.mean(_line_errors(arm, exposure, wave) ** 2)) < 0.03, exposure["file"]
        seen += 1
    assert seen


def _line_errors(arm: Arm, exposure, wave) -> np.ndarray:
    """Return errors [pixel] of the strong listed lines on seven rows."""
    lines, truth = arm.truth(exposure, "LINES"), arm.truth(exposure, "WAVE").astype(float)
    listed = lines["LISTED"] & (lines["WAVE"] > wave.range[0]) & (lines["WAVE"] < wave.range[1])
    at = lines["WAVE"][listed & (lines["ELECTRONS"] > 0.01 * lines["ELECTRONS"][listed].max())]
    assert len(at) >= 8
    x = np.arange(truth.shape[1])
    rows = np.linspace(6, truth.shape[0] - 7, 7).astype(int)
    errors = []
    for row in rows:
        place = np.interp(at, truth[row], x)
        slope = np.gradient(truth[row])[np.round(place).astype(int)]
        errors.append((wave.at(place, np.full(len(at), float(row))) - at) / slope)
    return np.array(errors)


def _scale_errors(arm: Arm, exposure) -> np.ndarray:
    """Return errors [pixel] of an exposure's wavelengths along its object, flexure and all."""
    wave = arm.outputs("extract", exposure).one("wave")
    table, truth = arm.truth(exposure, "OBJECT1"), arm.truth(exposure, "WAVE").astype(float)
    x = np.arange(EDGE, truth.shape[1] - EDGE, 7)
    y = np.interp(x, table["X"], table["Y"])
    low = np.floor(y).astype(int)
    true = truth[low, x] + (y - low) * (truth[low + 1, x] - truth[low, x])
    error = (wave.at(x.astype(float), y) - true) / np.gradient(true, x)
    return error[(true > wave.range[0]) & (true < wave.range[1])]


def test_flexure_is_undone_on_every_exposure(arm):
    for exposure in arm.files("science", "standard"):
        wave = arm.outputs("extract", exposure).one("wave")
        if wave.warp is None:  # seven seconds of sky: no line is seen, and that is said
            assert "flexure.none" in {caveat.code for caveat in wave.caveats}
            continue
        middle = np.array(wave.shape[::-1], dtype=float)[:, None] / 2  # short exposures show few lines, and say so
        doubt = float(wave.warp.along.sigma(*middle)[0])
        assert doubt < 0.06, exposure["file"]
        assert abs(np.median(_scale_errors(arm, exposure))) < max(0.06, 3.0 * doubt), exposure["file"]


def test_the_sky_leaves_noise_alone(arm):
    for exposure in arm.files("science"):
        assert 0.95 <= arm.metric("extract", exposure, "sky_chi") <= 1.05, exposure["file"]


def test_counts_are_those_of_the_slits_median(arm):
    """A flat is one at the slit's median, so counts are what the median of the slit would have passed.

    The gain that was measured goes in, by up to a per cent. Dust on the slit at the very place of a star, two per cent
    deep, stays in where nothing shows where it lies; under a faint target it leaves a trace of the sky, too.
    """
    (setup,) = list(arm.facts["setups"].values())[:1]
    noise = outputs(arm.reduction, "noise", arm.name if "_" in arm.name else "").one("noise")
    gain = float(np.mean(np.array(noise.gain) / [one["gain"] for one in setup["amplifiers"]]))
    assert abs(gain - 1.0) < 0.01
    ratios = {one["file"]: _counts_over_truth(arm, one) / gain for one in arm.files("science", "standard")}
    stars = [ratios[one["file"]] for one in arm.files("standard")]
    assert 0.98 < np.mean(stars) < 1.01, ratios
    assert np.all(np.abs(np.array(list(ratios.values())) - 1.0) < 0.03), ratios


def _counts_over_truth(arm: Arm, exposure) -> float:
    """Return the counts over the true ones times the slit's median transmission."""
    spectrum, table = arm.outputs("extract", exposure).all("spectra")[0], arm.truth(exposure, "OBJECT1")
    use = spectrum.good & (spectrum.var > 0)
    use[:EDGE] = use[-EDGE:] = False
    true = np.interp(spectrum.wave[use], table["WAVE"], table["COUNTS"])
    slit = arm.facts["setups"][exposure["setup"]]["slit"]
    with fits.open(arm.folder / f"{exposure['setup']}.fits", memmap=False) as hdus:
        passed = hdus["SLIT"].data[:, hdus["SLIT"].data.shape[1] // 2]
    low, high = (int(np.clip(slit[name], 0, len(passed) - 1)) for name in ("low", "high"))
    return float(spectrum.flux[use].sum() / true.sum() / np.median(passed[low : high + 1]))


def test_counts_scatter_as_their_errors_say(arm):
    """The mean may stand off, see above: the scatter may not."""
    for exposure in arm.files("science"):
        spectrum, table = arm.outputs("extract", exposure).all("spectra")[0], arm.truth(exposure, "OBJECT1")
        use = spectrum.good & (spectrum.var > 0)
        use[:EDGE] = use[-EDGE:] = False
        true = np.interp(spectrum.wave[use], table["WAVE"], table["COUNTS"])
        pull = (spectrum.flux[use] - true) / np.sqrt(spectrum.var[use])
        assert 0.9 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.1, exposure["file"]


def test_flux_of_the_target_follows_the_truth(arm):
    """Slit losses are taken out by the truth: the response is that of the star which lost least."""
    for exposure in arm.files("science"):
        spectrum, table = arm.outputs("calibrate", exposure).all("spectra")[0], arm.truth(exposure, "OBJECT1")
        use = spectrum.good & clear_of_bands(spectrum.wave)
        true = np.interp(spectrum.wave, table["WAVE"], table["FLUX"])
        blocks = np.array_split(np.flatnonzero(use & (true > 0)), 12)
        ratio = np.array([spectrum.flux[k].sum() / true[k].sum() for k in blocks])
        error = np.array([np.sqrt(spectrum.var[k].sum()) / true[k].sum() for k in blocks])
        assert np.all(np.abs(ratio / np.median(ratio) - 1) < 0.04 + 3 * error), (exposure["file"], ratio.round(3))
        assert 0.9 < np.median(ratio) < 1.1


def test_each_standard_calibrated_by_the_other_agrees_with_its_table(arm):
    """Raw frames to flux, the response from one star alone; what the slit took from either is the simulator's word."""
    one, other = arm.files("standard")
    for star, by in ((one, other), (other, one)):
        wave, ratio = _calibrated(arm, star, by)
        assert len(wave) >= 20
        assert np.sqrt(np.mean((ratio - 1.0) ** 2)) < 0.02, (star["target"], float(np.mean(ratio)))


def clear_of_bands(wave: np.ndarray) -> np.ndarray:
    """Return where neither the air nor a star has bands or strong lines."""
    stellar = near_lines(wave, balmer() + HELIUM, 40.0) | near_lines(wave, paschen(), 60.0)
    stellar |= np.any([np.abs(wave - centre) < half for centre, half in METALS], axis=0)
    return ~stellar & ~in_bands(wave, TELLURIC, pad=15.0) & (wave > 3950.0)


def _calibrated(arm: Arm, star, by) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelength and flux over table of `star` by the response of `by`: clear bins of about ten pixels."""
    spectra = [arm.outputs("extract", exposure).all("spectra")[0] for exposure in (star, by)]
    tables = [find_standard(exposure["target"], None, None) for exposure in (star, by)]
    site = extinction(spectra[0].exposure.site)
    response = Sensitivity().run((spectra[1],), (tables[1],), site)
    fluxed = FluxCalibrate().run(spectra[0], response, site)
    use = fluxed.good & clear_of_bands(fluxed.wave)
    lost = [arm.truth(exposure, "OBJECT1") for exposure in (star, by)]
    passed = [np.interp(fluxed.wave, table["WAVE"], table["PASSED"]) for table in lost]
    expected = np.interp(fluxed.wave, tables[0].wave, tables[0].flux) * passed[0] / passed[1]
    blocks = [k for k in np.array_split(np.flatnonzero(use), max(use.sum() // 10, 1)) if len(k)]
    ratio = [fluxed.flux[k].sum() / expected[k].sum() for k in blocks]
    return np.array([fluxed.wave[k].mean() for k in blocks]), np.array(ratio)
