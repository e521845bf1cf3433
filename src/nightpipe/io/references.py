"""Reference data that come with the package: standards, extinction, lines of lamps and of the night sky."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io.standards import StandardMatch, find_standard, match_standard, normal, standards
from nightpipe.io.tables import columns, facts, folder, rows
from nightpipe.maths.air import to_vacuum
from nightpipe.maths.extinction import Atmosphere, fit
from nightpipe.maths.features import STRONG_TELLURIC, in_bands
from nightpipe.model.exposure import Site
from nightpipe.model.references import Extinction, LineList

__all__ = [
    "StandardMatch",
    "extinction",
    "find_standard",
    "line_list",
    "match_standard",
    "published_extinction",
    "sky_lines",
    "standards",
]

FloatArray = NDArray[np.float64]
WAVE = (3000.0, 11000.0, 10.0)
GENERIC = Atmosphere(height=0.0, dobson=260.0, depth=0.03, alpha=1.2)
"""Ozone and aerosol of a clear mountain site of which no curve is published."""
NEAR = 0.3
"""A telescope within this distance [degree] of a site shares its air."""


def extinction(site: str | Site) -> Extinction | None:
    """Return the physical model of a site's extinction, fitted to its published curve.

    A `Site` that is none of the known ones has the pressure of its height with ozone and aerosol of a clear site, and
    ``terms["generic"]`` is 1; a bare name that nobody knows gives None.
    """
    path = _site_file(site)
    if path is not None:
        return _fitted(path)
    return _generic(site) if isinstance(site, Site) else None


def published_extinction(site: str) -> tuple[FloatArray, FloatArray]:
    """Return the published curve: vacuum wavelength [Angstrom] and mag/airmass; raises ReferenceMissingError."""
    path = _site_file(site)
    if path is None:
        raise ReferenceMissingError("an extinction curve", site, "one of " + ", ".join(sites()))
    wave, magnitude = columns(path)
    return to_vacuum(wave), magnitude


def sites() -> tuple[str, ...]:
    """Return the names of the sites with a published extinction curve."""
    return tuple(facts(path)["site"] for path in _site_files())


@lru_cache(maxsize=1)
def _ozone() -> tuple[FloatArray, FloatArray]:
    wave, section = columns(folder("extinction") / "ozone.dat")
    return wave, section * 1e-21


def _site_files() -> tuple[Path, ...]:
    return tuple(path for path in sorted(folder("extinction").glob("*.dat")) if "site" in facts(path))


def _site_file(site: str | Site) -> Path | None:
    name = normal(site.name if isinstance(site, Site) else site)
    for path in _site_files():
        known = facts(path)
        if name in {normal(alias) for alias in (path.stem, known["site"], *known["aliases"].split(";"))}:
            return path
        if isinstance(site, Site) and _distance(site, known) < NEAR:
            return path
    return None


def _distance(site: Site, known: dict[str, str]) -> float:
    east = (site.longitude - float(known["longitude"]) + 180.0) % 360.0 - 180.0
    north = site.latitude - float(known["latitude"])
    return float(np.hypot(east * np.cos(np.radians(site.latitude)), north))


@lru_cache(maxsize=16)
def _fitted(path: Path) -> Extinction:
    known = facts(path)
    wave, magnitude = published_extinction(known["site"])
    clear = ~in_bands(wave, STRONG_TELLURIC)
    model = fit(wave, magnitude, float(known["height"]), _ozone(), used=clear)
    return _extinction(known["site"], model, known["source"])


def _generic(site: Site) -> Extinction:
    model = Atmosphere(site.height, GENERIC.dobson, GENERIC.depth, GENERIC.alpha)
    result = _extinction(site.name, model, "Rayleigh scattering for the height, ozone and aerosol of a clear site")
    result.terms["generic"] = 1.0
    return result


def _extinction(site: str, model: Atmosphere, source: str) -> Extinction:
    low, high, step = WAVE
    wave = np.arange(low, high + step / 2, step)
    terms = {
        "height_m": model.height,
        "ozone_dobson": model.dobson,
        "aerosol_mag": model.depth,
        "aerosol_alpha": model.alpha,
        "rms_mag": model.rms,
    }
    return Extinction(site, wave, model.at(wave, _ozone()), terms, source)


def line_list(lamps: tuple[str, ...]) -> LineList:
    """Return the lines of all `lamps` together (``"HeNe"``, ``"He"``, ``"ThAr"`` ...).

    A lamp is one that ``lines/lamps.txt`` names, or one named by its elements. Raises ReferenceMissingError.
    """
    wanted = dict.fromkeys(name for lamp in lamps for name in _lamp_files(lamp))
    if not wanted:
        raise ReferenceMissingError("at least one lamp", "none", "retype the frame, or name its lamps")
    return _joined(tuple(wanted))


def sky_lines() -> LineList:
    """Return the emission lines of the night sky."""
    return _joined(("sky",))


def _lamp_files(lamp: str) -> tuple[str, ...]:
    mixed = {normal(first): tuple(rest) for first, *rest in rows(folder("lines") / "lamps.txt")}
    if normal(lamp) in mixed:
        return mixed[normal(lamp)]
    have = {path.stem for path in folder("lines").glob("*.txt")} - {"lamps", "sky"}
    elements = tuple(re.findall(r"[A-Z][a-z]?", re.sub(r"[^A-Za-z]", "", lamp)))
    if not elements or not set(elements) <= have:
        raise ReferenceMissingError("a line list for the lamp", lamp, "elements known: " + ", ".join(sorted(have)))
    return elements


@lru_cache(maxsize=32)
def _joined(names: tuple[str, ...]) -> LineList:
    paths = [folder("lines") / f"{name}.txt" for name in names]
    table = sorted(
        (float(wave), float(intensity), species) for path in paths for wave, intensity, species in rows(path)
    )
    source = "; ".join(dict.fromkeys(facts(path).get("source", path.name) for path in paths))
    return LineList(
        np.array([row[0] for row in table]), np.array([row[1] for row in table]), tuple(row[2] for row in table), source
    )
