"""How the errors of a sky model go together along the slit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.surface import Surface
from nightpipe.steps.spectra.slitgrid import SlitGrid

Array = NDArray[np.float64]


def covariance_modes(surface: Surface, grid: SlitGrid) -> Array:
    """Return the errors of the model as modes (q, ny, nx): within a column, cov[i, j] = sum_k mode[k, i] mode[k, j].

    At one wavelength the sky is a polynomial along the slit whose coefficients have the covariance K = L L^T; pixels of
    one column lie at one wavelength to a fraction of a knot, so their errors are the rows of ``L^T P(v)``.
    """
    breaks = surface.breaks
    nodes = np.sort(np.concatenate([breaks, 0.5 * (breaks[1:] + breaks[:-1])]))
    matrix = surface.covariance(nodes)
    q = matrix.shape[-1]
    matrix = matrix + 1e-12 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(q)
    lower = np.linalg.cholesky(matrix)
    tilt = np.stack([grid.v**m for m in range(q)], axis=-1)
    modes = np.zeros((q, *grid.u.shape))
    for k in range(q):
        for m in range(k, q):
            modes[k] += np.interp(grid.u, nodes, lower[:, m, k]) * tilt[..., m]
    return np.where(grid.inside, modes, 0.0)
