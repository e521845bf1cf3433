"""What cameras say in several cards at once: pointings with offsets, pixel scales."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, hypot, radians

from nightpipe.model.exposure import Scalar

CardLookup = Callable[[str], Scalar | None]


def ratir_ra(card: CardLookup) -> float | None:
    """Return the right ascension [degree] of RATIR's rotation axis: that of the aperture, less the aperture's offset.

    ``STRCURA`` holds dithers already, ``STRAPRAO`` [degree on the sky] is what brings the target into the aperture.
    """
    ra, dec, offset = _number(card("STRCURA")), _number(card("STRCUDE")), _number(card("STRAPRAO"))
    if ra is None or dec is None:
        return _number(card("CRVAL1"))
    return ra + (offset or 0.0) / cos(radians(dec))


def ratir_dec(card: CardLookup) -> float | None:
    """Return the declination [degree] of RATIR's rotation axis."""
    dec, offset = _number(card("STRCUDE")), _number(card("STRAPDEO"))
    return _number(card("CRVAL2")) if dec is None else dec + (offset or 0.0)


def plain_scale(card: CardLookup) -> float | None:
    """Return arcsec per pixel as read from whatever tells it: a solution, a card, or pixel size and focal length."""
    cd = [_number(card(name)) for name in ("CD1_1", "CD2_1")]
    if cd[0] is not None and cd[1] is not None and hypot(cd[0], cd[1]) > 0:
        return 3600.0 * hypot(cd[0], cd[1])
    for name in ("PIXSCALE", "SECPIX", "SECPIX1", "SCALE"):
        if (value := _number(card(name))) is not None and 0 < value < 100:
            return value
    pixel, focal = _number(card("XPIXSZ")), _number(card("FOCALLEN"))
    if pixel and focal:
        return 206.265 * pixel / focal
    step = _number(card("CDELT1"))
    return 3600.0 * abs(step) if step and abs(step) < 0.01 else None


def _number(value: Scalar | None) -> float | None:
    try:
        return None if value is None or value == "" else float(value)
    except ValueError:
        return None
