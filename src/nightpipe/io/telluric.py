"""Optical depths of oxygen and water: from the reference set where it was fetched, else from the package's bands."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io import codec, download
from nightpipe.io.atomic import written
from nightpipe.maths.telluric import (
    AIR_SCALE,
    OXYGEN_BANDS,
    UNIT,
    UPPER,
    CrossSections,
    OpticalDepth,
    depth_above,
    resolved,
    with_upper_air,
)

FloatArray = NDArray[np.float64]

SET = "telluric"
FILE = "sections.fits"
BANDS = Path(__file__).parents[1] / "data" / "telluric" / "bands.dat"
INFRARED = BANDS.with_name("infrared.dat")
BEYOND = 11900.0
"""Redder than this [Angstrom] only the package's table of the near infrared tells anything."""
MAUNA_KEA = 4200.0
"""Height [m] of the site that the near infrared was made for."""
WATER_BANDS = ((11950.0, 12350.0), (12950.0, 15550.0), (17200.0, 19950.0), (23300.0, 25100.0))
"""Where water absorbs most; elsewhere in the near infrared oxygen (1.27), carbon dioxide (1.58, 1.60, 2.01, 2.06) and
methane (1.67, 2.3 micrometres) do (Smette et al. 2015, A&A 576, A77, figure 1)."""
FROM = 5800.0
"""Bluer bands [Angstrom] hide less than a thousandth at any resolution of ours."""
SOURCE = "MODTRAN cross-sections as distributed with pwv_kpno 1.3 (Perrefort et al. 2018, ascl:1806.015)"


def compact(unpacked: Path, folder: Path) -> None:
    """Write the cross-sections of the unpacked text tables as one FITS file into `folder`."""
    wave, oxygen = _table(unpacked / "o2cs.txt")
    _, water = _table(unpacked / "h2ocs.txt")
    keep = wave >= FROM
    wave, oxygen, water = wave[keep], oxygen[:, keep].astype(np.float64), water[:, keep]
    height = 1000.0 * np.arange(len(oxygen), dtype=np.float64)
    oxygen = np.concatenate([oxygen, with_upper_air(height, oxygen)])
    water = np.concatenate([water, np.repeat(water[-1:], len(UPPER), axis=0)])
    height = np.concatenate([height, UPPER])
    split = np.flatnonzero(np.any([(wave > low) & (wave < high) for low, high in OXYGEN_BANDS], axis=0))
    inside = [resolved(wave, layer, above)[:, split] for layer, above in zip(oxygen, height, strict=True)]
    sections = CrossSections(
        wave, height, oxygen.astype(np.float32), water, np.array(inside, dtype=np.float32), split, SOURCE
    )
    codec.save(sections, folder / FILE, durable=True)


def _table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelength [Angstrom] and cross-sections (layers, n) of a text table in micrometres and cm2."""
    rows = np.loadtxt(path, dtype=np.float64)
    return rows[:, 0] * 1e4, np.ascontiguousarray((rows[:, 1:].T / UNIT).astype(np.float32))


def optical_depth(height: float, red: float = 0.0) -> OpticalDepth:
    """Return the optical depths above `height` [m]: monochromatic where the set `telluric` was fetched.

    Without it, those of the package's bands at 2000 m, scaled in oxygen; `OpticalDepth.exact` tells. For a spectrum
    that ends at `red` [Angstrom], beyond 1.19 micrometres, the package's rough bands carry them on to 2.5 micrometres,
    from `OpticalDepth.rough` on.
    """
    depth = _optical(height)
    return with_infrared(depth, height) if red > BEYOND else depth


def _optical(height: float) -> OpticalDepth:
    try:
        return _above(str(download.local(SET) / FILE), height)
    except ReferenceMissingError:
        return bands(height)


@cache
def _above(path: str, height: float) -> OpticalDepth:
    return depth_above(codec.load(path), height)


def bands(height: float) -> OpticalDepth:
    """Return the package's k-distribution of the bands, its oxygen scaled to `height` [m]."""
    table, facts = _bands(str(BANDS))
    count = len(facts["weight"])
    scale = np.exp(-(height - facts["height"][0]) / facts["scale"][0])
    wave, oxygen, water = table[0], table[1 : 1 + count] * scale, table[1 + count :]
    return OpticalDepth(wave, facts["weight"], oxygen, water, exact=False, source=f"bands of the package; {SOURCE}")


def with_infrared(depth: OpticalDepth, height: float) -> OpticalDepth:
    """Return the table carried on to 2.5 micrometres: one value for each 10 Angstrom, all gases but water as "oxygen".

    That value is the logarithm of what a band lets through at airmass 1 and one millimetre of water. Lines that are
    saturated within it grow slower than in proportion, so it is good near those numbers and rough far from them.
    """
    wave, total = np.loadtxt(INFRARED, dtype=np.float64).T
    grid = np.arange(depth.wave[-1] + depth.step, wave[-1], depth.step)
    wet = np.any([(grid > low) & (grid < high) for low, high in WATER_BANDS], axis=0)
    value = np.interp(grid, wave, total)
    dry = np.where(wet, 0.0, value) * np.exp((MAUNA_KEA - height) / AIR_SCALE)
    water = np.where(wet, value, 0.0)

    def carried_on(table: NDArray[np.floating], more: FloatArray) -> NDArray[np.floating]:
        return np.concatenate([table, np.repeat(more[None], len(table), axis=0)], axis=1)

    return replace(
        depth,
        wave=np.concatenate([depth.wave, grid]),
        oxygen=carried_on(depth.oxygen, dry),
        water=carried_on(depth.water, water),
        source=f"{depth.source}; beyond 1.2 um Gemini's ATRAN model (Lord 1992)",
        rough=float(grid[0]),
    )


def write_infrared(path: Path, wave: np.ndarray, depth: np.ndarray) -> None:
    """Write the table of the near infrared: `wave` [vacuum Angstrom] and effective optical depth."""
    head = [
        "# Effective optical depth of the air above Mauna Kea at airmass 1 with 1.0 mm of water, in bins of 10 A",
        "# source: ATRAN (Lord 1992, NASA Technical Memorandum 103957), as published by Gemini Observatory",
        "# columns: wave (vacuum Angstrom), depth",
    ]
    rows = [f"{x:.0f} {y:.4f}" for x, y in zip(wave, depth, strict=True)]
    with written(path) as stream:
        stream.write("\n".join([*head, *rows, ""]).encode())


@cache
def _bands(path: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    facts = {
        name: np.array(values.split(), dtype=np.float64)
        for name, _, values in (line[2:].partition(" = ") for line in lines if line.startswith("# ") and " = " in line)
    }
    return np.loadtxt(path, dtype=np.float64).T.copy(), facts


def write_bands(path: Path, depth: OpticalDepth, height: float, scale: float) -> None:
    """Write a k-distribution as the text table that the package carries."""
    count = len(depth.weight)
    head = [
        "# Optical depths at airmass 1: oxygen of the air above a site, and one millimetre of precipitable water,",
        "# sorted within bins of wavelength (vacuum Angstrom, centres) into a few values, each for a share of the bin.",
        f"# source: {SOURCE}",
        f"# columns: wave, {count} of oxygen, {count} of water",
        f"# weight = {' '.join(f'{value:.6f}' for value in depth.weight)}",
        f"# height = {height:.0f}",
        f"# scale = {scale:.0f}",
    ]
    rows = np.concatenate([depth.wave[None], depth.oxygen, depth.water]).T
    body = [" ".join([f"{row[0]:.2f}", *(f"{value:.4g}" for value in row[1:])]) for row in rows]
    with written(path) as stream:
        stream.write("\n".join([*head, *body, ""]).encode())
