"""The velocity of the observatory towards the target, and the time at the barycentre of the solar system."""

from __future__ import annotations

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step
from nightpipe.maths.barycentre import barycentric
from nightpipe.model.exposure import Exposure
from nightpipe.model.spectrum import Spectrum


class Barycentre(Step):
    """Compute barycentric velocity and time of mid-exposure; wavelengths stay as they were measured.

    `meta` receives ``barycorr`` [km/s], ``bjd_tdb`` [day] and ``specsys``; light seen at w has w * (1 + barycorr / c)
    in the barycentre's frame.
    """

    def run(self, spectrum: Spectrum) -> Spectrum:
        """Return the spectrum with the correction in its meta; without position, site or time a caveat."""
        meta = spectrum.meta | {"specsys": "TOPOCENT"}
        found = _barycentric(spectrum.exposure)
        if found is None:
            text = "no barycentric correction: position, site or time of the exposure is unknown"
            return spectrum.but(meta=meta, caveats=(Caveat("barycentre.none", text),))
        velocity, time = found
        return spectrum.but(meta=meta | {"barycorr": velocity, "bjd_tdb": time})


def _barycentric(exposure: Exposure | None) -> tuple[float, float] | None:
    if exposure is None or exposure.site is None or exposure.ra is None or exposure.dec is None or exposure.mjd <= 0:
        return None
    site = exposure.site
    return barycentric(exposure.ra, exposure.dec, exposure.mjd, site.longitude, site.latitude, site.height)
