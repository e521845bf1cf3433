"""One way to ask for reference stars: what is stored here first, then what was fetched before, then the services."""

from __future__ import annotations

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io.catalogues.online import SERVICES, Transport, online_cone, service
from nightpipe.io.catalogues.store import Info, home, local_cone, stored
from nightpipe.model.stars import StarCatalogue

ASTROMETRY = ("gaia", "refcat2", "ps1", "skymapper", "2mass", "sdss")
PHOTOMETRY = {
    "u": ("sdss", "skymapper"),
    "g": ("refcat2", "ps1", "skymapper", "sdss"),
    "r": ("refcat2", "ps1", "skymapper", "sdss"),
    "i": ("refcat2", "ps1", "skymapper", "sdss"),
    "z": ("refcat2", "ps1", "skymapper", "sdss"),
    "y": ("ps1",),
    "J": ("2mass",),
    "H": ("2mass",),
    "K": ("2mass",),
}
"""Which catalogues are liked best for a band: all-sky and bright first, for zero points want unsaturated stars."""


def cone(
    ra: float,
    dec: float,
    radius: float,
    *,
    name: str = "",
    bands: tuple[str, ...] = (),
    online: bool = True,
    transport: Transport | None = None,
) -> StarCatalogue:
    """Return reference stars within `radius` of (`ra`, `dec`) [deg].

    `bands`: at least these magnitudes are wanted, the first decides which catalogue is liked best; none: places matter
    (Gaia). `name` insists on one catalogue. Stored catalogues of other names than the surveys' come first: whoever
    imported them wants them used. `online` False never asks a service, but takes cones that were fetched before.

    Raises
    ------
    ReferenceMissingError
        Nothing has stars there; the error names what was tried and what to get.
    """
    tried: list[str] = []
    for info in _local(name, bands):
        found = local_cone(info.name, ra, dec, radius)
        if len(found):
            return found
        tried.append(f"{info.name} (stored) has no star there")
    for one in _wanted(name, bands):
        if not service(one).reaches(dec, radius):
            tried.append(f"{one} does not reach there")
            continue
        try:
            return online_cone(service(one), ra, dec, radius, transport if online else _offline)
        except ReferenceMissingError as error:
            tried.append(f"{one}: {error.found}")
    what = (
        f"reference stars{' with ' + ' '.join(bands) if bands else ''} within {radius:.2f} deg of {ra:.4f} {dec:+.4f}"
    )
    likes = (_wanted(name, bands) or (name,))[0]
    remedy = f"a table of {likes} stars of the field: nightpipe catalogue import TABLE --name {likes}; or a connection"
    raise ReferenceMissingError(what, "; ".join(tried) or f"nothing in {home()}", remedy)


def _local(name: str, bands: tuple[str, ...]) -> list[Info]:
    """Return the stored catalogues that have the bands, those liked best first."""
    likes = _wanted(name, bands) if not name else (name,)
    fit = [info for info in stored() if set(bands) <= set(info.bands) and (not name or info.name == name)]
    known = {one.name for one in SERVICES}
    own = [info for info in fit if info.name not in known]
    return own + [info for like in likes for info in fit if info.name == like and info not in own]


def _wanted(name: str, bands: tuple[str, ...]) -> tuple[str, ...]:
    """Return the services that have all `bands`, those liked best first."""
    if name:
        return (name,) if name in {one.name for one in SERVICES} else ()
    likes = PHOTOMETRY.get(bands[0], ASTROMETRY) if bands else ASTROMETRY
    return tuple(one for one in likes if set(bands) <= set(service(one).bands))


def _offline(one: object, ra: float, dec: float, radius: float) -> None:
    del one, ra, dec, radius
    raise ReferenceMissingError(
        "a connection", "no cone of it was fetched before, and services are not to be asked", ""
    )
