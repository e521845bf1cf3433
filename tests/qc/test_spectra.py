"""Numbers that judge sky and noise."""

from __future__ import annotations

import numpy as np
import pytest

from builders.slit import Scene, build
from nightpipe.base.errors import DataError
from nightpipe.model.spectrum import Spectrum
from nightpipe.qc.spectra import empirical_noise, empirical_snr, sky_chi, snr_median
from nightpipe.steps.spectra.sky import SubtractSky


def spectrum(seed, claimed=1.0, scale=1.0, n=900):
    rng = np.random.default_rng(seed)
    wave = np.linspace(4000, 8500, n)
    true = 100 * (1 + 0.3 * np.sin(wave / 200)) * scale
    flux = true + rng.normal(0, 8.0 * scale, n)
    var = np.full(n, (8.0 * scale * claimed) ** 2)
    zero = np.zeros(n)
    return Spectrum("OBJ1", wave, flux, var, zero.astype(np.uint32), zero, "electron", zero)


def test_formal_and_empirical_noise_agree_where_the_variance_is_right():
    noise = empirical_noise(spectrum(1), spectrum(2, scale=0.7))
    assert noise.scatter == pytest.approx(1.0, abs=0.08)
    assert noise.snr == pytest.approx(np.sqrt(2) * snr_median(spectrum(1)), rel=0.1)
    assert empirical_snr(spectrum(1), spectrum(2)) == pytest.approx(noise.snr, rel=0.1)


@pytest.mark.parametrize("window", [31, 61, 121])
def test_the_empirical_noise_has_no_bias_from_the_ratio_that_it_follows(window):
    squares = [empirical_noise(spectrum(2 * k), spectrum(2 * k + 1), window=window).scatter ** 2 for k in range(120)]
    error = np.std(squares) / np.sqrt(len(squares))
    assert error < 0.006
    assert np.mean(squares) == pytest.approx(1.0, abs=3 * error)


def test_a_variance_that_claims_too_much_is_found_out():
    noise = empirical_noise(spectrum(1, claimed=0.5), spectrum(2, claimed=0.5))
    assert noise.scatter == pytest.approx(2.0, rel=0.1)
    assert noise.formal == pytest.approx(2.0 * noise.snr, rel=0.1)


def test_spectra_on_other_pixels_cannot_be_compared():
    with pytest.raises(DataError, match="same pixels"):
        empirical_noise(spectrum(1), spectrum(2, n=800))


def test_the_sky_residual_has_the_size_of_its_error_and_a_wrong_error_shows():
    built = build(Scene(), seed=3)
    sky = SubtractSky().run(frame=built.frame, wave=built.wave, slit=built.slit, sources=())
    windows = ((4200.0, 4280.0), (4330.0, 4450.0))
    assert sky_chi(built.frame, sky, built.wave, windows=windows) == pytest.approx(1.0, abs=0.04)
    loud = built.frame.but(read_var=built.frame.read_var + 200)
    assert sky_chi(loud, sky, built.wave, windows=windows) < 0.75
    with pytest.raises(DataError, match="windows"):
        sky_chi(built.frame, sky, built.wave, windows=((9000.0, 9100.0),))
