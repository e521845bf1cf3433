"""Spectra on the logarithmic grid of template matching, and their flattening: structure without the continuum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError
from nightpipe.kernels.resample import rebin
from nightpipe.maths.rebin import edges as edges_of

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

BINS = 1024
FIRST, LAST = 2500.0, 10000.0
STEP = float(np.log(LAST / FIRST) / BINS)
"""The grid of SNID: 1,024 bins from 2,500 to 10,000 Angstrom, 0.0013538 in ln(wavelength), 406 km/s."""
KNOTS = 13
LEAST_BINS = 60
"""Fewest bins (8% in wavelength) of which anything can be said."""


def grid_edges() -> FloatArray:
    """Return the 1,025 edges of the grid's bins [Angstrom]."""
    return np.asarray(FIRST * np.exp(STEP * np.arange(BINS + 1)))


def grid_wave() -> FloatArray:
    """Return the centres of the grid's bins [Angstrom]."""
    return np.asarray(FIRST * np.exp(STEP * (np.arange(BINS) + 0.5)))


@dataclass(frozen=True)
class LogSpectrum:
    """A spectrum on the grid: `flux` and `var` (1024,) in the unit it came in, `good` where there is data.

    `measured` is False where the variance was not given but taken from the scatter between neighbours.
    """

    flux: FloatArray
    var: FloatArray
    good: BoolArray
    measured: bool = True

    @property
    def span(self) -> tuple[int, int]:
        """Return first bin with data and one past the last."""
        found = np.flatnonzero(self.good)
        return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)

    @property
    def snr(self) -> float:
        """Return the median signal-to-noise ratio of a bin."""
        if not self.good.any():
            return 0.0
        return float(np.median(self.flux[self.good] / np.sqrt(self.var[self.good])))


@dataclass(frozen=True)
class Flat:
    """A flattened spectrum: ``flux / continuum - 1`` as `value` (1024,), its `error`, `good` bins, and the continuum.

    `level` (1024,) is log10 of the continuum, defined between the first and last good bin.
    """

    value: FloatArray
    error: FloatArray
    good: BoolArray
    level: FloatArray

    @property
    def span(self) -> tuple[int, int]:
        """Return first good bin and one past the last."""
        found = np.flatnonzero(self.good)
        return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)


def to_log(wave: FloatArray, flux: FloatArray, var: FloatArray | None, good: BoolArray) -> LogSpectrum:
    """Rebin a spectrum onto the grid, flux density conserved; masked bins leave gaps and do not widen neighbours.

    `wave` (n,) increasing [Angstrom]; without `var` the noise is told from the scatter between neighbouring bins.
    Raises `BadFrameError` where fewer than 60 bins of the grid are covered.
    """
    given = np.ones_like(flux) if var is None else np.where(good, var, 0.0)
    edges = edges_of(wave)
    new = rebin(edges, np.where(good, flux, 0.0), given, good, grid_edges(), density=True, lags=1)
    covered = new.fraction > 0.3
    if int(covered.sum()) < LEAST_BINS:
        raise BadFrameError(
            f"a spectrum over at least {LEAST_BINS} bins between {FIRST:.0f} and {LAST:.0f} Angstrom",
            f"{int(covered.sum())} bins of good data" + _range(wave[good]),
            "give a longer spectrum, or check its wavelengths and mask",
        )
    filled = np.interp(np.arange(BINS), np.flatnonzero(covered), new.value[covered])
    noise = scatter(filled, covered) if var is None else new.var
    return LogSpectrum(filled, np.where(covered, np.maximum(noise, 1e-300), 1.0), covered, var is not None)


def _range(wave: FloatArray) -> str:
    return f", from {wave.min():.0f} to {wave.max():.0f} Angstrom" if len(wave) else ""


def scatter(flux: FloatArray, good: BoolArray, window: int = 60) -> FloatArray:
    """Return the variance of a bin from second differences of its surroundings (DER_SNR; Stoehr et al. 2008).

    Structure as broad as a supernova's does not enter. Rebinned bins are correlated, so this is a lower bound.
    """
    second = np.zeros_like(flux)
    second[2:-2] = (2.0 * flux[2:-2] - flux[:-4] - flux[4:]) ** 2 / 6.0
    inside = good.copy()
    inside[2:-2] &= good[:-4] & good[4:]
    kernel = np.ones(window)
    total = np.convolve(np.where(inside, np.minimum(second, np.quantile(second[inside], 0.95)), 0.0), kernel, "same")
    count = np.convolve(inside.astype(float), kernel, "same")
    filled: FloatArray = total / np.maximum(count, 1.0)
    return np.maximum(filled, 1e-8 * float(np.median(np.abs(flux[good])) + 1e-300) ** 2)


def flatten(spectrum: LogSpectrum, phases: int = 4) -> Flat:
    """Divide by a smooth continuum and subtract one.

    The continuum is a natural cubic spline through log10 of the mean flux of blocks of 1024 // 13 = 78 bins (Blondin &
    Tonry 2007, section 2.2). There the blocks' places follow from the searched redshifts, and with them the answer;
    here it is the mean over `phases` places, so nothing depends on the search. Blocks that are not positive are left
    out. Raises `BadFrameError` where fewer than three blocks are positive.
    """
    first, last = spectrum.span
    width = BINS // KNOTS
    curves = [_continuum(spectrum, first, last, phase * width // phases, width) for phase in range(phases)]
    found = [curve for curve in curves if curve is not None]
    if not found:
        raise BadFrameError(
            "a spectrum whose flux is positive over most of its range",
            "no continuum: the mean flux is zero or negative in nearly every block of 10%",
            "check the sky subtraction; a spectrum in units of continuum must be given as flux",
        )
    level = np.mean(found, axis=0)
    inside = np.zeros(BINS, dtype=bool)
    inside[first:last] = True
    continuum = 10.0**level
    value = np.where(inside, spectrum.flux / continuum - 1.0, 0.0)
    error = np.where(spectrum.good, np.sqrt(spectrum.var) / continuum, 0.0)
    return Flat(np.clip(value, -5.0, 20.0), error, spectrum.good & inside, level)


def _continuum(spectrum: LogSpectrum, first: int, last: int, phase: int, width: int) -> FloatArray | None:
    x, y = [], []
    for start in range(phase - width, BINS, width):
        here = np.arange(max(start, first), min(start + width, last))
        here = here[spectrum.good[here]] if len(here) else here
        if len(here) < width // 4:
            continue
        mean = float(np.mean(spectrum.flux[here]))
        if mean > 0:
            x.append(float(np.mean(here)) + 0.5)
            y.append(np.log10(mean))
    if len(x) < 3:
        return None
    return _natural(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), np.arange(0.5, BINS))


def _natural(x: FloatArray, y: FloatArray, at: Any) -> FloatArray:
    """Evaluate a natural cubic spline; beyond its knots it goes on straight."""
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(x, y, bc_type="natural")
    inside = np.clip(at, x[0], x[-1])
    slopes = spline(np.array([x[0], x[-1]]), 1)
    beyond = np.where(at < x[0], slopes[0], slopes[1]) * (at - inside)
    return np.asarray(spline(inside) + beyond)


def apodise(value: FloatArray, first: int, last: int, share: float = 0.05) -> FloatArray:
    """Bring the ends of ``value[first:last]`` to zero with cosine bells over `share` of the grid each."""
    reach = min(max(int(share * BINS), 2), max((last - first) // 2, 1))
    ramp = 0.5 * (1.0 - np.cos(np.pi * np.arange(reach) / max(reach - 1, 1)))
    tapered = np.zeros_like(value)
    tapered[first:last] = value[first:last]
    tapered[first : first + reach] *= ramp
    tapered[last - reach : last] *= ramp[::-1]
    return tapered


def band(length: int, cut: float = BINS / 10) -> FloatArray:
    """Return the band pass of `length` // 2 + 1 wavenumbers: a cosine bell, flat from 4 to 5/6 `cut`, 0 from `cut` on.

    Wavenumbers count cycles over the grid's 1,024 bins (Tonry & Davis 1979; the classic `cut` is 102).
    """
    k = np.arange(length // 2 + 1) * BINS / length
    low, high = 1.0, cut * 5.0 / 6.0
    rise = 0.5 * (1.0 - np.cos(np.pi * np.clip((k - low) / 3.0, 0.0, 1.0)))
    fall = 0.5 * (1.0 + np.cos(np.pi * np.clip((k - high) / (cut - high), 0.0, 1.0)))
    return np.asarray(rise * fall)


def cut_of(resolution: float) -> float:
    """Return the band pass' upper end for a resolving power: where a Gaussian line spread leaves a tenth."""
    sigma = 1.0 / max(resolution, 1.0) / 2.354820045 / STEP
    return float(np.clip(BINS / (2.0 * np.pi * sigma) * np.sqrt(2.0 * np.log(10.0)), 30.0, BINS / 10))
