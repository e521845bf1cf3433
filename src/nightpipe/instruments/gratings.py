"""The grating equation: wavelength and dispersion at the middle of the detector from the grating's angle.

Schroeder 2000, Astronomical Optics (2nd ed.), chapter 13.
"""

from __future__ import annotations

from math import cos, radians, sin

from nightpipe.instruments.spec import Optics


def grating_centre(lines: float, degrees: float, optics: Optics) -> float:
    """Return the first-order wavelength [Angstrom] that runs down the camera's axis.

    ``wave = (sin a + sin b) / lines`` with the angles of incidence a and diffraction b from the grating's normal;
    `lines` [1/mm].
    """
    incidence, diffraction = _angles(degrees, optics)
    return abs(sin(incidence) + sin(diffraction)) / lines * 1e7


def grating_dispersion(lines: float, degrees: float, optics: Optics) -> float:
    """Return Angstrom per unbinned pixel on the camera's axis: ``cos b / (lines f)`` times the pixel."""
    diffraction = _angles(degrees, optics)[1]
    return abs(cos(diffraction)) / (lines * optics.focal_length) * optics.pixel * 1e7


def anamorphism(degrees: float, optics: Optics) -> float:
    """Return by how much the slit's image is narrower than the slit: ``cos a / cos b``."""
    incidence, diffraction = _angles(degrees, optics)
    return abs(cos(incidence) / cos(diffraction))


def _angles(degrees: float, optics: Optics) -> tuple[float, float]:
    incidence = degrees - optics.zero
    return radians(incidence), radians(incidence - optics.camera_angle)
