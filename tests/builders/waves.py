"""A plain wavelength solution."""

from __future__ import annotations

import numpy as np

from nightpipe.maths.poly import Poly1, Poly2
from nightpipe.model.wave import LineTable, WaveSolution


def solution(shape, low=4200.0, high=7800.0):
    """Return a linear solution from `low` to `high`, tilted by 8 Angstrom along the slit."""
    ny, nx = shape
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    poly = Poly2(np.array([[middle, 4.0], [half, 0.0]]), (0.0, nx - 1.0), (0.0, ny - 1.0))
    empty = np.zeros(0)
    table = LineTable(empty, empty, empty, (), empty, empty.astype(bool), empty)
    fwhm = Poly1(np.array([2.0]), (0.0, nx - 1.0))
    return WaveSolution(poly, shape, table, fwhm, ny / 2, 1, 1, 0.0, 0.0, 0.0, (low, high), 1.0, (), "test")
