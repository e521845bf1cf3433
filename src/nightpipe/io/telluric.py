"""Optical depths of oxygen and water: from the reference set where it was fetched, else from the package's bands."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io import codec, download
from nightpipe.io.atomic import written
from nightpipe.maths.telluric import (
    OXYGEN_BANDS,
    UNIT,
    UPPER,
    CrossSections,
    OpticalDepth,
    depth_above,
    resolved,
    with_upper_air,
)

SET = "telluric"
FILE = "sections.fits"
BANDS = Path(__file__).parents[1] / "data" / "telluric" / "bands.dat"
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


def optical_depth(height: float) -> OpticalDepth:
    """Return the optical depths above `height` [m]: monochromatic where the set `telluric` was fetched.

    Without it, those of the package's bands at 2000 m, scaled in oxygen; `OpticalDepth.exact` tells.
    """
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
