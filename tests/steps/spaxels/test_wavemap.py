"""Wavelengths and response of a lenslet unit on simulated afternoons, against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from builders.ifulamps import Afternoon, afternoon
from nightpipe.base.errors import BadFrameError
from nightpipe.io.references import line_list
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.spaxels import Spaxel, SpaxelSet, SpaxelWaves
from nightpipe.steps.spaxels.extract import ExtractSpaxels
from nightpipe.steps.spaxels.find import FindSpaxels
from nightpipe.steps.spaxels.flat import FlatSpaxels
from nightpipe.steps.spaxels.wavemap import MapSpaxels

pytestmark = [pytest.mark.night, pytest.mark.slow]

LAMPS = ("Cd", "Hg", "Xe")
LINES = tuple(line_list((name,)) for name in LAMPS)
WAVES = np.array([4047.7, 4500.0, 5000.0, 5579.0, 6500.0, 7600.0, 8500.0, 9165.0])


@dataclass(frozen=True)
class Calibrated:
    """An afternoon, its spectra's places, its lamps' spectra."""

    made: Afternoon
    spaxels: SpaxelSet
    lamps: dict[str, SpaxelSpectra]

    def mapped(self, *names: str, **parameters) -> SpaxelWaves:
        lenslets = self.made.electrons("dome").disperser.lenslets
        lamps = tuple(self.lamps[name] for name in names or LAMPS)
        return MapSpaxels(**parameters).run(lamps, self.spaxels, lenslets, LINES)

    def whole(self) -> np.ndarray:
        """Return the lenslets that were measured and that no edge cuts."""
        inside = (self.spaxels.span[:, 0] > 0) & (self.spaxels.span[:, 1] < self.spaxels.shape[1] - 1)
        return np.flatnonzero(inside & (self.spaxels.state == Spaxel.MEASURED))

    def errors(self, waves: SpaxelWaves, wave: np.ndarray = WAVES) -> np.ndarray:
        """Return the errors of the whole lenslets [Angstrom] at `wave`, (n, w)."""
        chosen = self.whole()
        true = self.made.index(self.spaxels.q, self.spaxels.r)[chosen]
        place = np.array([self.made.column(k, wave) for k in true])
        step = np.array([self.made.column(k, wave + 1) - self.made.column(k, wave - 1) for k in true]) / 2
        found = np.stack([waves.column(chosen, np.full(len(chosen), one)) for one in wave], axis=1)
        return (found - place) / step


@cache
def calibrated(seed: int, faults: str = "", epoch: str = "pixis") -> Calibrated:
    made = afternoon(seed, epoch=epoch, **({"faults": faults} if faults else {}))
    spaxels = FindSpaxels().run(made.electrons("dome"))
    shown = [name for name in LAMPS if faults != "no-xe" or name != "Xe"]
    lamps = {name: ExtractSpaxels().run(made.electrons("lamp", name), spaxels) for name in shown}
    return Calibrated(made, spaxels, lamps)


@pytest.fixture(scope="module", params=[(1, "pixis"), (2, "andor")], ids=["pixis", "andor"])
def own(request) -> tuple[Calibrated, SpaxelWaves]:
    seed, epoch = request.param
    found = calibrated(seed, epoch=epoch)
    return found, found.mapped()


def test_lenslets_that_the_edge_cuts_have_wavelengths_of_their_own(own):
    """Their spectra begin at the frame's edge, not where the light does: some were off by thousands of A."""
    found, waves = own
    true = found.made.index(found.spaxels.q, found.spaxels.r)
    cut = np.flatnonzero((true >= 0) & (found.spaxels.state == Spaxel.MEASURED))
    cut = np.setdiff1d(cut, found.whole())
    assert len(cut) > 60
    place = np.array([found.made.column(true[k], WAVES) for k in cut])
    step = np.array([found.made.column(true[k], WAVES + 1) - found.made.column(true[k], WAVES - 1) for k in cut]) / 2
    got = np.stack([waves.column(cut, np.full(len(cut), one)) for one in WAVES], axis=1)
    error = np.where((place > 2) & (place < found.made.width - 3), (got - place) / step, np.nan)
    assert np.sqrt(np.nanmean(error**2)) < 3.0
    assert np.nanpercentile(np.abs(error), 95) < 6.0


def test_wavelengths_are_right_to_an_angstrom_and_a_half(own):
    found, waves = own
    rms = np.sqrt(np.mean(found.errors(waves) ** 2, axis=1))
    assert len(rms) > 1300
    assert np.median(rms) < 1.5
    assert np.percentile(rms, 99) < 3.0
    ends = found.errors(waves, np.array([3700.0, 9300.0]))
    assert np.sqrt(np.mean(ends**2, axis=0)).max() < 6.0, "beyond the lines the law goes on smoothly"


def test_lenslets_agree_with_each_other_far_better(own):
    found, waves = own
    off = found.errors(waves)
    assert np.std(off - off.mean(axis=0), axis=0).max() < 0.8


def test_the_lines_own_scatter_and_width_are_told(own):
    found, waves = own
    chosen = found.whole()
    true = found.made.index(found.spaxels.q, found.spaxels.r)[chosen]
    assert waves.range[0] < 4048.0
    assert waves.range[1] > 8800.0
    assert np.median(waves.used[chosen]) > 20
    assert waves.lamps == LAMPS
    ratio = waves.fwhm_px[chosen, 0] / (2.3548 * found.made.lenslets.line[true])
    assert np.median(ratio) == pytest.approx(1.0, abs=0.04)
    assert np.std(ratio) < 0.02
    assert not any(caveat.code in ("wave.poor", "wave.wrong_lamp") for caveat in waves.caveats)


def test_what_the_smooth_run_over_the_field_buys():
    found = calibrated(1)
    smooth, each = (found.errors(found.mapped(degree=degree)) for degree in (5, 0))
    noise = [np.std(off - off.mean(axis=0), axis=0).mean() for off in (smooth, each)]
    assert noise[0] <= noise[1] * 1.02


def test_a_lamp_that_is_not_what_its_header_says_is_told_and_the_others_go_on():
    found = calibrated(4, "wrong-lamp")
    waves = found.mapped()
    told = [caveat for caveat in waves.caveats if caveat.code == "wave.wrong_lamp"]
    assert len(told) == 1
    assert "is named Cd and shows the lines of Hg" in told[0].text
    assert any(caveat.code == "wave.lamp_missing" and "Cd" in caveat.text for caveat in waves.caveats)
    assert set(waves.lamps) == {"Hg", "Xe"}
    assert np.median(np.sqrt(np.mean(found.errors(waves) ** 2, axis=1))) < 6.0


def test_lamps_without_lines_are_refused():
    found = calibrated(1)
    dark = found.lamps["Hg"]
    dark = dark.but(flux=np.random.default_rng(1).normal(0, 10, dark.flux.shape).astype(np.float32))
    lenslets = found.made.electrons("dome").disperser.lenslets
    with pytest.raises(BadFrameError, match="shows no lamp's lines"):
        MapSpaxels().run((dark,), found.spaxels, lenslets, LINES)


def test_the_response_of_the_lenslets_is_told_to_half_a_per_cent():
    found = calibrated(1)
    dome = ExtractSpaxels().run(found.made.electrons("dome"), found.spaxels, found.mapped())
    flat = FlatSpaxels().run(dome, found.spaxels)
    lenslets = found.made.lenslets
    true = found.made.index(found.spaxels.q, found.spaxels.r)
    slope = lenslets.slope[:, None] * (flat.wave - 6500.0) / 1000.0
    response = lenslets.response[:, None] * (1.0 + slope)
    chosen = found.whole()
    ratio = flat.values[chosen] / (response[true[chosen]] / np.median(response[true[chosen]], axis=0))
    band = (flat.wave > 4500) & (flat.wave < 9000)
    assert np.std(ratio[:, band]) < 0.006
    assert np.abs(np.median(ratio[:, band], axis=0) - 1.0).max() < 0.005
    assert np.std(ratio[:, flat.wave < 4500], axis=0).max() < 0.03
    assert (flat.values[found.spaxels.state == Spaxel.DEAD] == 0).all()


def test_a_dome_without_wavelengths_is_refused():
    found = calibrated(1)
    with pytest.raises(BadFrameError, match="wavelengths"):
        FlatSpaxels().run(found.lamps["Hg"], found.spaxels)
