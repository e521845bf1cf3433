"""How much air an exposure looked through, and what that took away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.maths.airmass import mean_airmass
from nightpipe.model.exposure import Exposure
from nightpipe.model.references import Extinction

FloatArray = NDArray[np.float64]

LOW = 4.0
"""Nobody observes through more air: coordinates that say so are wrong."""
TOLERANCE = 0.03
"""Relative difference between computed and header airmass that a user should know of."""


def effective_airmass(exposure: Exposure | None) -> tuple[float, tuple[Caveat, ...]]:
    """Return the airmass that describes a whole exposure, and caveats.

    Computed from coordinates, site and time, mean over the exposure; the header's value often belongs to its start.
    The header's is taken where the computation is impossible or contradicts common sense; without either, 1.
    """
    stated = exposure.airmass if exposure is not None and exposure.airmass and exposure.airmass >= 0.99 else None
    computed = _computed(exposure)
    if computed is None:
        return (stated, ()) if stated else (1.0, (_missing(),))
    mean, least, most = computed
    if not np.isfinite(mean) or mean > LOW:
        text = f"coordinates and time give airmass {mean:.3g}: the header's {stated} was taken"
        return (stated, (Caveat("airmass.coordinates", text),)) if stated else (1.0, (_missing(),))
    if stated and not least * (1 - TOLERANCE) <= stated <= most * (1 + TOLERANCE):
        text = f"the header says airmass {stated:.3f}, coordinates and time give {mean:.3f}: the latter was taken"
        return mean, (Caveat("airmass.header", text),)
    return mean, ()


def _computed(exposure: Exposure | None) -> tuple[float, float, float] | None:
    if exposure is None or exposure.site is None or exposure.ra is None or exposure.dec is None or exposure.mjd <= 0:
        return None
    site = exposure.site
    return mean_airmass(exposure.ra, exposure.dec, exposure.mjd, exposure.exptime, site.longitude, site.latitude)


def _missing() -> Caveat:
    return Caveat("airmass.missing", "neither header nor coordinates give the airmass: 1 was taken")


def transmission(wave: FloatArray, airmass: float, extinction: Extinction | None) -> FloatArray:
    """Return the share of light that reaches the telescope at `wave` [Angstrom]; 1 where the site is unknown."""
    if extinction is None:
        return np.ones_like(wave)
    magnitude = np.interp(wave, extinction.wave, extinction.magnitude)
    return np.asarray(10.0 ** (-0.4 * magnitude * airmass))


def extinction_caveats(extinction: Extinction | None) -> tuple[Caveat, ...]:
    """Return what a user must know of the extinction that was used."""
    if extinction is None:
        return (Caveat("extinction.none", "no extinction curve for this site: extinction was not corrected"),)
    if extinction.terms.get("generic"):
        text = f"no extinction curve for {extinction.site}: a clear site's at its height was taken"
        return (Caveat("extinction.generic", text),)
    return ()
