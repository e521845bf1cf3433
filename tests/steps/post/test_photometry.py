"""The flux scale: brought to magnitudes, and how far it may be off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders import field
from nightpipe.base.errors import ConfigError
from nightpipe.maths.bands import ab_magnitude
from nightpipe.model.scene import Reason
from nightpipe.model.spectrum import Response
from nightpipe.steps.post.photometry import MatchPhotometry, StateFluxError, given


def magnitudes(spectrum):
    return {
        band: ab_magnitude(band, spectrum.wave, spectrum.flux, spectrum.err, spectrum.good)[0]
        for band in ("g", "r", "i")
    }


def test_the_magnitude_of_a_flat_spectrum_is_its_own():
    wave = np.arange(3500.0, 9800.0, 20.0)
    flux = 10 ** (-0.4 * (18.0 + 48.60)) * 2.99792458e18 / wave**2
    good = np.ones(wave.size, bool)
    for band in ("g", "r", "i"):
        found, error = ab_magnitude(band, wave, flux, 0.05 * flux, good)
        assert found == pytest.approx(18.0, abs=0.003)
        assert error == pytest.approx(0.05 * 1.0857 / np.sqrt(70), rel=0.25)
    assert np.isnan(ab_magnitude("z", wave[:200], flux[:200], flux[:200], good[:200])[0])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_spectrum_is_brought_to_its_magnitudes(order):
    spectrum = field.spectrum()
    own = magnitudes(spectrum)
    wanted = {band: value + shift for (band, value), shift in zip(own.items(), (0.3, 0.2, 0.25), strict=True)}
    text = ",".join(f"{band}={value:.3f}" for band, value in wanted.items())
    made = MatchPhotometry(magnitudes=text, order=order).run(spectrum)
    left = max(abs(value - wanted[band]) for band, value in magnitudes(made).items())
    assert left < (0.06 if order < 2 else 0.02)
    assert np.median(made.err / made.flux) == pytest.approx(np.median(spectrum.err / spectrum.flux))
    if order == 0:
        assert np.ptp(made.flux / spectrum.flux) == pytest.approx(0.0, abs=1e-9)


def test_no_magnitudes_change_nothing_and_odd_ones_are_refused():
    spectrum = field.spectrum()
    assert MatchPhotometry().run(spectrum) is spectrum
    with pytest.raises(ConfigError, match="g=17"):
        given("g:17")
    assert given("g=17.2+-0.03, r=17") == {"g": (17.2, 0.03), "r": (17.0, 0.0)}
    told = MatchPhotometry(magnitudes="z=17,r=15.3").run(spectrum)
    assert {caveat.code for caveat in told.caveats} == {"photometry.uncovered"}


def response(hours, airmass=1.2):
    wave = np.arange(3700.0, 9300.0, 5.0)
    none, span = np.zeros(0), (3700.0, 9300.0)
    return Response(wave, np.zeros(wave.size), np.full(wave.size, 0.02), span, none, none, none.astype(bool), ("star",),
                    (1.0,), "", mjd=58738.25 - hours / 24.0, airmass=airmass)  # fmt: skip


def test_the_scale_is_the_less_certain_the_older_and_the_lower_its_standard():
    made = [StateFluxError().run(field.spectrum(), response(*given)).meta for given in ((0, 1.2), (4, 1.2), (4, 2.2))]
    assert made[0]["flux_error"] == pytest.approx(0.02)
    assert made[0]["colour_error"] == 0.0
    assert made[1]["flux_error"] == pytest.approx(np.hypot(0.02, 0.06), rel=1e-6)
    assert made[2]["flux_error"] > made[1]["flux_error"]
    assert made[2]["colour_error"] > made[1]["colour_error"] > 0.0
    assert made[1]["standard_age"] == pytest.approx(4.0, abs=1e-6)
    old = StateFluxError().run(field.spectrum(), response(30))
    assert {caveat.code for caveat in old.caveats} == {"flux.old"}
    assert StateFluxError().run(field.spectrum(), None).meta == {}


@pytest.mark.parametrize(
    ("hours", "source", "old"), [(2.0, "night", False), (30.0, "night", True), (2.0, "library", True)]
)
def test_a_grade_knows_that_the_standard_is_of_another_night(hours, source, old):
    spectrum = field.spectrum()
    spectrum = spectrum.but(meta=spectrum.meta | {"quality": 0, "reasons": int(Reason.FAINT)})
    told = StateFluxError().run(spectrum, replace(response(hours), source=source))
    assert told.meta["reasons"] == int(Reason.FAINT) | (int(Reason.OLD_STANDARD) if old else 0)
    assert told.meta["quality"] == (2 if old else 0)
    spoilt = spectrum.but(meta=spectrum.meta | {"quality": 4})
    assert StateFluxError().run(spoilt, None).meta["quality"] == 4
    assert StateFluxError().run(spectrum, None).meta["reasons"] & int(Reason.OLD_STANDARD)
    assert "reasons" not in StateFluxError().run(field.spectrum(), None).meta
