"""The library of flux standards: recognised by alias, by the name that a telescope gives, or by position."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.io.tables import columns, facts, folder
from nightpipe.model.references import Standard

RADIUS = 2.0
"""How far [arcmin] a telescope may point from a standard that it observes."""
NAMED = 10.0
"""A star known by its name may be this far [arcmin] off: pointing models, coordinates of date."""
FAR = 60.0
"""Beyond this [arcmin] precession of coordinates written for another equinox no longer explains a disagreement."""
NOISE_WORDS = {"std", "standard", "specphot", "spectrophotometric", "flux", "fluxstd", "star", "slit"}
J2000 = 51544.5


@dataclass(frozen=True)
class Entry:
    """One star of the library without its table: `pm` [mas/yr], `names` normalised."""

    name: str
    names: frozenset[str]
    ra: float
    dec: float
    pm: tuple[float, float]
    path: Path

    def separation(self, ra: float, dec: float, mjd: float | None = None) -> float:
        """Return the distance [arcmin] from (ra, dec) [degree], proper motion applied where `mjd` is known."""
        years = 0.0 if mjd is None else (mjd - J2000) / 365.25
        star_dec = self.dec + self.pm[1] * years / 3.6e6
        star_ra = self.ra + self.pm[0] * years / 3.6e6 / max(np.cos(np.radians(self.dec)), 1e-6)
        a, b, c = (np.radians(value) for value in (dec, star_dec, ra - star_ra))
        haversine = np.sin((a - b) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(c / 2) ** 2
        return float(np.degrees(2.0 * np.arcsin(np.sqrt(haversine))) * 60.0)


@dataclass(frozen=True)
class StandardMatch:
    """A recognised standard; `by` is ``"name and position"``, ``"name"`` or ``"position"``.

    `separation` [arcmin] is None where the pointing is unknown.
    """

    standard: Standard
    by: str
    separation: float | None
    caveats: tuple[Caveat, ...] = ()


def normal(name: str) -> str:
    """Return a star's name without case, blanks and punctuation; ``BD+28d4211`` and ``BD_28D4211`` are ``bd284211``."""
    bare = re.sub(r"[^a-z0-9]", "", name.casefold())
    return re.sub(r"^(bd|cd|cpd|grw|agk)[pm]?0*(\d+)d(\d)", r"\1\2\3", bare)


def spoken(name: str) -> frozenset[str]:
    """Return the forms under which an observer's `name` may be known.

    As it is; without words like ``std``; and its beginning, where more follows: ``GD71_slit2``.
    """
    words = [word for word in re.split(r"[^A-Za-z0-9+.-]+", name) if word]
    kept = [word for word in words if word.casefold() not in NOISE_WORDS]
    trimmed = re.sub(r"(?i)^(std|standard|flux)[_-]|[_-](std|standard|flux)$", "", name.strip())
    openings = ("".join(kept[:count]) for count in range(1, len(kept) + 1))
    starts = [opening for opening in openings if any(letter.isdigit() for letter in opening)]
    return frozenset(form for form in map(normal, (name, trimmed, *starts)) if form)


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Return all stars of the library, without their tables."""
    return tuple(_entry(path) for path in sorted(folder("standards").glob("*.dat")))


def _entry(path: Path) -> Entry:
    known = facts(path)
    names = frozenset(normal(name) for name in (known["name"], *known["aliases"].split(";")) if name.strip())
    first, second = (float(value) for value in known["pm"].split())
    return Entry(known["name"], names, float(known["ra"]), float(known["dec"]), (first, second), path)


@lru_cache(maxsize=16)
def load(path: Path) -> Standard:
    """Return one star with its table of `wave` (vacuum), `flux` and band `width`."""
    known, (wave, flux, width) = facts(path), columns(path)
    aliases = tuple(alias.strip() for alias in known["aliases"].split(";") if alias.strip())
    entry = _entry(path)
    return Standard(known["name"], aliases, entry.ra, entry.dec, wave, flux, width, known["source"], entry.pm)


def standards() -> tuple[Standard, ...]:
    """Return the whole library, tables and all."""
    return tuple(load(entry.path) for entry in entries())


def match_standard(
    name: str, ra: float | None = None, dec: float | None = None, mjd: float | None = None
) -> StandardMatch | None:
    """Recognise a standard by `name` or by position [degree, ICRS]; None where neither fits.

    Where both are given and disagree, the position decides if a standard lies there, for headers keep the name of the
    last target; else the name. Either way a caveat tells.
    """
    named = _by_name(name)
    placed = None if ra is None or dec is None else _by_position(ra, dec, mjd)
    chosen = placed or named
    if chosen is None:
        return None
    separation = None if ra is None or dec is None else chosen.separation(ra, dec, mjd)
    by = "name and position" if named is chosen and placed is chosen else "position" if chosen is placed else "name"
    return StandardMatch(load(chosen.path), by, separation, _disagreement(name, named, placed, separation))


def find_standard(
    name: str, ra: float | None = None, dec: float | None = None, mjd: float | None = None
) -> Standard | None:
    """Return the standard that `match_standard` recognises, or None."""
    found = match_standard(name, ra, dec, mjd)
    return None if found is None else found.standard


def _by_name(name: str) -> Entry | None:
    forms = spoken(name)
    for entry in entries():
        if forms & entry.names:
            return entry
    return _by_catalogue_name(name)


def _by_catalogue_name(name: str) -> Entry | None:
    """Return the star whose B1950 name SPhhmm+ddd differs by rounding only: one in the last digits."""
    wanted = _sp_numbers(name)
    if wanted is None:
        return None
    for entry in entries():
        for alias in facts(entry.path)["aliases"].split(";"):
            known = _sp_numbers(alias)
            if known and abs(known[0] - wanted[0]) <= 1 and abs(known[1] - wanted[1]) <= 1:
                return entry
    return None


def _sp_numbers(name: str) -> tuple[int, int] | None:
    found = re.match(r"^\s*sp\s*(\d{4})\s*([+-])(\d{3})\s*$", name, re.IGNORECASE)
    if found is None:
        return None
    return int(found[1]), int(found[2] + found[3])


def _by_position(ra: float, dec: float, mjd: float | None) -> Entry | None:
    nearest = min(entries(), key=lambda entry: entry.separation(ra, dec, mjd))
    return nearest if nearest.separation(ra, dec, mjd) <= RADIUS else None


def _disagreement(name: str, named: Entry | None, placed: Entry | None, separation: float | None) -> tuple[Caveat, ...]:
    if named is not None and placed is not None and named is not placed:
        text = f"the header names {name!r} ({named.name}) but the telescope pointed at {placed.name}: that was taken"
        return (Caveat("standard.name", text),)
    if named is None and placed is not None:
        return (Caveat("standard.name", f"{name!r} was recognised as {placed.name} by position alone"),)
    if placed is None and separation is not None and separation > NAMED:
        why = "coordinates of another equinox?" if separation < FAR else "is it the star?"
        return (Caveat("standard.position", f"{name!r} is {separation:.1f} arcmin from where it should be: {why}"),)
    return ()
