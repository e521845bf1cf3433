"""What the air above a telescope absorbs in the bands of its molecules, and how much of it there was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CrossSections:
    """Absorption cross-sections by layer of air, monochromatic.

    `wave` (n,) vacuum [Angstrom], evenly spaced; `height` (m,) [m] of the layers above the sea; `oxygen` and `water`
    (m, n) float32 [1e-26 cm2 per molecule]. Lines of oxygen high up are narrower than the bins: `inside` (m, k, b)
    float32 holds k places inside each of the bins `split` (b,), whose mean is that of `oxygen`.
    """

    wave: FloatArray
    height: FloatArray
    oxygen: NDArray[np.float32]
    water: NDArray[np.float32]
    inside: NDArray[np.float32]
    split: NDArray[np.int64]
    source: str


@dataclass(frozen=True)
class OpticalDepth:
    """Optical depths of the air above a site at airmass 1: of its oxygen, and of one millimetre of water.

    `wave` (n,) are the vacuum wavelengths [Angstrom] of evenly spaced bins. `oxygen` and `water` (k, n) hold k values
    for each bin, taken by the shares `weight` (k,) of the bin (a single row: one value): a k-distribution (Lacis &
    Oinas 1991, J. Geophys. Res. 96, 9027). The mean transmission of a bin is ``sum_k weight[k] exp(-depth[k])`` for
    each molecule, and the product of both. `exact` tells bins that resolve the lines from broad ones.
    """

    wave: FloatArray
    weight: FloatArray
    oxygen: FloatArray
    water: FloatArray
    exact: bool
    source: str

    @property
    def step(self) -> float:
        """Return the width [Angstrom] of the bins."""
        return float(self.wave[1] - self.wave[0])


@dataclass(frozen=True)
class AirState:
    """The air as one spectrum saw it.

    `oxygen` is the column relative to the site's mean (near 1), `water` the precipitable water [mm] in the zenith,
    `lsf` the width of the line-spread function relative to the spectrum's own `fwhm`, `shift` [Angstrom] that of the
    spectrum's wavelengths at 7600 A and `slope` [Angstrom per 1000 A] its change; each (value, error), prior included.
    `free` says whether the spectrum itself told oxygen and water, or the prior did. `chi` is the scatter of the
    residuals in the bands over their errors, `snr` the median signal to noise there.
    """

    mjd: float
    airmass: float
    oxygen: tuple[float, float]
    water: tuple[float, float]
    lsf: tuple[float, float]
    shift: tuple[float, float]
    slope: tuple[float, float]
    free: tuple[bool, bool]
    chi: float
    snr: float
    source: str
    caveats: tuple[Caveat, ...] = ()
