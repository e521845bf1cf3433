"""What the description of an instrument says of a grism or grating: where to begin, never what is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Disperser:
    """Nominal facts of one setup's dispersion.

    `dispersion` is Angstrom per pixel *as read* (binning included), `centre` the wavelength [Angstrom, vacuum] near the
    middle of the dispersion axis of the array as trimmed, `centre_tolerance` how far off that may be, `range` what is
    useful. `fwhm` is the expected line width [Angstrom] through this exposure's slit. `second_order_from` and
    `fringes_from` [Angstrom] are where contamination and fringes set in, 0 where they do not.
    """

    name: str
    dispersion: float
    centre: float
    centre_tolerance: float
    dispersion_tolerance: float
    range: tuple[float, float]
    fwhm: float
    second_order_from: float = 0.0
    fringes_from: float = 0.0
