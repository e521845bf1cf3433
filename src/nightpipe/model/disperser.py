"""What the description of an instrument says of a grism or grating: where to begin, never what is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lenslets:
    """Nominal facts of a lenslet array, whose spectra lie side by side on the detector: where to begin.

    On the sky the lenslet (q, r) lies at ``pitch sqrt(3)/2 R(angle) ((2q + r)/sqrt(3), r)`` [arcsec, east and north]
    with R the rotation by `angle` [degree]. In the *oriented* frame the step (1, 0) leads along `step` (x, y) [pixel],
    (0, 1) along `other`; light of `reference` [Angstrom] through (0, 0) falls on about `middle` (x, y) [pixel].
    `half` [Angstrom, vacuum] splits the dome's light into halves. `features` are (vacuum wavelength, nominal pixel
    along a spectrum, growing with wavelength) of its lines; `light` [Angstrom] is where light begins and ends, `sigma`
    [pixel] the rms width across a spectrum.
    """

    pitch: float
    angle: float
    step: tuple[float, float]
    other: tuple[float, float]
    middle: tuple[float, float]
    reference: float
    half: float
    light: tuple[float, float]
    sigma: float
    features: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Disperser:
    """Nominal facts of one setup's dispersion.

    `dispersion` is Angstrom per pixel *as read* (binning included), `centre` the wavelength [Angstrom, vacuum] near the
    middle of the dispersion axis of the array as trimmed, `centre_tolerance` how far off that may be, `range` what is
    useful. `fwhm` is the expected line width [Angstrom] through this exposure's slit. `second_order_from` and
    `fringes_from` [Angstrom] are where contamination and fringes set in, 0 where they do not. `lenslets` is there where
    it disperses the light of a lenslet array and not that of a slit.
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
    lenslets: Lenslets | None = None
