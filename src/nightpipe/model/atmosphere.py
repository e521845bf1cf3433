"""How much oxygen and water the air above a telescope held, as one spectrum saw it."""

from __future__ import annotations

from dataclasses import dataclass

from nightpipe.base.caveat import Caveat


@dataclass(frozen=True)
class AirState:
    """The air as one spectrum saw it.

    `oxygen` is the column relative to the site's mean (near 1), `water` the precipitable water [mm] in the zenith,
    `lsf` the width of the line-spread function relative to the spectrum's own `fwhm`, `shift` [Angstrom] that of the
    spectrum's wavelengths at 7600 A and `slope` [Angstrom per 1000 A] its change, `broad` the width of the A band's
    lines relative to the others'; each (value, error), prior included.
    `free` says whether the spectrum itself told oxygen and water, or the prior did. `chi` is the scatter of the
    residuals in and beside the bands over their errors, outliers left out, `snr` the median signal to noise there;
    `worst` is what is left in the band that fits worst, over its errors, and the wavelength [Angstrom] of that band.
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
    broad: tuple[float, float] = (1.0, 0.1)
    worst: tuple[float, float] = (0.0, 0.0)
