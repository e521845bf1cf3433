"""How the errors of a sky model go together along the slit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.surface import Surface
from nightpipe.steps.spectra.slitgrid import SlitGrid

Array = NDArray[np.float64]

TABLE = 3.0
"""Places per pixel at which the covariance is computed; between them it is taken from the nearest."""


def covariance_modes(surface: Surface, grid: SlitGrid) -> Array:
    """Return the errors of the model as modes (q, ny, nx): within a column, cov[i, j] = sum_k mode[k, i] mode[k, j].

    At one wavelength the sky is a polynomial along the slit whose coefficients have the covariance K = L L^T; pixels of
    one column lie at one wavelength to a fraction of a knot, so their errors are the rows of ``L^T P(v)``.
    """
    low, high = float(surface.breaks[0]), float(surface.breaks[-1])
    count = max(int(TABLE * (high - low)), 2)
    nodes = np.linspace(low, high, count)
    matrix = surface.covariance(nodes)
    q = matrix.shape[-1]
    matrix = matrix + 1e-12 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(q)
    lower = np.linalg.cholesky(matrix)
    tilt = np.stack([grid.v**m for m in range(q)], axis=-1)
    modes = np.zeros((q, *grid.u.shape))
    place = np.clip(np.rint((grid.u - low) * ((count - 1) / (high - low))), 0, count - 1).astype(np.intp)
    for k in range(q):
        for m in range(k, q):
            modes[k] += lower[place, m, k] * tilt[..., m]
    return np.where(grid.inside, modes, 0.0)
