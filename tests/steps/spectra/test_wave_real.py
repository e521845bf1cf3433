"""Real arcs and real night skies: ALFOSC grism 4, DBSP, Kast, SPRAT."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from builders.real import load
from nightpipe.base.errors import NightpipeError
from nightpipe.io.download import local
from nightpipe.io.references import line_list, sky_lines
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame
from nightpipe.qc.wave import sky_offsets
from nightpipe.steps.detector.gain import Electrons
from nightpipe.steps.detector.linearity import Linearity
from nightpipe.steps.detector.overscan import Overscan
from nightpipe.steps.spectra.flexure import Flexure
from nightpipe.steps.spectra.trace import FindSlit, WholeSlit
from nightpipe.steps.spectra.wavecal import Identify
from nightpipe.steps.spectra.wavemap import MapWavelength

pytestmark = pytest.mark.real
MEASURED = {"alfosc": (0.179, 5.7)}
"""Gain and read noise of the night where the header is wrong."""


@lru_cache(maxsize=4)
def cleaned(path: Path) -> Frame:
    raw = load(path)
    amplifiers = raw.detector.amplifiers
    gain, noise = zip(*(MEASURED.get(raw.exposure.instrument, (a.gain, a.read_noise)) for a in amplifiers), strict=True)
    zero = tuple(0.0 for _ in amplifiers)
    facts = Noise(tuple(a.name for a in amplifiers), gain, noise, zero, zero, gain, noise, "header", "header")
    return Electrons().run(Linearity().run(Overscan().run(raw)), facts)


@lru_cache(maxsize=8)
def solved(path: Path, flat: Path | None = None):
    arc = cleaned(path)
    slit = WholeSlit().run(arc) if flat is None else FindSlit().run(cleaned(flat))
    wave = Identify().run(arc, slit, line_list(arc.exposure.lamps))
    return MapWavelength().run(arc, slit, wave), slit


@pytest.fixture(name="alfosc")
def _alfosc(shared_data):
    return shared_data("alfosc-grism4-2020")


@pytest.fixture(name="dbsp")
def _dbsp():
    try:
        return local("dbsp-quicklook")
    except NightpipeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("number", ["200088", "200207"])
def test_alfosc_arcs_find_all_lines_of_the_truth_and_none_wrong(alfosc, number):
    wave, _ = solved(alfosc / "raw" / f"ALDc{number}.fits.gz")
    truth = np.loadtxt(alfosc / "truth" / "idarc.dat")
    nearest = np.argmin(np.abs(wave.lines.wave[None, :] - truth[:, 1:]), axis=1)
    assert np.max(np.abs(wave.lines.wave[nearest] - truth[:, 1])) < 1.2  # blends: weighted here, one of them there
    place = wave.lines.x[nearest] - truth[:, 0]
    assert np.max(np.abs(place - np.median(place))) < 0.3
    assert wave.lines.used[nearest].sum() >= 26
    assert wave.loo_px <= 0.08
    assert wave.lines.used.sum() >= 40
    assert wave.map_rms_px < 0.08


@pytest.mark.parametrize("line", [5578.887, 6302.046])
@pytest.mark.parametrize("number", ["200205", "200206"])
@pytest.mark.parametrize("arc", ["200088", "200207"])
def test_alfosc_sky_line_that_was_withheld(alfosc, number, arc, line):
    wave, slit = solved(alfosc / "raw" / f"ALDc{arc}.fits.gz")
    frame = cleaned(alfosc / "raw" / f"ALDc{number}.fits.gz")
    bent = Flexure(withhold=(line,)).run(frame, wave, slit, sky_lines())
    offsets = sky_offsets(frame, bent, slit, sky_lines(), 60, (line,))
    assert len(offsets) >= 5
    assert all(one.last - one.first >= 59 for one in offsets)
    assert all(one.sigma < 0.3 for one in offsets)
    assert all(abs(one.offset) < 0.2 + 2 * one.sigma for one in offsets)


def test_alfosc_standard_of_seconds_has_no_flexure_worth_having(alfosc):
    wave, slit = solved(alfosc / "raw" / "ALDc200088.fits.gz")
    found = Flexure().run(cleaned(alfosc / "raw" / "ALDc200086.fits.gz"), wave, slit, sky_lines())
    if found.warp is None:
        assert "flexure.none" in [caveat.code for caveat in found.caveats]
    else:
        assert abs(float(np.squeeze(found.warp.along(512.0, 200.0)))) < 0.5


def test_alfosc_flat_shows_no_slit_edge(alfosc):
    slit = FindSlit().run(cleaned(alfosc / "raw" / "ALDc200337.fits.gz"))
    assert not slit.measured
    assert slit.caveats[0].code == "slit.edges"


def test_dbsp_blue_iron_argon(dbsp):
    wave, slit = solved(dbsp / "blue0022.fits", dbsp / "blue0031.fits")
    assert slit.measured
    assert wave.lines.used.sum() > 80
    assert wave.loo_px < 0.2
    assert 0 < wave.range[1] - wave.range[0] - 2400 < 400


def test_dbsp_red_helium_neon_argon(dbsp):
    wave, slit = solved(dbsp / "red0022.fits", dbsp / "red0033.fits")
    assert slit.measured
    assert wave.lines.used.sum() > 40
    assert wave.rms_px < 0.09
    assert wave.map_rms_px < 0.12


def test_kast_blue(shared_data):
    raw = shared_data("kast-blue-2015") / "raw"
    wave, slit = solved(raw / "b1.fits.gz", raw / "b5.fits.gz")
    assert slit.measured
    assert wave.lines.used.sum() >= 20
    assert wave.loo_px < 0.08
    for line in (3889.750, 4047.708, 4359.560, 5087.239, 5462.267):
        k = int(np.argmin(np.abs(wave.lines.wave - line)))
        assert abs(wave.lines.wave[k] - line) < 0.1
        assert abs(wave.lines.residual[k]) < 0.3


@pytest.mark.parametrize("number", ["13", "28"])
def test_sprat_xenon(shared_data, number):
    wave, _ = solved(shared_data("sprat-2018") / "raw" / f"v_a_20180810_{number}_1_0_1.fits.gz")
    assert wave.lines.used.sum() >= 25
    assert wave.loo_px < 0.07 * wave.fwhm(512.0)
    for line in (4672.533, 5029.682, 7121.561):
        k = int(np.argmin(np.abs(wave.lines.wave - line)))
        assert abs(wave.lines.wave[k] - line) < 0.3
