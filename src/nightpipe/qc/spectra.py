"""Numbers that judge sky and spectra: signal-to-noise, formal and empirical, and the sky's residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import DataError
from nightpipe.maths.robust_run import running_median
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import SkyModel, Source, Spectrum
from nightpipe.model.wave import WaveSolution

Array = NDArray[np.float64]

BAND = (4000.0, 8500.0)
"""Where signal-to-noise ratios are quoted [Angstrom]."""

TAKEN = 1.2
"""Degrees of freedom per window that the running ratio of two spectra takes (windows of 31 to 121 bins, simulated)."""

CLEAN = ((4500.0, 5400.0), (6050.0, 6230.0), (7050.0, 7220.0), (8070.0, 8240.0))
"""Windows [Angstrom, vacuum] with little airglow at low resolution."""


def snr_median(spectrum: Spectrum, lo: float = BAND[0], hi: float = BAND[1]) -> float | None:
    """Return the median formal signal-to-noise ratio per bin between two wavelengths, None without a good bin."""
    use = spectrum.good & (spectrum.wave >= lo) & (spectrum.wave <= hi)
    return float(np.median(spectrum.flux[use] / spectrum.err[use])) if use.any() else None


def usable_range(spectrum: Spectrum) -> tuple[float, float] | None:
    """Return the outermost wavelengths [Angstrom] of good bins, or None."""
    wave = spectrum.wave[spectrum.good]
    return (float(wave[0]), float(wave[-1])) if wave.size else None


@dataclass(frozen=True)
class EmpiricalNoise:
    """What two exposures say of the noise of their mean.

    `snr` is empirical and `formal` what the variances claim, both medians per bin; `scatter` is the standard deviation
    of (difference / formal error), `bins` how many entered and `rejected` how many lay beyond the clip.
    """

    snr: float
    formal: float
    scatter: float
    bins: int
    rejected: int


def empirical_snr(first: Spectrum, second: Spectrum, lo: float = BAND[0], hi: float = BAND[1]) -> float:
    """Return the median signal-to-noise ratio per bin of the mean of two exposures, from their difference."""
    return empirical_noise(first, second, lo, hi).snr


def empirical_noise(
    first: Spectrum, second: Spectrum, lo: float = BAND[0], hi: float = BAND[1], *, window: int = 61, clip: float = 4.0
) -> EmpiricalNoise:
    """Return the signal-to-noise ratio of the weighted mean of two exposures from their difference.

    The second is scaled to the first by the running ratio over (odd) `window` bins: clouds and slit losses are no
    noise. What of the noise that ratio takes with it is put back. Bins are compared as they are, without interpolation,
    which would correlate neighbours and flatter the noise; the two must therefore be sampled alike to half a bin.
    Raises DataError where they are not, or too few are good.
    """
    if len(first.wave) != len(second.wave) or _apart(first, second) > 0.5:
        raise DataError("two spectra on the same pixels", "other wavelengths", "compare exposures of one setup")
    use = first.good & second.good & (first.wave >= lo) & (first.wave <= hi)
    if use.sum() < 30:
        raise DataError("30 bins that are good in both exposures", f"{int(use.sum())}", "look at masks and range")
    ratio = _smooth_ratio(first.flux, second.flux, window)
    a, b = first.var, ratio**2 * second.var
    pull = ((first.flux - ratio * second.flux) / np.sqrt(np.where(use, a + b, 1.0)))[use]
    keep = np.abs(pull - np.median(pull)) <= clip * max(1.4826 * float(np.median(np.abs(pull - np.median(pull)))), 1e-9)
    scatter = float(np.std(pull[keep]) / np.sqrt(1.0 - TAKEN / window))
    weight = 1.0 / np.where(use, a, 1.0), 1.0 / np.where(use, b, 1.0)
    mean = (first.flux * weight[0] + ratio * second.flux * weight[1]) / np.sqrt(weight[0] + weight[1])
    formal = float(np.median(mean[use]))
    return EmpiricalNoise(formal / scatter, formal, scatter, int(use.sum()), int((~keep).sum()))


def _apart(first: Spectrum, second: Spectrum) -> float:
    """Return the median distance of the bins in bins."""
    return float(np.median(np.abs(first.wave - second.wave) / np.gradient(first.wave)))


def _smooth_ratio(a: Array, b: Array, window: int) -> Array:
    above, below = _smoothed(a, window), _smoothed(b, window)
    usable = np.abs(below) > 0.05 * float(np.median(np.abs(below)))
    return np.where(usable, above / np.where(usable, below, 1.0), 1.0)


def _smoothed(values: Array, window: int) -> Array:
    padded = np.pad(running_median(values, window), window // 2, mode="edge")
    return np.convolve(padded, np.ones(window) / window, "valid")


def sky_chi(
    frame: Frame,
    sky: SkyModel,
    wave: WaveSolution,
    sources: tuple[Source, ...] = (),
    *,
    windows: tuple[tuple[float, float], ...] = CLEAN,
    clip: float = 4.0,
) -> float:
    """Return the standard deviation of (data - sky) / error over the sky's pixels in the `windows` [Angstrom].

    Pixels within three FWHM of a source are left out, and those further than `clip` sigma from the median (one in
    16,000 of a Gaussian at 4). The error is that of the model: readout, photons of the modelled sky, and the model's
    own. Raises DataError without 100 pixels.
    """
    wavelength = wave.map()
    inside = np.any([(wavelength >= lo) & (wavelength <= hi) for lo, hi in windows], axis=0)
    use = sky.used & frame.good & inside & ~_near(sources, frame.shape)
    if use.sum() < 100:
        raise DataError("100 pixels of sky in the windows", f"{int(use.sum())}", "choose windows within the range")
    error = np.sqrt(frame.variance_of(sky.model)[use] + sky.var[use])
    pull = (frame.data[use] - sky.model[use]) / error
    keep = np.abs(pull - np.median(pull)) <= clip
    return float(np.std(pull[keep]))


def _near(sources: tuple[Source, ...], shape: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = np.arange(shape[0], dtype=np.float64)[:, None], np.arange(shape[1], dtype=np.float64)
    near = np.zeros(shape, dtype=bool)
    for source in sources:
        near |= np.abs(rows - source.trace.centre(columns)[None, :]) <= 3.0 * source.fwhm
    return near
