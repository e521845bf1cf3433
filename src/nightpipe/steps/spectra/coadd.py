"""The exposures of an object combined on native sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.coadd import Ratio, flux_ratio, outliers, smooth_weights
from nightpipe.maths.robust import mad_std
from nightpipe.model.exposure import Scalar
from nightpipe.model.flags import UNUSABLE, Flag
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.spectra.ongrid import GridSpectrum, on_grid

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

LIGHT = 299792.458


@dataclass(frozen=True)
class Stack:
    """Exposures on one grid, scaled to the first: arrays (exposures, bins), `weight` 0 where not used.

    `wave` is the mean wavelength of the light in each bin.
    """

    wave: FloatArray
    flux: FloatArray
    var: FloatArray
    covariance: FloatArray
    weight: FloatArray
    ratios: tuple[Ratio, ...]
    rejected: int


class Coadd(Step):
    """Combine spectra of one object and setup: scaled, weighted by inverse variance, outliers rejected.

    The grid is that of the exposure with the best signal. Bins of the others go whole into the nearest bin, so that no
    pixel is resampled and neighbours stay independent; the wavelength of a bin is the mean of those that went in, which
    makes the shift harmless to first order. On request, or where binnings differ, bins are shared out instead and the
    correlation is kept. Weights vary slowly, so that they do not follow the noise.
    """

    scale: bool = parameter(True, "scale exposures to the best one, where their ratio is well measured")
    max_scale_error: float = parameter(0.05, "a ratio less certain than this is taken as 1", ge=0.0, le=1.0)
    clip: float = parameter(5.0, "bins that contradict the other exposures are rejected", unit="sigma", gt=1.0)
    slack: float = parameter(0.05, "contradiction allowed besides noise, relative to the flux", ge=0.0, le=1.0)
    smooth: int = parameter(101, "bins over which the ratio of variances is smoothed for the weights", ge=1)
    resample: bool = parameter(False, "share out bins between neighbours instead of taking the nearest whole")
    same_grid: float = parameter(0.02, "grids that differ by less are equal", unit="bin", ge=0.0, le=0.5)

    def run(self, spectra: tuple[Spectrum, ...]) -> Spectrum:
        """Return the combined spectrum; raises BadFrameError where setups or units differ."""
        _one_kind(spectra)
        if len(spectra) == 1:
            return spectra[0].but(meta=spectra[0].meta | {"ncombine": 1})
        ordered = tuple(sorted(spectra, key=_snr, reverse=True))
        gridded = tuple(on_grid(one, ordered[0], same=self.same_grid, resample=self.resample) for one in ordered)
        stack = self._stack(gridded)
        chi = _agreement(stack)
        return _combined(ordered, gridded, stack, self._caveats(ordered, stack), chi)

    def _stack(self, gridded: tuple[GridSpectrum, ...]) -> Stack:
        good = np.array([one.good for one in gridded])
        first = gridded[0]
        ratios = tuple(self._ratio(first, one) for one in gridded)
        factor = np.array([ratio.value for ratio in ratios])[:, None]
        flux = np.array([one.flux for one in gridded]) * factor
        var = np.array([one.var for one in gridded]) * factor**2
        covariance = np.array([one.covariance for one in gridded]) * factor[:, :, None] ** 2
        near = np.array([one.near_hit for one in gridded])
        along = np.array([one.wave for one in gridded])
        shift = np.ptp(along, axis=0) / np.gradient(first.wave)
        kept = good & ~outliers(flux, var, good, near, shift, clip=self.clip, slack=self.slack)
        smooth = smooth_weights(var, good, size=self.smooth)
        wave = np.average(along, axis=0, weights=smooth * np.array([one.present for one in gridded]) + 1e-300)
        rejected = int(good.sum() - kept.sum())
        return Stack(wave, flux, var, covariance, np.where(kept, smooth, 0.0), ratios, rejected)

    def _ratio(self, first: GridSpectrum, other: GridSpectrum) -> Ratio:
        if other is first or not self.scale:
            return Ratio(1.0, 0.0, 0.0)
        found = flux_ratio(first.flux, other.flux, (first.var, other.var), first.good & other.good & other.steady)
        return found if found.error <= self.max_scale_error * found.value else replace(found, value=1.0)

    def _caveats(self, ordered: tuple[Spectrum, ...], stack: Stack) -> tuple[Caveat, ...]:
        caveats = []
        for spectrum, ratio in zip(ordered, stack.ratios, strict=True):
            if abs(np.log(ratio.value)) > np.log(1.3):
                text = f"{_exposure_name(spectrum)} was multiplied by {ratio.value:.2f} to match the best exposure"
                caveats.append(Caveat("coadd.scale", text))
            if ratio.trend > 0.1 and np.isfinite(ratio.error):
                text = f"{_exposure_name(spectrum)} differs from the best exposure by {ratio.trend:.0%} with wavelength"
                caveats.append(Caveat("coadd.trend", text))
        return (*caveats, *_barycentric(ordered))


def _one_kind(spectra: tuple[Spectrum, ...]) -> None:
    if not spectra:
        raise BadFrameError("spectra to combine", "none", "name at least one exposure")
    setups = {
        (e.instrument, e.setup.arm, e.setup.disperser, e.setup.angle) for e in (one.exposure for one in spectra) if e
    }
    units = {one.unit for one in spectra}
    if len(setups) > 1 or len(units) > 1:
        found = "; ".join([*(" ".join(filter(None, setup)) for setup in sorted(setups)), *sorted(units)])
        raise BadFrameError("exposures of one setup and unit", found, "combine each setup alone, then splice the arms")


def _snr(spectrum: Spectrum) -> float:
    good = spectrum.good
    return float(np.median(np.abs(spectrum.flux[good]) / spectrum.err[good])) if good.any() else 0.0


def _exposure_name(spectrum: Spectrum) -> str:
    return spectrum.exposure.name if spectrum.exposure is not None else spectrum.name


def _barycentric(spectra: tuple[Spectrum, ...]) -> tuple[Caveat, ...]:
    velocities = [float(one.meta["barycorr"]) for one in spectra if "barycorr" in one.meta]
    if len(velocities) < 2:
        return ()
    spread, wave = max(velocities) - min(velocities), spectra[0].wave
    bins = spread / LIGHT * float(np.median(wave / np.gradient(wave)))
    if bins < 0.2:
        return ()
    text = f"the exposures' barycentric velocities differ by {spread:.1f} km/s, {bins:.1f} bins: not corrected"
    return (Caveat("coadd.barycentre", text),)


def _agreement(stack: Stack) -> float:
    """Return the scatter of the exposures' differences from the first over what their errors predict; 1 is honest."""
    pulls = []
    for k in range(1, len(stack.flux)):
        both = (stack.weight[0] > 0) & (stack.weight[k] > 0)
        difference = (stack.flux[0] - stack.flux[k])[both]
        pulls.append(difference / np.sqrt((stack.var[0] + stack.var[k])[both]))
    every = np.concatenate(pulls)
    return float(mad_std(every)) if every.size else 0.0


def _combined(
    ordered: tuple[Spectrum, ...],
    gridded: tuple[GridSpectrum, ...],
    stack: Stack,
    caveats: tuple[Caveat, ...],
    chi: float,
) -> Spectrum:
    share, covered = _shares(gridded, stack)
    flux = np.sum(share * stack.flux, axis=0)
    var = np.sum(share**2 * stack.var, axis=0)
    factor = np.array([ratio.value for ratio in stack.ratios])[:, None]
    sky = np.sum(share * np.array([one.sky for one in gridded]) * factor, axis=0)
    boxcar, boxcar_var = _boxcar(gridded, share, factor)
    first = ordered[0]
    done = first.but(
        wave=stack.wave,
        flux=np.where(covered, flux, 0.0),
        var=np.where(covered, var, 0.0),
        mask=_mask(gridded, stack, covered),
        sky=sky,
        fwhm=np.sum(share * np.array([one.fwhm for one in gridded]), axis=0),
        boxcar=boxcar,
        boxcar_var=boxcar_var,
        correlation=_correlation(share, stack, var),
        transmission=_air(ordered, stack.wave, share, "transmission"),
        transmission_error=_air(ordered, stack.wave, share, "transmission_error"),
        caveats=merged(*(one.caveats for one in ordered), caveats),
    )
    return done.but(meta=first.meta | _facts(ordered, stack, chi) | {"snr_median": _snr(done)})


def _shares(gridded: tuple[GridSpectrum, ...], stack: Stack) -> tuple[FloatArray, Bools]:
    """Return the share (sum 1) of each exposure in each bin; where none is good, all that is there take part."""
    present = np.array([one.present for one in gridded])
    usable = stack.weight.sum(axis=0) > 0
    weight = np.where(usable, stack.weight, present.astype(np.float64))
    total = weight.sum(axis=0)
    return weight / np.where(total > 0, total, 1.0), total > 0


def _boxcar(
    gridded: tuple[GridSpectrum, ...], share: FloatArray, factor: FloatArray
) -> tuple[FloatArray | None, FloatArray | None]:
    boxes = [(one.boxcar, one.boxcar_var) for one in gridded if one.boxcar is not None and one.boxcar_var is not None]
    if len(boxes) < len(gridded):
        return None, None
    flux, var = (np.array([box[k] for box in boxes]) for k in (0, 1))
    return np.sum(share * flux * factor, axis=0), np.sum(share**2 * var * factor**2, axis=0)


def _air(ordered: tuple[Spectrum, ...], wave: FloatArray, share: FloatArray, name: str) -> FloatArray | None:
    """Return the mean transmission of the exposures or its error, which they have in common; None: not corrected."""
    known = [(one.wave, getattr(one, name)) for one in ordered]
    if any(values is None for _, values in known):
        return None
    return np.asarray(np.sum(share * np.array([np.interp(wave, *pair) for pair in known]), axis=0))


def _mask(gridded: tuple[GridSpectrum, ...], stack: Stack, covered: Bools) -> NDArray[np.uint32]:
    """Return the flags of the exposures that count in a bin; of all where none does."""
    masks, used = np.array([one.mask for one in gridded]), stack.weight > 0
    told = np.bitwise_or.reduce(np.where(used, masks & ~np.uint32(UNUSABLE), 0), axis=0)
    every: NDArray[np.uint32] = np.bitwise_or.reduce(masks, axis=0)
    usable = np.any([one.good for one in gridded], axis=0)
    every |= np.where(usable, np.uint32(Flag.REJECTED), 0).astype(np.uint32)
    every |= np.where(covered | (every != 0), 0, np.uint32(Flag.NO_DATA)).astype(np.uint32)
    return np.asarray(np.where(used.any(axis=0), told, every), dtype=np.uint32)


def _correlation(share: FloatArray, stack: Stack, var: FloatArray) -> FloatArray | None:
    """Return the correlation of each bin with the next ones; None where no exposure was resampled."""
    lags, n = stack.covariance.shape[1], len(var)
    if lags == 0 or not stack.covariance.any():
        return None
    result, sigma = np.zeros((lags, n)), np.sqrt(var)
    for lag in range(1, lags + 1):
        between = np.sum(share[:, :-lag] * share[:, lag:] * stack.covariance[:, lag - 1, :-lag], axis=0)
        product = sigma[:-lag] * sigma[lag:]
        result[lag - 1, :-lag] = np.where(product > 0, between / np.where(product > 0, product, 1.0), 0.0)
    return result


def _facts(ordered: tuple[Spectrum, ...], stack: Stack, chi: float) -> dict[str, Scalar]:
    exposures = [one.exposure for one in ordered if one.exposure is not None]
    facts: dict[str, Scalar] = {
        "ncombine": len(ordered),
        "exposures": " ".join(_exposure_name(one) for one in ordered),
        "scales": " ".join(f"{ratio.value:.4f}" for ratio in stack.ratios),
        "coadd_chi": chi,
        "coadd_rejected": stack.rejected,
    }
    if exposures:
        times = np.array([one.exptime for one in exposures])
        facts |= {
            "exptime": float(times.sum()),
            "mjd": float(np.average([one.mjd for one in exposures], weights=times)),
        }
    airmass = [float(one.meta["airmass"]) for one in ordered if "airmass" in one.meta]
    if airmass:
        facts["airmass"] = float(np.mean(airmass))
    return facts
