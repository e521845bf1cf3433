"""The bits of a mask: one sentence each, never reused."""

from __future__ import annotations

from enum import IntFlag


class Flag(IntFlag):
    """Why a pixel, or a spectral bin, is not to be trusted."""

    BAD = 1 << 0
    SATURATED = 1 << 1
    NONLINEAR = 1 << 2
    COSMIC = 1 << 3
    NO_DATA = 1 << 4
    NO_FLAT = 1 << 5
    INTERPOLATED = 1 << 6
    REJECTED = 1 << 7
    EXTRAPOLATED = 1 << 8
    NO_FLUX = 1 << 9
    TELLURIC = 1 << 10
    SECOND_ORDER = 1 << 11
    OUTSIDE_SLIT = 1 << 12
    FRINGED = 1 << 13


SENTENCES: dict[Flag, str] = {
    Flag.BAD: "The detector pixel is bad: dead, hot, or in a bad column.",
    Flag.SATURATED: "The pixel reached saturation.",
    Flag.NONLINEAR: "The pixel lies above the level to which the detector is linear.",
    Flag.COSMIC: "A cosmic ray hit the pixel.",
    Flag.NO_DATA: "The pixel was not read, lies in the overscan, or its value was not a number.",
    Flag.NO_FLAT: "The flat field is too low or absent here; no correction was applied.",
    Flag.INTERPOLATED: "The value was interpolated from its neighbours.",
    Flag.REJECTED: "The value was rejected as an outlier in an extraction or a combination.",
    Flag.EXTRAPOLATED: "The wavelength lies beyond the outermost line of the wavelength solution.",
    Flag.NO_FLUX: "The wavelength lies outside the range of the response; the flux is not calibrated.",
    Flag.TELLURIC: "The bin lies in a telluric absorption band that was not corrected.",
    Flag.SECOND_ORDER: "Second-order light may contaminate this wavelength with this disperser and filter.",
    Flag.OUTSIDE_SLIT: "The pixel lies outside the slit.",
    Flag.FRINGED: "The detector fringes here and the fringes were not corrected.",
}

UNUSABLE = (
    Flag.BAD | Flag.SATURATED | Flag.COSMIC | Flag.NO_DATA | Flag.INTERPOLATED | Flag.REJECTED | Flag.OUTSIDE_SLIT
)
"""Bits that exclude a pixel from a measurement."""
