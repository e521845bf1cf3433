"""The hexagonal lattice: which lenslet a spectrum belongs to, and where the others should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import NoSolutionError
from nightpipe.maths.fieldpoly import FieldPoly, fit_field
from nightpipe.model.disperser import Lenslets

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
NEIGHBOURS = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))
DEGREE = 4
"""Of the polynomial by which the camera bends the lattice."""
HOLE = 6
"""So many steps away a live lenslet may be on the other side of a hole in the array."""
OUT_OF_LINE = 0.15
"""A spectrum farther than this share of a step from its place on the lattice belongs to no lenslet."""


@dataclass(frozen=True)
class Lattice:
    """The lattice as it lies on the detector: `place` gives (x, y) [pixel] of the dome's middle for any (q, r)."""

    nominal: Lenslets
    surface: FieldPoly
    centre: tuple[float, float]

    def flat(self, q: IntArray, r: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return where lenslets lie [pixel from the middle] without distortion: the field's coordinates."""
        return flat(self.nominal, q, r)

    def place(self, q: IntArray, r: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return (x, y) [pixel] of the middle of the dome's light."""
        at = self.surface(*self.flat(q, r))
        return at[:, 0], at[:, 1]


def flat(lenslets: Lenslets, q: IntArray, r: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return where the described lattice puts lenslets, from its middle [pixel]."""
    (ax, ay), (bx, by) = lenslets.step, lenslets.other
    return np.asarray(q * ax + r * bx, dtype=np.float64), np.asarray(q * ay + r * by, dtype=np.float64)


def assign(
    x: FloatArray, y: FloatArray, lenslets: Lenslets, middle: tuple[float, float]
) -> tuple[IntArray, IntArray, Lattice]:
    """Return q and r (n,) of spectra at (x, y), and the lattice; -999 for those that fit no lenslet or a taken one.

    The described lattice is fitted from its middle outwards, so that small errors of step and angle do not add up.
    Raises `NoSolutionError` when half the spectra do not fit.
    """
    matrix = np.array([lenslets.step, lenslets.other]).T
    origin = np.array(middle)
    points = np.stack([x, y], axis=1)
    for reach in (200.0, 400.0, 800.0, np.inf):
        index = np.rint(np.linalg.solve(matrix, (points - origin).T)).T
        near = np.hypot(*(points - middle).T) < reach
        if near.sum() >= 6:
            matrix, origin = _affine(index[near], points[near])
    q, r = index.T.astype(np.int64)
    u, v = flat(lenslets, q, r)
    try:
        surface = fit_field(u, v, points, 2)
        surface = fit_field(u, v, points, DEGREE, use=_close(points, surface(u, v), lenslets))
    except ValueError as error:
        raise _no_lattice(f"{len(x)} spectra, {error}") from error
    off = np.hypot(*(points - surface(u, v)).T)
    fits = off < OUT_OF_LINE * np.hypot(*lenslets.step)
    if fits.sum() < 0.5 * len(x):
        raise _no_lattice(f"{int(fits.sum())} of {len(x)} spectra fit it")
    keep = fits & _nearest(q, r, off)
    return np.where(keep, q, -999), np.where(keep, r, -999), Lattice(lenslets, surface, middle)


def _affine(index: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the matrix and origin by which `index` (n, 2) best gives `points`, the worst tenth left out."""
    basis = np.column_stack([index, np.ones(len(index))])
    use = np.ones(len(index), dtype=bool)
    for _ in range(3):
        coef = np.linalg.lstsq(basis[use], points[use], rcond=None)[0]
        off = np.hypot(*(points - basis @ coef).T)
        use = off <= np.percentile(off, 90)
    return np.asarray(coef[:2].T), np.asarray(coef[2])


def _close(points: FloatArray, expected: FloatArray, lenslets: Lenslets) -> NDArray[np.bool_]:
    return np.asarray(np.hypot(*(points - expected).T) < 0.3 * np.hypot(*lenslets.step))


def _nearest(q: IntArray, r: IntArray, off: FloatArray) -> NDArray[np.bool_]:
    """Return which of several spectra of one lenslet is nearest to its place."""
    keep = np.zeros(len(q), dtype=bool)
    seen: set[tuple[int, int]] = set()
    for k in np.argsort(off):
        key = (int(q[k]), int(r[k]))
        keep[k] = key not in seen
        seen.add(key)
    return keep


def _no_lattice(found: str) -> NoSolutionError:
    return NoSolutionError(
        "spectra on the described lattice of lenslets",
        found,
        "look at the dome; mend step, turn and middle of the lenslets in the instrument's description",
    )


def sites(
    lattice: Lattice, q: IntArray, r: IntArray, shape: tuple[int, int], span: tuple[float, float]
) -> tuple[IntArray, IntArray]:
    """Return the lattice's places (q, r) whose light, `span` columns about its middle, may fall on the detector.

    Places with no found lenslet within three steps are left out: the array ends there.
    """
    reach = range(-3, 4)
    near = {(int(a) + i, int(b) + j) for a, b in zip(q, r, strict=True) for i in reach for j in reach}
    table = np.array(sorted(near), dtype=np.int64)
    x, y = lattice.place(table[:, 0], table[:, 1])
    on = (x + span[1] > 0) & (x + span[0] < shape[1] - 1) & (y > -2.0) & (y < shape[0] + 1.0)
    return table[on, 0], table[on, 1]


def enclosed(q: IntArray, r: IntArray, live: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which places have four live neighbours or more, or live ones in five of six directions.

    The inner ones of a hole have none beside them, and what lies beyond an edge sees the living on one side only.
    """
    known = {(int(a), int(b)) for a, b, on in zip(q, r, live, strict=True) if on}

    def seen(a: int, b: int, reach: int) -> int:
        return sum(any((a + k * i, b + k * j) in known for k in range(1, reach + 1)) for i, j in NEIGHBOURS)

    places = [(int(a), int(b)) for a, b in zip(q, r, strict=True)]
    return np.array([seen(a, b, 1) >= 4 or seen(a, b, HOLE) >= 5 for a, b in places])


def on_sky(lenslets: Lenslets, q: IntArray, r: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return east and north [arcsec] of lenslets from the field's middle."""
    unit, angle = lenslets.pitch * np.sqrt(3.0) / 2.0, np.radians(lenslets.angle)
    a, b = (2.0 * q + r) / np.sqrt(3.0), r.astype(np.float64)
    return unit * (a * np.cos(angle) - b * np.sin(angle)), unit * (a * np.sin(angle) + b * np.cos(angle))
