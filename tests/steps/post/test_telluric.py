"""Oxygen and water measured in spectra whose air is known, and taken out of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.flux import LA_PALMA, exposure
from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io import download, telluric
from nightpipe.maths.telluric import Column, blurred, fine_transmission
from nightpipe.model.flags import Flag
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.post.telluric import CorrectTelluric, FitAir

AIRMASS = 1.4


def continuum(wave):
    """A supernova's: broad bumps, one of them under the A band."""
    x = (wave - 7000.0) / 1000.0
    return 1.0 - 0.15 * x + 0.2 * np.exp(-0.5 * ((wave - 7750.0) / 220.0) ** 2) - 0.1 * np.sin(wave / 180.0)


def observed(depth, *, water=4.0, oxygen=1.0, fwhm=15.0, step=3.5, snr=100.0, seed=1, shift=0.0, lsf=1.0, mjd=58928.9):
    """A spectrum through known air, seen by a slit: its line-spread function is a box on a Gaussian."""
    rng = np.random.default_rng(seed)
    fine = np.arange(6300.0, 9700.0, 0.25)
    through = np.interp(fine, depth.wave, _averaged(depth, water, oxygen, 0.25))
    light = continuum(fine) * through
    box = 0.6 * fwhm * lsf
    sigma = np.sqrt((fwhm * lsf / 2.3548) ** 2 - (box**2 + step**2) / 12.0)
    for kernel in (_gauss(sigma / 0.25), _box(box / 0.25), _box(step / 0.25)):
        light = np.convolve(light, kernel, mode="same")
    wave = np.arange(6500.0, 9500.0, step)
    truth = continuum(wave)
    flux = np.interp(wave - shift, fine, light)
    sigma_flux = np.sqrt(np.maximum(flux, 0.01)) / snr
    return truth, Spectrum(
        name="OBJ1",
        wave=wave,
        flux=flux + rng.normal(size=wave.size) * sigma_flux,
        var=sigma_flux**2,
        mask=np.full(wave.size, np.uint32(0)),
        sky=np.zeros(wave.size),
        unit="erg/s/cm2/Angstrom",
        fwhm=np.full(wave.size, fwhm),
        exposure=exposure(f"seed{seed}", airmass=AIRMASS, mjd=mjd),
    )


def _averaged(depth, water, oxygen, width):
    values = fine_transmission(depth, Column(AIRMASS * oxygen, AIRMASS * water))
    size = max(1, round(width / depth.step))
    return values if size == 1 else np.convolve(values, np.ones(size) / size, mode="same")


def _gauss(sigma):
    x = np.arange(-int(5 * sigma) - 1, int(5 * sigma) + 2)
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    return kernel / kernel.sum()


def _box(width):
    half = int(width / 2) + 1
    x = np.arange(-half, half + 1)
    kernel = np.clip(width / 2 + 0.5 - np.abs(x), 0.0, 1.0)
    return kernel / kernel.sum()


@pytest.fixture(name="depth", scope="module")
def _depth():
    return telluric.bands(LA_PALMA.height)


def in_bands(wave):
    return ((wave > 6865) & (wave < 6960)) | ((wave > 7160) & (wave < 7340)) | ((wave > 7595) & (wave < 7710))


@pytest.mark.parametrize(("fwhm", "step"), [(12.0, 3.5), (30.0, 10.0), (70.0, 25.0)])
def test_bands_go_and_water_is_recovered(depth, fwhm, step):
    truth, spectrum = observed(depth, fwhm=fwhm, step=step)
    state = FitAir().run(spectrum, depth)
    assert state.water[0] == pytest.approx(4.0, rel=0.1 if fwhm < 50 else 0.25)
    corrected = CorrectTelluric().run(spectrum, depth, state)
    assert corrected.transmission is not None
    inside = in_bands(spectrum.wave) & (corrected.transmission > 0.2)
    blurred = np.convolve(truth, _gauss(fwhm / 2.3548 / step), mode="same")
    ratio = (corrected.flux / blurred)[inside]
    assert np.std(ratio) < 0.02 + 0.01 * (fwhm > 50)
    assert np.abs(np.mean(ratio) - 1) < 0.01
    np.testing.assert_allclose(corrected.flux * corrected.transmission, spectrum.flux)


@pytest.mark.pulls
def test_errors_of_water_and_oxygen(depth):
    states = [FitAir(floor=0.0).run(observed(depth, seed=seed, snr=40.0)[1], depth) for seed in range(60)]
    for name, true in (("water", 4.0), ("oxygen", 1.0)):
        pulls = np.array([(getattr(one, name)[0] - true) / getattr(one, name)[1] for one in states])
        assert np.abs(pulls.mean()) < 0.6, (name, pulls.mean())
        # 60 draws: 99.9 per cent of honest errors lie within; the model's own error is part of them, hence the low end
        assert 0.4 < pulls.std() < 1.33, (name, pulls.std())


def test_a_star_off_the_slits_middle(depth):
    _, spectrum = observed(depth, shift=2.0, lsf=0.8)
    state = FitAir().run(spectrum, depth)
    assert state.shift[0] == pytest.approx(2.0, abs=0.4)
    assert state.lsf[0] == pytest.approx(0.8, abs=0.06)


def test_a_faint_target_takes_the_nights_air(depth):
    star = FitAir().run(observed(depth, water=9.0, seed=3)[1], depth)
    _, faint = observed(depth, water=9.0, snr=0.7, seed=4, mjd=58928.95)
    state = FitAir().run(faint, depth, (star,))
    assert not any(state.free)
    assert state.water[0] == pytest.approx(star.water[0], rel=0.1)
    assert state.water[1] > star.water[1]
    assert any(c.code == "telluric.prior" for c in CorrectTelluric().run(faint, depth, state).caveats)


def test_each_exposure_of_a_bright_star_tells_its_own_air(depth):
    """What the other exposure found is no more certain than what this one finds itself."""
    first = FitAir().run(observed(depth, seed=3, mjd=58928.9)[1], depth)
    _, second = observed(depth, seed=4, mjd=58928.91)
    state = FitAir().run(second, depth, (first,))
    assert state.free == (True, True)
    assert state.source == "seed4"
    assert state.water[1] < first.water[1]
    codes = {caveat.code for caveat in CorrectTelluric().run(second, depth, state).caveats}
    assert codes == {"telluric.coarse"}


def test_bands_that_do_not_fit_are_told(depth):
    """A table whose A band lies 40 A off, which no shift of all bands can mend; the true one; and a cosmic ray."""
    _, spectrum = observed(depth)
    deep = (depth.wave > 7500) & (depth.wave < 7800)
    moved = depth.oxygen.copy()
    moved[:, deep] = np.roll(depth.oxygen[:, deep], round(40.0 / depth.step), axis=1)
    hit = replace(spectrum, flux=np.where(np.abs(spectrum.wave - 7630) < 6, 5.0, spectrum.flux))
    for seen, table, poor in (
        (spectrum, depth, False),
        (hit, depth, False),
        (spectrum, replace(depth, oxygen=moved), True),
    ):
        corrected = CorrectTelluric().run(seen, table, FitAir().run(seen, table))
        assert ("telluric.poor" in {caveat.code for caveat in corrected.caveats}) is poor


def test_nothing_is_done_where_there_are_no_bands(depth):
    _, spectrum = observed(depth)
    blue = replace(spectrum, wave=spectrum.wave - 3400.0)
    state = FitAir().run(blue, depth)
    corrected = CorrectTelluric().run(blue, depth, state)
    np.testing.assert_array_equal(corrected.flux, blue.flux)
    np.testing.assert_array_equal(corrected.transmission, 1.0)


def test_flags_say_what_was_corrected(depth):
    _, spectrum = observed(depth, oxygen=6.0, fwhm=8.0)
    flagged = replace(spectrum, mask=np.where(in_bands(spectrum.wave), np.uint32(Flag.TELLURIC), np.uint32(0)))
    state = FitAir(oxygen_sigma=1.0).run(flagged, depth)
    corrected = CorrectTelluric().run(flagged, depth, state)
    still = (corrected.mask & np.uint32(Flag.TELLURIC)) != 0
    assert still.any()
    np.testing.assert_array_equal(still, corrected.transmission < 0.2)


def test_errors_grow_in_the_bands(depth):
    _, spectrum = observed(depth)
    corrected = CorrectTelluric().run(spectrum, depth, FitAir().run(spectrum, depth))
    core = np.argmin(corrected.transmission)
    assert corrected.err[core] > 1.5 * spectrum.err[core]
    assert np.isfinite(corrected.var).all()


@pytest.mark.slow
def test_the_packages_bands_agree_with_the_lines():
    try:
        exact = telluric.depth_above(telluric.codec.load(download.local("telluric") / telluric.FILE), 2382.0)
    except ReferenceMissingError as missing:
        pytest.skip(str(missing))
    truth, spectrum = observed(exact, fwhm=15.0)
    state = FitAir().run(spectrum, exact)
    assert state.water[0] == pytest.approx(4.0, rel=0.1)
    coarse = FitAir().run(spectrum, telluric.bands(2382.0))
    assert coarse.water[0] == pytest.approx(4.0, rel=0.15)
    corrected = CorrectTelluric().run(spectrum, exact, state)
    blurred = np.convolve(truth, _gauss(15.0 / 2.3548 / 3.5), mode="same")
    assert np.std((corrected.flux / blurred)[in_bands(spectrum.wave)]) < 0.02


def through(depth, wave):
    """A spectrum of nothing but air at `wave` (n,), 20 A broad."""
    air = fine_transmission(depth, Column(1.2, 1.2 * 1.5))
    seen = np.interp(wave, depth.wave, blurred(air, depth.wave, depth.wave, np.full(len(depth.wave), 20.0)))
    return Spectrum(
        name="OBJ1",
        wave=wave,
        flux=seen,
        var=np.full(wave.size, 1e-4),
        mask=np.full(wave.size, np.uint32(0)),
        sky=np.zeros(wave.size),
        unit="erg/s/cm2/Angstrom",
        fwhm=np.full(wave.size, 20.0),
        exposure=exposure("H", airmass=1.2, mjd=58928.9),
    )


def test_the_near_infrared_is_corrected_roughly_and_says_so():
    wave = np.arange(14000.0, 22500.0, 8.0)
    depth = telluric.with_infrared(telluric.bands(4200.0), 4200.0)
    spectrum = through(depth, wave)
    state = FitAir(water=1.5, water_sigma=0.05).run(spectrum, depth)
    corrected = CorrectTelluric().run(spectrum, depth, state)
    assert {"telluric.infrared", "telluric.prior"} == {caveat.code for caveat in corrected.caveats}
    clear = (corrected.mask == 0) & (wave < 22400)
    assert clear.mean() > 0.7
    assert np.std(corrected.flux[clear] - 1.0) < 0.03 < np.std(spectrum.flux[clear])
    assert (corrected.mask[(wave > 14000) & (corrected.transmission < 0.2)] & Flag.TELLURIC).all()


@pytest.mark.parametrize(
    ("low", "high", "exact", "codes"),
    [
        (6500.0, 14500.0, False, {"telluric.coarse", "telluric.infrared"}),
        (6500.0, 14500.0, True, {"telluric.infrared"}),
        (6500.0, 11000.0, False, {"telluric.coarse"}),
        (6500.0, 11000.0, True, set()),
    ],
)
def test_caveats_of_the_tables_are_said_where_they_concern_the_spectrum(low, high, exact, codes):
    depth = replace(telluric.with_infrared(telluric.bands(2400.0), 2400.0), exact=exact)
    spectrum = through(depth, np.arange(low, high, 8.0))
    corrected = CorrectTelluric().run(spectrum, depth, FitAir().run(spectrum, depth))
    assert {caveat.code for caveat in corrected.caveats} == codes
