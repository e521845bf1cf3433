"""A lattice of hexagons: its pitch and turn from the places of its members, and how to integrate over one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NEIGHBOURS = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))
"""Axial steps (q, r) to the six neighbours."""


@dataclass(frozen=True)
class Hexagon:
    """One lenslet: `pitch` from middle to middle, `area`, and where (east, north) its corners are, in the same unit."""

    pitch: float
    area: float
    corners: FloatArray

    def nodes(self) -> tuple[FloatArray, FloatArray]:
        """Return offsets (7, 2) and weights (7,) that integrate polynomials of fifth degree over the hexagon exactly.

        Abramowitz & Stegun 1964, 25.4.63. The weights sum to one.
        """
        points = np.vstack([[0.0, 0.0], np.sqrt(14.0) / 5.0 * self.corners])
        return points, np.array([258.0, *[125.0] * 6]) / 1008.0

    @property
    def variance(self) -> float:
        """Return the mean square extent along any direction."""
        return 5.0 * self.pitch**2 / 72.0


def hexagon_of(q: IntArray, r: IntArray, east: ArrayLike, north: ArrayLike) -> Hexagon:
    """Return the lenslet of a lattice whose members (q, r) lie at (east, north).

    The corners are where three lenslets meet: a third of the way from the middle across two neighbours.
    """
    design = np.column_stack([q, r, np.ones(len(q))]).astype(np.float64)
    place = np.column_stack([np.asarray(east, np.float64), np.asarray(north, np.float64)])
    steps, *_ = np.linalg.lstsq(design, place, rcond=None)
    around = np.array([a * steps[0] + b * steps[1] for a, b in NEIGHBOURS])
    corners = (around + np.roll(around, -1, axis=0)) / 3.0
    area = abs(float(steps[0, 0] * steps[1, 1] - steps[0, 1] * steps[1, 0]))
    return Hexagon(float(np.sqrt(2.0 * area / np.sqrt(3.0))), area, corners)


def neighbours_of(q: IntArray, r: IntArray) -> IntArray:
    """Return the numbers of the six neighbours of each lenslet (n, 6), -1 where there is none."""
    number = {(int(a), int(b)): k for k, (a, b) in enumerate(zip(q, r, strict=True))}
    rows = [[number.get((int(a) + u, int(b) + v), -1) for u, v in NEIGHBOURS] for a, b in zip(q, r, strict=True)]
    return np.array(rows, dtype=np.int64).reshape(-1, 6)
