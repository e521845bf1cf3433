"""What optimal and boxcar extraction share: apertures, flags, wavelengths, and the facts of a spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.profile import box_share
from nightpipe.model.exposure import Scalar
from nightpipe.model.flags import UNUSABLE, Flag
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import SkyModel, Source, Spectrum
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.spectra.collapse import Residual
from nightpipe.steps.spectra.columnfit import ColumnFit
from nightpipe.steps.spectra.profile import offsets
from nightpipe.steps.spectra.slitgrid import pixel_scale

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LIMIT_BELOW = 3.0
"""Significance below which a spectrum carries an upper limit."""


@dataclass(frozen=True)
class Sum:
    """A sum along the slit in every column: `flux`, `var`, and where it could be made (`known`)."""

    flux: Array
    var: Array
    known: Mask


def sky_variance(sky: SkyModel, combine: Array) -> Array:
    """Return the variance (nx) that the sky's model gives to the sum of `combine` (ny, nx) times the residuals.

    The model's errors in one column go together, so they add before they are squared; those of a nodded partner's
    pixels do not, and are in the pixels' variance already.
    """
    if sky.modes is None:
        return np.zeros(combine.shape[1]) if sky.method == "nod" else np.sum(combine**2 * sky.var, axis=0)
    return np.asarray(np.sum(np.einsum("yx,kyx->kx", combine, sky.modes.astype(np.float64)) ** 2, axis=0))


def optimal_sum(fit: ColumnFit, sky: SkyModel, light: Residual, m: int = 0) -> Sum:
    """Return the fitted flux of source `m` with its formal variance, the sky model's included."""
    combine = fit.combine[m]
    var = np.sum(combine**2 * light.variance(fit.model) * fit.ok, axis=0) if light.law is None else _own(fit, combine)
    return Sum(fit.flux[m], var + sky_variance(sky, combine), fit.solved)


def _own(fit: ColumnFit, combine: Array) -> Array:
    return np.asarray(np.sum(combine**2 * fit.var * fit.ok, axis=0))


def box_sum(light: Residual, sky: SkyModel, fit: ColumnFit, profile: Array, share: Array, *, correct: bool) -> Sum:
    """Return the sum over a box (`share` (ny, nx) of each pixel), masked pixels filled with the fitted profile.

    With `correct`, light outside the box is added in proportion to the profile. The variance is that of the whole
    linear combination of pixels, filling included; light of other sources in the fit has been taken away.
    """
    others = fit.model - fit.flux[0] * profile
    filled = np.sum(share * ~fit.ok * profile, axis=0)
    combine = share * fit.ok + filled[None, :] * fit.combine[0]
    within = np.sum(share * profile, axis=0)
    norm = np.where(within > 0.05, within, 1.0) if correct else np.ones_like(within)
    combine = combine / norm[None, :]
    flux = np.sum(combine * np.where(fit.ok, light.data - others, 0.0), axis=0)
    var = np.sum(combine**2 * fit.var * fit.ok, axis=0) + sky_variance(sky, combine)
    known = fit.solved & (within > 0.05) & (filled <= 0.7 * np.maximum(within, 1e-9))
    return Sum(flux, var, known)


def box_of(source: Source, shape: tuple[int, int], half: float) -> Array:
    """Return the share of each pixel within `half` pixels of the trace."""
    return box_share(offsets(source, shape), half)


def bin_flags(frame: Frame, source: Source, profile: Array, ok: Mask, least: float, known: Mask) -> NDArray[np.uint32]:
    """Return the flags of every bin.

    A bin is unusable where less than the share `least` of the profile was measured (its pixels' flags say why), where a
    pixel in the core is saturated, or where nothing could be fitted. Flags that only warn are passed on from the core.
    """
    core = np.abs(offsets(source, frame.shape)) <= max(0.5 * source.fwhm, 1.0)
    everything = np.bitwise_or.reduce(np.where(profile > 0, frame.mask, np.uint32(0)), axis=0)
    inner = np.bitwise_or.reduce(np.where(core, frame.mask, np.uint32(0)), axis=0)
    measured = np.sum(profile * ok, axis=0)
    poor = (measured < least) | ~known
    flags = inner & np.uint32(~int(UNUSABLE) & 0xFFFFFFFF)
    flags |= inner & np.uint32(Flag.SATURATED)
    flags |= np.where(poor, (everything & np.uint32(UNUSABLE)) | np.uint32(Flag.REJECTED), np.uint32(0))
    flags |= np.where(~known, np.uint32(Flag.NO_DATA), np.uint32(0))
    return flags.astype(np.uint32)


def wavelengths(wave: WaveSolution, source: Source, nx: int) -> tuple[Array, Array, NDArray[np.intp]]:
    """Return wavelength and line width [Angstrom] of the bins along the trace, and the columns where it increases.

    Beyond the last lines a polynomial may turn back; such columns have no wavelength and are left out.
    """
    columns = np.arange(nx, dtype=np.float64)
    centre = source.trace.centre(columns)
    along = wave.at(columns, centre)
    step = np.gradient(along)
    rising = step > 0
    middle = nx // 2
    left = np.flatnonzero(~rising[:middle])
    right = np.flatnonzero(~rising[middle:])
    keep = slice(int(left[-1]) + 1 if left.size else 0, middle + int(right[0]) if right.size else nx)
    width = wave.fwhm(columns) * step
    return along, np.maximum(width, 0.0), np.arange(nx)[keep]


def under_object(sky: SkyModel, share: Array) -> Array:
    """Return the sky's electrons in the box of every bin."""
    return np.asarray(np.sum(share * sky.model.astype(np.float64), axis=0))


def extrapolated(wave: Array, solution: WaveSolution) -> NDArray[np.uint32]:
    """Return the flag of bins beyond the outermost lines of the solution."""
    low, high = solution.range
    return np.where((wave < low) | (wave > high), np.uint32(Flag.EXTRAPOLATED), np.uint32(0)).astype(np.uint32)


def facts(frame: Frame, sky: SkyModel, source: Source, fwhm: float, half: float) -> dict[str, Scalar]:
    """Return what a user wants to know of an extraction besides the arrays."""
    scale = pixel_scale(frame)
    result: dict[str, Scalar] = {
        "slit_arcsec": float(source.slit_arcsec),
        "y": float(source.y),
        "snr": float(source.snr),
        "forced": bool(source.forced),
        "fwhm_px": float(fwhm),
        "fwhm_arcsec": float(fwhm * scale),
        "pixel_scale": float(scale),
        "box_half_px": float(half),
        "sky_method": sky.method,
        "sky_chi": float(sky.chi),
    }
    if frame.exposure is not None:
        result |= {"exptime": float(frame.exposure.exptime), "mjd": float(frame.exposure.mjd)}
        if frame.exposure.airmass is not None:
            result["airmass"] = float(frame.exposure.airmass)
    return result


def with_limits(spectrum: Spectrum, source: Source) -> Spectrum:
    """Add mean flux, its error, and, where the source is not significant, the upper limit of three sigma.

    `limit_3sigma` [electron per bin] is that of the mean over all good bins; per bin it is three times the error.
    """
    good = spectrum.good
    if not good.any():
        return spectrum
    weight = 1.0 / spectrum.var[good]
    mean, error = float(np.sum(weight * spectrum.flux[good]) / weight.sum()), float(1.0 / np.sqrt(weight.sum()))
    meta = spectrum.meta | {"mean_flux": mean, "mean_error": error, "snr_median": snr_median(spectrum)}
    if source.snr < LIMIT_BELOW:
        meta["limit_3sigma"] = max(mean, 0.0) + 3.0 * error
    return spectrum.but(meta=meta)


def snr_median(spectrum: Spectrum) -> float:
    """Return the median signal-to-noise ratio of the good bins."""
    good = spectrum.good
    return float(np.median(spectrum.flux[good] / spectrum.err[good])) if good.any() else 0.0
