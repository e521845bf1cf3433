"""A smooth field of shifts from shifts of single sky lines in bins along the slit, no more complex than needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from nightpipe.maths.poly import Poly2, scaled

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Points:
    """Shifts measured at (x, y): `shift`, `error` [pixel] from noise; `line` numbers the sky line, `doubt` (lines,).

    All points of one line share an unknown offset of standard deviation `doubt`: that of its blend's centre and of the
    wavelength scale there.
    """

    x: FloatArray
    y: FloatArray
    shift: FloatArray
    error: FloatArray
    line: Index
    doubt: FloatArray


@dataclass(frozen=True)
class Field:
    """The field `shift` with covariance, its `chi2_dof`, robust `weight` (points,) in 0 ... 1, and `orders` (x, y)."""

    shift: Poly2
    chi2_dof: float
    weight: FloatArray
    orders: tuple[int, int]


def fit_field(
    points: Points, domain_x: tuple[float, float], domain_y: tuple[float, float], most: tuple[int, int], floor: float
) -> Field:
    """Fit the field; each higher order must lower Akaike's information criterion (1974) by at least 2.

    (With Schwarz's criterion real gradients of two sigma are left out, and the covariance does not know.)

    `floor` [pixel] is added in quadrature to all errors. A line's offset is a parameter with a Gaussian prior, so that
    a line which is off everywhere neither bends nor, alone, moves the field. Covariance is scaled by chi2 if above 1.
    """
    best: tuple[float, Field] | None = None
    for order_y in range(most[1] + 1):
        for order_x in range(most[0] + 1):
            if not _supported(points, order_x, order_y):
                continue
            field, score = _fit(points, domain_x, domain_y, (order_x, order_y), floor)
            score += 2.0 * (order_x + order_y)
            if best is None or score < best[0]:
                best = (score, field)
    assert best is not None  # orders (0, 0) are always supported
    return best[1]


def _supported(points: Points, order_x: int, order_y: int) -> bool:
    lines, bins = len(np.unique(points.line)), len(np.unique(points.y))
    return lines >= 1 + 2 * order_x and bins >= 1 + 2 * order_y and len(points.x) >= 3 * (order_x + 1) * (order_y + 1)


def _basis(
    points: Points, domain_x: tuple[float, float], domain_y: tuple[float, float], orders: tuple[int, int]
) -> FloatArray:
    return np.asarray(
        chebyshev.chebvander2d(scaled(points.x, domain_x), scaled(points.y, domain_y), list(orders)), dtype=np.float64
    )


def _fit(
    points: Points, domain_x: tuple[float, float], domain_y: tuple[float, float], orders: tuple[int, int], floor: float
) -> tuple[Field, float]:
    basis = _basis(points, domain_x, domain_y, orders)
    offsets = (points.line[:, None] == np.arange(len(points.doubt))[None, :]).astype(np.float64)
    sigma, doubt = np.hypot(points.error, floor), np.hypot(points.doubt, floor)
    design = np.concatenate([basis, offsets], axis=1)
    prior = np.concatenate([np.zeros(basis.shape[1]), 1.0 / doubt**2])
    weight = np.ones(len(sigma))
    solution = np.zeros(design.shape[1])
    for _ in range(20):
        precision = weight / sigma**2
        normal = design.T @ (design * precision[:, None]) + np.diag(prior + 1e-12)
        solution = np.linalg.solve(normal, design.T @ (precision * points.shift))
        pull = (points.shift - design @ solution) / sigma
        weight = 1.0 / (1.0 + (pull / 3.0) ** 2)
    chi2 = float(np.sum(weight * pull**2) + np.sum(prior * solution**2))
    terms = basis.shape[1]
    dof = max(len(sigma) - terms, 1)
    cov = np.linalg.inv(normal)[:terms, :terms] * max(chi2 / dof, 1.0)
    coef = solution[:terms].reshape(orders[0] + 1, orders[1] + 1)
    loss = float(np.sum(9.0 * np.log1p(pull**2 / 9.0)) + np.sum(prior * solution**2))
    field = Field(Poly2(coef, domain_x, domain_y, cov), chi2 / dof, weight, orders)
    return field, loss + 2.0 * terms
