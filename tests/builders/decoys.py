"""Catalogues made of images' own stars, with as many stars of fields that do not exist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from nightpipe.maths.tan import sky_of_plane
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Wcs


@dataclass(frozen=True)
class Solved:
    """A frame's sources and the solution of its header."""

    name: str
    sources: Sources
    wcs: Wcs
    exptime: float
    shape: tuple[int, int]


def others(frames: list[Solved], own: Solved, rng: np.random.Generator) -> StarCatalogue:
    """All other frames' stars where their headers put them, and as many decoys: fields elsewhere, turned and drawn out.

    Undistorted they would be right answers, not decoys: the frames of a field show the same stars. What has not the
    shape of a star is two magnitudes fainter, so that knots of galaxies do not lead.
    """
    ra, dec, mag = [], [], []
    for frame in frames:
        if frame is own:
            continue
        good = frame.sources.flux > 0
        x, y = frame.sources.x[good], frame.sources.y[good]
        knot = frame.sources.columns.get("star", np.ones(good.size))[good] <= 0
        bright = -2.5 * np.log10(frame.sources.flux[good] / frame.exptime) + 2.0 * knot
        decoy = (rng.uniform(0, 360), float(np.degrees(np.arcsin(rng.uniform(-0.95, 0.95)))))
        turn = np.exp(1j * rng.uniform(0, 2 * np.pi)) * frame.wcs.scale / 3600
        away = (1.2 * (x - frame.shape[1] / 2) + 1j * rng.choice([-1, 1]) * (y - frame.shape[0] / 2)) * turn
        for place in (frame.wcs.to_sky(x, y), sky_of_plane(away.real, away.imag, decoy)):
            ra.append(place[0])
            dec.append(place[1])
            mag.append(bright)
    ra, dec, mag = (np.concatenate(part) for part in (ra, dec, mag))
    keep = _once(ra, dec, mag)
    zero = np.zeros(keep.size)
    return StarCatalogue("others", ra[keep], dec[keep], 2000.0, (0.0, 0.0), 180.0, zero, zero, zero, {"m": mag[keep]})


def _once(ra: np.ndarray, dec: np.ndarray, mag: np.ndarray) -> np.ndarray:
    """Rows of stars with no brighter one within 2 arcsec: the frames of a field show the same stars."""
    a, d = np.radians(ra), np.radians(dec)
    points = np.stack((np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)), axis=1)
    pairs = cKDTree(points).query_pairs(np.radians(2 / 3600), output_type="ndarray")
    fainter = np.where(mag[pairs[:, 0]] >= mag[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    return np.setdiff1d(np.arange(ra.size), fainter)
