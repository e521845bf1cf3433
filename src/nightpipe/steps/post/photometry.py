"""A spectrum's flux scale: brought to given magnitudes, and told how far it may be off."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import ConfigError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.bands import PASSBANDS, ab_magnitude
from nightpipe.model.scene import Reason
from nightpipe.model.spectrum import Response, Spectrum
from nightpipe.steps.post.air import effective_airmass

FloatArray = NDArray[np.float64]
_MAGNITUDE = re.compile(r"^([griz])=(\d+(?:\.\d*)?)(?:\+-(\d+(?:\.\d*)?))?$")
PIVOT, SPAN = 6400.0, 2000.0


class StateFluxError(Step):
    """Say how far the flux scale may be off, beside the noise: a part common to all bins, and one in colour.

    Both grow with the time between standard and target as a random walk, and with the difference of their airmass; the
    error of the response itself adds to the first. They are kept apart from the errors of the bins, for they move all
    bins together: in ``flux_error`` and ``colour_error`` (4500 against 8500 Angstrom), relative. A graded spectrum
    without a standard of its own night gets the reason `OLD_STANDARD`.
    """

    version: ClassVar[int] = 3

    level_drift: float = parameter(0.03, "change of the level in an hour: clouds, seeing, focus", ge=0.0, le=1.0)
    colour_drift: float = parameter(0.006, "change of the colour in an hour", ge=0.0, le=1.0)
    level_air: float = parameter(0.03, "error of the level for a unit of airmass between the two", ge=0.0, le=1.0)
    colour_air: float = parameter(0.03, "error of the colour for a unit of airmass between the two", ge=0.0, le=1.0)
    old: float = parameter(12.0, "a standard older than this gets a caveat", unit="h", gt=0.0)

    def run(self, spectrum: Spectrum, response: Response | None) -> Spectrum:
        """Return the spectrum with both errors in its `meta`; without a response there is no scale to be off."""
        if response is None or spectrum.exposure is None or not spectrum.unit.startswith("erg"):
            return _aged(spectrum, old=True)
        hours = 24.0 * abs(spectrum.exposure.mjd - response.mjd)
        here, _ = effective_airmass(spectrum.exposure)
        apart = abs(here - response.airmass) if response.airmass > 0 else 0.5
        own = float(np.median(response.error))
        level = float(np.sqrt(own**2 + hours * self.level_drift**2 + (apart * self.level_air) ** 2))
        colour = float(np.sqrt(hours * self.colour_drift**2 + (apart * self.colour_air) ** 2))
        told = {
            "flux_error": level,
            "colour_error": colour,
            "standard_age": hours,
            "standard_airmass": response.airmass,
        }
        caveats = []
        if hours > self.old and response.source == "night":
            caveats.append(Caveat("flux.old", f"the standard was taken {hours:.1f} h from this exposure"))
        stated = spectrum.but(meta=spectrum.meta | told, caveats=tuple(caveats))
        return _aged(stated, old=hours > self.old or response.source != "night")


def _aged(spectrum: Spectrum, *, old: bool) -> Spectrum:
    """Return a graded spectrum with the bit that says whether its standard is of another night, or missing.

    That is a doubt: a quality of 0 becomes 2.
    """
    if "reasons" not in spectrum.meta:
        return spectrum
    reasons = int(spectrum.meta["reasons"]) & ~int(Reason.OLD_STANDARD) | (int(Reason.OLD_STANDARD) if old else 0)
    quality = spectrum.meta.get("quality", 0)
    return spectrum.but(meta=spectrum.meta | {"reasons": reasons, "quality": 2 if old and not quality else quality})


class MatchPhotometry(Step):
    """Multiply a spectrum by a smooth curve so that its magnitudes are those that are given: grey, or up to quadratic.

    The curve is a polynomial in wavelength, fitted to the differences of magnitudes by least squares; no more
    coefficients than bands. Public releases of SEDM's spectra are corrected likewise (Ganot et al. 2025).
    """

    magnitudes: str = parameter("", "AB magnitudes at the time of the exposure: g=17.21+-0.03,r=17.05")
    order: int = parameter(2, "degree of the curve: 0 is grey", ge=0, le=2)
    least_error: float = parameter(0.02, "error of a magnitude without one, and of the filters' shapes", gt=0.0)

    def run(self, spectrum: Spectrum) -> Spectrum:
        """Return the corrected spectrum; as it is where nothing was given.

        Raises ConfigError for magnitudes that cannot be read. Bands that the spectrum does not cover are left out, with
        a caveat.
        """
        wanted = given(self.magnitudes)
        if not wanted or not spectrum.unit.startswith("erg"):
            return spectrum
        rows = []
        for band, (magnitude, sigma) in wanted.items():
            found, noise = ab_magnitude(band, spectrum.wave, spectrum.flux, spectrum.err, spectrum.good)
            if np.isfinite(found):
                rows.append((PASSBANDS[band][0], found - magnitude, np.hypot(np.hypot(sigma, noise), self.least_error)))
        lost = len(wanted) - len(rows)
        caveats = [Caveat("photometry.uncovered", f"{lost} of the bands lie outside the spectrum")] if lost else []
        if not rows:
            return spectrum.but(caveats=tuple(caveats))
        wave, difference, error = np.array(rows).T
        curve = np.polynomial.Polynomial.fit(_unit(wave), difference, min(self.order, len(rows) - 1), w=1.0 / error,
                                             domain=[-1.0, 1.0])  # fmt: skip
        factor = 10.0 ** (0.4 * curve(_unit(spectrum.wave)))
        left = float(np.sqrt(np.mean((difference - curve(_unit(wave))) ** 2)))
        told = {"photometry": self.magnitudes, "photometry_shift": float(np.mean(difference)), "photometry_rms": left}
        return spectrum.but(
            flux=spectrum.flux * factor, var=spectrum.var * factor**2, sky=spectrum.sky * factor,
            meta=spectrum.meta | told, caveats=tuple(caveats),
        )  # fmt: skip


def given(text: str) -> dict[str, tuple[float, float]]:
    """Return magnitude and error of each band in ``g=17.21+-0.03,r=17.05``; raises ConfigError."""
    found = {}
    for word in filter(None, (part.strip() for part in text.replace(" ", ",").split(","))):
        match = _MAGNITUDE.match(word)
        if match is None:
            raise ConfigError("magnitudes like g=17.21+-0.03,r=17.05", word, "bands are g, r, i, z")
        found[match[1]] = (float(match[2]), float(match[3] or 0.0))
    return found


def _unit(wave: FloatArray) -> FloatArray:
    return np.asarray((wave - PIVOT) / SPAN)
