"""Numbers that judge a final spectrum."""

from __future__ import annotations

import numpy as np

from nightpipe.model.spectrum import Spectrum

SNR_RANGE = (4000.0, 8500.0)


def snr_median(spectrum: Spectrum, wave_range: tuple[float, float] = SNR_RANGE) -> float | None:
    """Return the median of flux over error per bin within `wave_range` [Angstrom], or None where no bin is good."""
    inside = spectrum.good & (spectrum.wave >= wave_range[0]) & (spectrum.wave <= wave_range[1])
    return float(np.median(spectrum.flux[inside] / spectrum.err[inside])) if inside.any() else None


def usable_range(spectrum: Spectrum) -> tuple[float, float] | None:
    """Return the outermost wavelengths [Angstrom] of good bins, or None."""
    wave = spectrum.wave[spectrum.good]
    return (float(wave[0]), float(wave[-1])) if wave.size else None
