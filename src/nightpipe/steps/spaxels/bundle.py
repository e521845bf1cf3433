"""A bundle of traces while it is being fitted: rows and widths as polynomials, one profile for all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels import lenslets as kernels

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNIT = 100.0
"""Pixels: coefficients are those of ``(column - x) / UNIT`` while they are fitted, so that all are of one size."""
REACH = 6.5
"""Offset [sigma] at which the profile ends: beyond lie the neighbours."""
CORE = 2.0
"""Offset [sigma] within which the profile's core gives its width."""


@dataclass(frozen=True)
class Bundle:
    """n traces: `x` (n,) middle columns, `first` (n,) columns of the arrays' first elements, `m` columns each.

    `centre` (n, k) and `sigma` (n, p) are coefficients in ``u = (column - x) / UNIT``; `offset`, `below` the profile.
    """

    x: FloatArray
    first: IntArray
    m: int
    centre: FloatArray
    sigma: FloatArray
    offset: FloatArray
    below: FloatArray

    @property
    def u(self) -> FloatArray:
        """Return the coordinate along each trace, (n, m)."""
        return np.asarray((self.first[:, None] + np.arange(self.m) - self.x[:, None]) / UNIT)

    @property
    def rows(self) -> FloatArray:
        """Return the rows of the traces, (n, m) [pixel]."""
        return powers(self.u, self.centre)

    @property
    def widths(self) -> FloatArray:
        """Return the widths of the traces, (n, m) [pixel]."""
        return np.clip(powers(self.u, self.sigma), 0.4, 4.0)

    def visible(self, columns: int) -> NDArray[np.bool_]:
        """Return which of the traces' columns lie on a detector of so many, (n, m)."""
        at = self.first[:, None] + np.arange(self.m)
        return np.asarray((at >= 0) & (at < columns))

    def light(self, residual: FloatArray, weight: FloatArray, before: FloatArray, *, window: float) -> FloatArray:
        """Return what `residual` says of each trace in each column, (n, m, 6): see `kernels.lenslets.improve`."""
        return kernels.improve(
            residual, weight, self.first, self.rows, self.widths, before, self.offset, self.below, window=window
        )

    def image(self, shape: tuple[int, int], light: FloatArray) -> FloatArray:
        """Return the image of the traces with `light` (n, m)."""
        return np.asarray(
            kernels.render(shape, self.first, self.rows, self.widths, light, self.offset, self.below), dtype=np.float64
        )

    def reshaped(
        self, residual: FloatArray, weight: FloatArray, light: FloatArray, *, window: float, knots: int
    ) -> Bundle:
        """Return the bundle with the profile that `residual` (data less model) asks for.

        Least squares for a density of hats between `knots`, held together by a weak penalty on its second
        differences; then total 1, and the Gaussian that fits its core at 0 and of width 1.
        """
        places = np.linspace(-REACH, REACH, knots)
        normal, right = kernels.shape_normal(
            residual, weight, self.first, self.rows, self.widths, light, self.offset, self.below, places, window=window
        )
        bend = np.diff(np.eye(knots), 2, axis=0)
        level = 1e-7 * float(np.median(np.diag(normal)[np.diag(normal) > 0]))
        density = np.linalg.solve(normal + level * (bend.T @ bend) + 1e-6 * level * np.eye(knots), right)
        return self._with(places, np.maximum(density, 0.0))

    def _with(self, places: FloatArray, density: FloatArray) -> Bundle:
        fine = self.offset
        values = np.interp(fine, places, density, left=0.0, right=0.0)
        shift, core = _core(fine, values)
        below = _cumulative(fine, values)
        below /= below[-1]
        moved = np.interp(fine * core + shift, fine, below)
        centre = self.centre.copy()
        centre[:, : self.sigma.shape[1]] += shift * self.sigma
        return replace(self, below=moved, centre=centre, sigma=self.sigma * core)


def gaussian_table(reach: float = 7.0, step: float = 0.02) -> tuple[FloatArray, FloatArray]:
    """Return offsets and the share of light below them of a Gaussian: what a fit begins with."""
    from scipy.special import ndtr

    offset = np.linspace(-reach, reach, round(2 * reach / step) + 1)
    return offset, np.asarray(ndtr(offset))


def powers(u: FloatArray, coef: FloatArray) -> FloatArray:
    """Return ``sum_j coef[:, j] u**j`` of n polynomials at u (n, m)."""
    value = np.zeros(u.shape)
    for j in range(coef.shape[1] - 1, -1, -1):
        value = value * u + coef[:, j : j + 1]
    return value


def _cumulative(x: FloatArray, density: FloatArray) -> FloatArray:
    steps = (density[1:] + density[:-1]) / 2.0 * np.diff(x)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _core(offset: FloatArray, density: FloatArray) -> tuple[float, float]:
    """Return place and width of the Gaussian that fits the density's core best: a log-parabola, weighted by light."""
    core = (np.abs(offset) < CORE) & (density > 0)
    bend, slope, _ = np.polyfit(offset[core], np.log(density[core]), 2, w=density[core])
    bend = min(bend, -0.05)
    return float(np.clip(-slope / (2.0 * bend), -0.5, 0.5)), float(1.0 / np.sqrt(-2.0 * bend))
