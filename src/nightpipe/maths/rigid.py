"""A shift in two dimensions and a turn, from shifts along x and along y at many places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.skyfield import Points

FloatArray = NDArray[np.float64]
FAR = 1000.0
"""Pixels: turns are fitted as a shift at this distance, so that all unknowns are of one size."""
CORE = 3.0
"""Pulls at which a Cauchy weight is a half."""
TYPICAL = 0.905
"""Mean Cauchy weight of normal errors with that `CORE`: by so much the weighted normal matrix is too small."""


@dataclass(frozen=True)
class Rigid:
    """The motion (dx, dy [pixel], turn [radian]), its `covariance` (3, 3), `chi2_dof`, and the weight of each line
    (0 ... 1) by how far it is from the others.
    """

    values: FloatArray
    covariance: FloatArray
    chi2_dof: float
    line_weight: FloatArray


def fit_rigid(
    along: Points, across: Points, lean: FloatArray, centre: tuple[float, float], prior: tuple[float, float, float]
) -> Rigid:
    """Fit ``dx - turn (y - y0)`` to shifts along x and ``dy + turn (x - x0) - lean dx`` to those along y.

    `lean` is the slope dy / dx of the tracks at the points across: one that moves along x by dx seems to sink by that.

    A line's offset is a parameter with a Gaussian prior of its `doubt`, as in `skyfield.fit_field`, and the whole is
    robust (Cauchy weights) both in points and in lines. `prior` are the standard deviations within which the motion
    is expected: they decide only where there is no measurement. The covariance is scaled by chi2 above 1.
    """
    design, value, sigma = _rows(along, across, lean, centre)
    expected = np.array([prior[0], prior[1], prior[2] * FAR])
    stiff = np.concatenate([1.0 / expected**2, 1.0 / along.doubt**2, 1.0 / across.doubt**2])
    weight, line = np.ones(value.size), np.ones(stiff.size)
    for _ in range(30):
        precision = weight / sigma**2
        normal = design.T @ (design * precision[:, None]) + np.diag(stiff * line)
        solution = np.linalg.solve(normal, design.T @ (precision * value))
        pull, off = (value - design @ solution) / sigma, solution * np.sqrt(stiff)
        weight = 1.0 / (1.0 + (pull / CORE) ** 2)
        line[3:] = 1.0 / (1.0 + (off[3:] / CORE) ** 2)
    chi2 = float(np.sum(weight * pull**2) + np.sum((line * off**2)[3:]))
    dof = max(value.size - 3, 1)
    unit = np.array([1.0, 1.0, 1.0 / FAR])
    covariance = TYPICAL * np.linalg.inv(normal)[:3, :3] * np.outer(unit, unit) * max(chi2 / dof, 1.0)
    return Rigid(
        solution[:3] * unit, np.asarray(covariance, dtype=np.float64), chi2 / dof, line[3 : 3 + along.doubt.size]
    )


def _rows(
    along: Points, across: Points, lean: FloatArray, centre: tuple[float, float]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the design, the shifts and their errors; unknowns are dx, dy, turn, and the offsets of all lines."""
    lines, tracks = along.doubt.size, across.doubt.size
    first = np.zeros((along.x.size, 3 + lines + tracks))
    first[:, 0], first[:, 2] = 1.0, -(along.y - centre[1]) / FAR
    first[np.arange(along.x.size), 3 + along.line] = 1.0
    second = np.zeros((across.x.size, 3 + lines + tracks))
    second[:, 0], second[:, 1], second[:, 2] = -lean, 1.0, (across.x - centre[0]) / FAR
    second[np.arange(across.x.size), 3 + lines + across.line] = 1.0
    shift, error = np.concatenate([along.shift, across.shift]), np.concatenate([along.error, across.error])
    return np.concatenate([first, second]), shift, error
