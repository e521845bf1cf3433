"""SEDM's own files: cubes, spectra as FITS and text, under the names and keywords that its users know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import UnreadableFileError
from nightpipe.io import cards
from nightpipe.io.atomic import written
from nightpipe.maths.rebin import covariance, edges, overlap
from nightpipe.model.cube import Cube
from nightpipe.model.exposure import Exposure, FrameType, Header, Scalar
from nightpipe.model.spectrum import Spectrum

FloatArray = NDArray[np.float64]

GRID = np.linspace(3700.0, 9300.0, 220)
"""The wavelengths [Angstrom] of SEDM's cubes; its spectra lack three bins at each end."""
CUT = 3
UNIT = 0.55
"""Arcsec in a unit of SEDM's lattice: XPOS, YPOS and the cube's positions are in such units, east and north."""


@dataclass(frozen=True)
class Text:
    """A spectrum of SEDM's as text: its cards, wavelength [Angstrom], flux, and the third column as it stands."""

    header: Header
    wave: FloatArray
    flux: FloatArray
    third: FloatArray


def name_of(exposure: Exposure, header: Mapping[str, Scalar]) -> str:
    """Return the object's name as SEDM's files have it: without [A], with STD- before a standard's."""
    name = str(header.get("NAME") or exposure.target).partition("[")[0].strip().replace(" ", "")
    star = exposure.type is FrameType.STANDARD and not name.upper().startswith("STD-")
    return f"STD-{name}" if star else name


def cube_stem(exposure: Exposure, header: Mapping[str, Scalar]) -> str:
    """Return ``e3d_crr_b_ifu20190912_04_20_11_NAME``."""
    return f"e3d_crr_b_{exposure.name}_{name_of(exposure, header)}"


def spectrum_stem(exposure: Exposure, header: Mapping[str, Scalar], tag: str = "robot", how: str = "auto") -> str:
    """Return ``spec_auto_robot_lstep1__crr_b_ifu20190912_04_20_11_NAME``; `tag` tells a re-extraction's."""
    return f"spec_{how}_{tag}_lstep1__crr_b_{exposure.name}_{name_of(exposure, header)}"


def on_grid(spectrum: Spectrum, wave: FloatArray = GRID) -> tuple[FloatArray, FloatArray]:
    """Return flux and variance on SEDM's grid, flux conserved; NaN where less than half a bin is covered.

    A new bin is the mean over its span, so its variance holds the covariance of the bins that it is made of; what it
    shares with its neighbours is lost in a file that has no place for it.
    """
    good = spectrum.good & np.isfinite(spectrum.flux)
    share = overlap(edges(spectrum.wave), edges(wave)).toarray() * good
    covered = share.sum(axis=1)
    weight = share / np.where(covered > 0.5, covered, 1.0)[:, None]
    flux = weight @ np.where(good, spectrum.flux, 0.0)
    full = covariance(np.where(good, spectrum.var, 0.0), spectrum.correlation)
    var = np.einsum("ij,ij->i", weight, (full @ weight.T).T)
    inside = covered > 0.5
    return np.where(inside, flux, np.nan), np.where(inside, var, np.nan)


def write_spectrum(
    folder: Path, stem: str, spectrum: Spectrum, own: Mapping[str, Scalar], *, variance: bool = False
) -> tuple[Path, Path]:
    """Write ``STEM.fits`` (flux, extension VARIANCE) and ``STEM.txt`` into `folder` and return their paths.

    All cards of the raw header and `own` stand in both. The text's third column is the *error*; with `variance` it is
    the variance, as SEDM's pipeline had it. Raises StoreError.
    """
    from astropy.io import fits

    wave = GRID[CUT:-CUT]
    flux, var = on_grid(spectrum, wave)
    scale: Header = {"CRPIX1": 1, "CRVAL1": float(wave[0]), "CDELT1": float(wave[1] - wave[0])}
    header = _header(spectrum.header, {"BUNIT": _unit(spectrum.unit), **own})
    image, second = fits.PrimaryHDU(flux), fits.ImageHDU(var, name="VARIANCE")
    cards.fill(image.header, cards.original(header))
    for hdu in (image, second):
        hdu.header.update(scale)
    image.header["BUNIT"] = header["BUNIT"]
    with written(folder / f"{stem}.fits", durable=True) as stream:
        fits.HDUList([image, second]).writeto(stream, checksum=True, output_verify="silentfix")
    kept = np.isfinite(flux)
    third = var if variance else np.sqrt(var)
    note: Header = {"THIRDCOL": "variance" if variance else "error"}
    text = Text(header | scale | note, wave[kept], flux[kept], third[kept])
    with written(folder / f"{stem}.txt", durable=True) as stream:
        stream.write(as_text(text).encode("ascii"))
    return folder / f"{stem}.fits", folder / f"{stem}.txt"


def _unit(unit: str) -> str:
    return "erg/s/A/cm^2" if unit.startswith("erg") else unit


def _header(raw: Mapping[str, Scalar], own: Mapping[str, Scalar]) -> Header:
    """Return the raw header without what described the array, the gain one as the counts are electrons, and ours."""
    kept: Header = {key: value for key, value in raw.items() if not cards.STRUCTURE.fullmatch(key)}
    kept = {key: value for key, value in kept.items() if not cards.PLACE.fullmatch(key)}
    return kept | ({"GAIN": 1.0} if "GAIN" in kept else {}) | dict(own)


def as_text(spectrum: Text) -> str:
    """Return the text of a spectrum: every card as ``# KEY: value``, then three columns."""
    lines = [f"# {key}: {cards.plain(value)}" for key, value in spectrum.header.items()]
    rows = zip(spectrum.wave, spectrum.flux, spectrum.third, strict=True)
    lines += [f"{wave:.1f} {flux:.3e} {third:.3e}" for wave, flux, third in rows]
    return "".join(line + "\n" for line in lines)


def read_text(path: Path) -> Text:
    """Return a spectrum that SEDM's pipeline or we wrote as text; raises UnreadableFileError."""
    header: Header = {}
    rows: list[list[float]] = []
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("#"):
                key, _, value = line.removeprefix("# ").partition(":")
                header[key] = value.removeprefix(" ")
            elif line.strip():
                rows.append([float(word) for word in line.split()])
        wave, flux, third = np.array(rows, dtype=np.float64).T
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"a spectrum of SEDM's in {path}", str(error), "name a spec_*.txt") from error
    return Text(header, wave, flux, third)


def write_cube(path: Path, cube: Cube, own: Mapping[str, Scalar]) -> Path:
    """Write a cube as SEDM's tools read it: flux (wavelength, lenslet), VARIANCE, LBDA, MAPPING, SPAX_ID, SPAX_VERT.

    MAPPING holds x and y of each lenslet, SPAX_VERT the corners of a hexagon about them, in units of `UNIT` arcsec.
    Raises StoreError.
    """
    from astropy.io import fits

    primary = fits.PrimaryHDU(cube.flux.astype(np.float32))
    cards.fill(primary.header, cards.original(_header(cube.header, own)))
    step = float(cube.wave[1] - cube.wave[0])
    for axis in (1, 2):
        primary.header.update({f"CRVAL{axis}": float(cube.wave[0]), f"CDELT{axis}": step, f"CRPIX{axis}": 1})
    place = np.stack([cube.east, cube.north], axis=1) / UNIT
    angle = np.radians(cube.angle + 30.0 + 60.0 * np.arange(6))
    corners = cube.corner / UNIT * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    parts: list[tuple[str, Any]] = [
        ("VARIANCE", cube.var.astype(np.float32)), ("MASK", cube.mask.astype(np.int32)), ("LBDA", cube.wave),
        ("MAPPING", place), ("SPAX_ID", np.arange(cube.east.size)), ("SPAX_VERT", corners),
    ]  # fmt: skip
    hdus = [primary, *(fits.ImageHDU(values, name=name) for name, values in parts)]
    with written(path, durable=True) as stream:
        fits.HDUList(hdus).writeto(stream, checksum=True, output_verify="silentfix")
    return path
