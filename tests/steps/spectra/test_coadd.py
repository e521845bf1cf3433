"""Combination: unbiased, honest errors, outliers out, nothing mixed that does not belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.object import exposures, truth
from nightpipe.base.errors import BadFrameError
from nightpipe.maths.rebin import edges
from nightpipe.model.exposure import Setup
from nightpipe.model.flags import Flag
from nightpipe.steps.spectra.coadd import Coadd
from nightpipe.steps.spectra.ongrid import on_grid


def clean(wave):
    return (wave > 4100) & (wave < 8700)


def test_equal_grids_are_not_resampled():
    done = Coadd(scale=False).run(exposures(2, shift=0.0))
    assert done.correlation is None
    assert np.allclose(done.wave, exposures(2, shift=0.0)[0].wave, atol=1e-9)


def test_native_grid_of_the_best_exposure_is_kept():
    spectra = exposures(3)
    done = Coadd().run(spectra[::-1])
    step = np.gradient(spectra[0].wave)
    assert np.max(np.abs(done.wave - spectra[0].wave) / step) < 0.5  # the first has the least noise
    assert np.allclose(Coadd(resample=True).run(spectra[::-1]).wave, spectra[0].wave, atol=1e-9)
    assert done.meta["ncombine"] == 3
    assert done.meta["exptime"] == 2700.0
    assert done.meta["exposures"] == "exposure1 exposure2 exposure3"


def test_rebinning_conserves_flux():
    first, second = exposures(2, shift=0.37)
    moved = on_grid(second, first)
    inside = slice(20, -20)
    new = edges(first.wave)
    fine = np.linspace(new[20], new[-21], 200001)
    held = second.flux[np.clip(np.searchsorted(edges(second.wave), fine) - 1, 0, len(second.wave) - 1)]
    ours = np.sum((moved.flux * np.diff(new))[inside])
    assert ours == pytest.approx(np.mean(held) * (new[-21] - new[20]), rel=1e-4)


@pytest.mark.parametrize("resample", [False, True])
def test_pulls_against_the_truth_are_honest_and_so_is_the_covariance(resample):
    """The variance of bins *and* of sums of neighbouring bins is what the combined spectrum says."""
    pulls, sums = [], []
    for seed in range(60):
        done = Coadd(resample=resample).run(exposures(2, seed=seed))
        keep = clean(done.wave)
        error = done.flux - truth_on(done)
        pulls.append((error / done.err)[keep])
        sums.append(_block_pulls(done, error, keep))
    every, blocks = np.concatenate(pulls), np.concatenate(sums)
    assert np.std(every) == pytest.approx(1.0, abs=0.05)
    assert abs(np.mean(every)) < 0.05
    assert np.std(blocks) == pytest.approx(1.0, abs=0.06)
    assert abs(np.mean(blocks)) < 0.08


def test_neighbours_are_independent_unless_resampled():
    """What a user measures from the scatter of neighbours is what the errors say; sharing out bins would hide noise."""
    for resample, expected in ((False, 1.0), (True, 0.85)):
        scatter = []
        for seed in range(20):
            done = Coadd(resample=resample).run(exposures(2, seed=seed))
            keep = clean(done.wave)
            error = (done.flux - truth_on(done))[keep]
            scatter.append(np.std(np.diff(error)) / np.sqrt(2.0) / np.sqrt(np.mean(done.var[keep])))
        assert np.mean(scatter) == pytest.approx(expected, abs=0.06)


def test_lines_stay_where_they_are():
    """An exposure shifted by a third of a bin goes into the nearest bins, and the wavelengths follow."""
    first, second = exposures(2, shift=0.37, snr=1e4)
    done = Coadd(scale=False).run((first, second))
    assert np.max(np.abs(done.flux - truth_on(done)) / done.flux) < 0.003


def truth_on(spectrum):
    from nightpipe.maths.rebin import smoothed_to

    fine = np.arange(spectrum.wave[0] - 200.0, spectrum.wave[-1] + 200.0, 1.0)
    return np.interp(spectrum.wave, fine, smoothed_to(fine, truth(fine), np.full(len(fine), 15.0)))


def _block_pulls(done, error, keep, size=6):
    index = np.flatnonzero(keep)
    index = index[: len(index) // size * size].reshape(-1, size)
    var = done.var[index].sum(axis=1)
    for lag, row in enumerate(() if done.correlation is None else done.correlation, start=1):
        pair = row[index[:, :-lag]] * done.err[index[:, :-lag]] * done.err[index[:, lag:]]
        var = var + 2.0 * pair.sum(axis=1)
    return error[index].sum(axis=1) / np.sqrt(var)


def test_formal_and_empirical_signal_to_noise_agree_within_five_per_cent():
    formal, empirical = [], []
    for seed in range(30):
        a, b = exposures(2, shift=0.0, seed=seed)
        done = Coadd(scale=False).run((a, b))
        keep = clean(done.wave)
        formal.append(np.median(done.flux[keep] / done.err[keep]))
        share = (1 / b.var) / (1 / a.var + 1 / b.var)
        noise = np.sqrt(share * (1 - share)) * np.abs(a.flux - b.flux)  # of the mean, from the difference
        empirical.append(np.median(done.flux[keep]) / (1.4826 * np.median(noise[keep])))
    assert np.mean(formal) == pytest.approx(np.mean(empirical), rel=0.05)
    assert Coadd(scale=False).run(exposures(2, shift=0.0)).meta["coadd_chi"] == pytest.approx(1.0, abs=0.1)


def test_weights_do_not_follow_the_noise():
    """Inverse variances taken from the counts themselves would bias a faint object low."""
    bias = []
    for seed in range(60):
        spectra = exposures(3, shift=0.0, seed=seed, snr=3.0)
        noisy = tuple(one.but(var=one.var * np.clip(one.flux / truth(one.wave), 0.3, 3.0)) for one in spectra)
        done = Coadd(scale=False).run(noisy)
        keep = clean(done.wave)
        bias.append(np.mean(done.flux[keep]) / np.mean(truth_on(done)[keep]) - 1.0)
    assert abs(np.mean(bias)) < 0.01


def test_slit_losses_are_scaled_when_well_measured():
    done = Coadd().run(exposures(2, scale=(1.0, 0.6), snr=10.0))
    assert float(done.meta["scales"].split()[1]) == pytest.approx(1 / 0.6, rel=0.03)
    assert "coadd.scale" in [caveat.code for caveat in done.caveats]
    keep = clean(done.wave)
    assert np.median(done.flux[keep] / truth_on(done)[keep]) == pytest.approx(1.0, abs=0.02)


def test_faint_exposures_are_not_scaled():
    done = Coadd().run(exposures(2, snr=0.1))
    assert done.meta["scales"] == "1.0000 1.0000"


def test_bins_of_other_widths_are_shared_out():
    (fine,) = exposures(1, step=3.5, n=1400, seed=3)
    (coarse,) = exposures(1, seed=4, snr=20.0)
    done = Coadd().run((coarse, fine))
    assert np.allclose(done.wave, coarse.wave, atol=1e-9)
    assert done.correlation is not None
    error = ((done.flux - truth_on(done)) / done.err)[clean(done.wave)]
    assert np.std(error) == pytest.approx(1.0, abs=0.12)


def test_cosmic_ray_is_rejected_among_three():
    spectra = list(exposures(3))
    flux = spectra[1].flux.copy()
    flux[300] += 40.0
    spectra[1] = spectra[1].but(flux=flux)
    done = Coadd().run(tuple(spectra))
    assert np.abs(done.flux - truth_on(done))[295:305].max() < 6 * done.err[295:305].max()
    assert (done.mask[295:305] & np.uint32(Flag.REJECTED)).sum() == 0  # two exposures still count there
    assert done.meta["coadd_rejected"] >= 1


@pytest.mark.parametrize(
    ("flagged", "excess", "rejected"), [(True, 7.0, True), (False, 7.0, False), (False, 25.0, True)]
)
def test_of_two_the_larger_goes_when_a_hit_is_near_or_the_excess_is_gross(flagged, excess, rejected):
    first, second = exposures(2, shift=0.0, snr=20.0)
    flux, mask = first.flux.copy(), first.mask.copy()
    flux[300] = second.flux[300] * 1.05 + excess * np.hypot(first.err[300], second.err[300])
    if flagged:
        mask[302] |= np.uint32(Flag.COSMIC)
    done = Coadd(scale=False).run((first.but(flux=flux, mask=mask), second))
    assert (done.flux[300] == pytest.approx(second.flux[300])) == rejected


def test_masked_bins_do_not_count_and_information_stays():
    first, second = exposures(2, shift=0.0)
    bad, info = first.mask.copy(), second.mask.copy()
    bad[100:110] |= np.uint32(Flag.COSMIC)
    info[:] |= np.uint32(Flag.TELLURIC)
    done = Coadd(scale=False).run((first.but(mask=bad), second.but(mask=info)))
    assert np.allclose(done.flux[100:110], second.flux[100:110])
    assert np.allclose(done.var[100:110], second.var[100:110])
    assert done.good[100:110].all()
    assert ((done.mask & np.uint32(Flag.TELLURIC)) != 0).all()


def test_bins_that_nobody_measured_stay_flagged():
    first, second = exposures(2, shift=0.0)
    bad = first.mask.copy()
    bad[100] |= np.uint32(Flag.COSMIC)
    done = Coadd(scale=False).run((first.but(mask=bad), second.but(mask=bad)))
    assert not done.good[100]
    assert np.isfinite(done.flux[100])
    assert done.mask[100] & np.uint32(Flag.COSMIC)


def test_order_of_exposures_does_not_matter():
    spectra = exposures(3, seed=7)
    one, other = Coadd().run(spectra), Coadd().run(spectra[::-1])
    assert np.allclose(one.flux, other.flux)
    assert np.allclose(one.var, other.var)


def test_setups_and_units_are_never_mixed():
    first, second = exposures(2)
    other = second.but(exposure=replace(second.exposure, setup=Setup(arm="red", disperser="grism")))
    with pytest.raises(BadFrameError, match="setup"):
        Coadd().run((first, other))
    with pytest.raises(BadFrameError):
        Coadd().run((first, second.but(unit="electron/s/Angstrom")))
    with pytest.raises(BadFrameError):
        Coadd().run(())


def test_one_exposure_is_returned_as_it_is():
    (one,) = exposures(1)
    done = Coadd().run((one,))
    assert np.array_equal(done.flux, one.flux)
    assert done.meta["ncombine"] == 1


def test_barycentric_drift_of_a_fair_part_of_a_bin_is_told():
    first, second = exposures(2)
    drifted = second.but(meta=second.meta | {"barycorr": 95.0})
    assert "coadd.barycentre" in [caveat.code for caveat in Coadd().run((first, drifted)).caveats]
    assert "coadd.barycentre" not in [caveat.code for caveat in Coadd().run((first, second)).caveats]
