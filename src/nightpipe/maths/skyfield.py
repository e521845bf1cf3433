"""A smooth field of shifts from shifts of single sky lines in bins along the slit, no more complex than needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from nightpipe.maths.poly import Poly2, scaled

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]

EXTRA = np.array([0.0, 0.002, 0.005, 0.012, 0.035, 0.1])
"""Errors [pixel] that all points may have beyond their noise, and those that all lines may have beyond their doubt."""
SHARES = np.array([0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0])
"""Factors by which the doubts of all lines may be wrong."""
USUAL_EXTRA, USUAL_SHARE, SPREAD = 0.002, 0.3, 0.4
"""What they usually are, and by how much their logarithms vary (half the width of a law with wide wings)."""
LOOSE = np.array([10.0, 1.0, 0.1, 0.05, 0.03])
"""Standard deviations [pixel] that the coefficients along the slit have beforehand: the whole moves and turns freely,
but hardly bends."""
RARER = 1.5
"""Each further order is believed less often by this factor, as a natural logarithm."""


@dataclass(frozen=True)
class Points:
    """Shifts measured at (x, y): `shift`, `error` [pixel] from noise; `line` numbers the sky line, `doubt` (lines,).

    All points of one line share an unknown offset of standard deviation about `doubt`: that of its blend's centre and
    of the wavelength scale there.
    """

    x: FloatArray
    y: FloatArray
    shift: FloatArray
    error: FloatArray
    line: Index
    doubt: FloatArray


@dataclass(frozen=True)
class Field:
    """The field `shift` with covariance, its `chi2_dof`, `weight` (points,) 1 or 0 where left out, `orders` (x, y).

    `chi2_dof` is that of the points by their noise, each line free to be off.
    """

    shift: Poly2
    chi2_dof: float
    weight: FloatArray
    orders: tuple[int, int]


def fit_field(
    points: Points,
    domain_x: tuple[float, float],
    domain_y: tuple[float, float],
    most: tuple[int, int],
    stretch: float = 0.1,
) -> Field:
    """Fit the field: a shift and, where bins allow, a tilt along the slit; stretch and bend as far as is believed.

    `stretch` [pixel] is what the ends of the dispersion usually move against the middle.

    Nothing that is not known is chosen: the orders up to `most`, an error that all points have beyond their noise, one
    that all lines have, and a factor to the lines' doubts are averaged over, each possibility by its evidence (Bayesian
    model averaging, Hoeting et al. 1999; Gelman et al. 2013, section 5.4). So the errors are neither those of a fixed
    floor nor those of the luckiest guess. (A criterion that chooses was tried: a stretch that noise alone suggests is
    chosen where it looks large, and then is five sigma off.) Points and lines further off than four sigma are left out.
    """
    shape = (most[0] + 1, most[1] + 1)
    fits = [_fit(points, domain_x, domain_y, orders, shape, stretch) for orders in _orders(points, most)]
    evidence = np.array([average.evidence - RARER * sum(orders) for orders, average, _ in fits])
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    coefs, covs = (np.array(each) for each in zip(*((one.coef, one.cov) for _, one, _ in fits), strict=True))
    mean = weight @ coefs
    cov = np.einsum("g,gij->ij", weight, covs) + np.einsum("g,gi,gj->ij", weight, coefs - mean, coefs - mean)
    orders, average, problem = fits[int(weight.argmax())]
    shift = Poly2(mean.reshape(shape), domain_x, domain_y, cov)
    return Field(shift, problem.chi2(average), problem.kept, orders)


def _orders(points: Points, most: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the orders (x, y) that points, lines and bins support, the tilt left out only where it cannot be seen."""
    lines, bins = len(np.unique(points.line)), len(np.unique(points.y))
    grid = [(x, y) for y in range(most[1] + 1) for x in range(most[0] + 1)]
    fine = [
        (x, y) for x, y in grid if lines >= 1 + 2 * x and bins >= 1 + 2 * y and len(points.x) >= 3 * (x + 1) * (y + 1)
    ]
    tilted = [one for one in fine if one[1] > 0]
    return tilted or fine or [(0, 0)]


def _fit(
    points: Points,
    domain_x: tuple[float, float],
    domain_y: tuple[float, float],
    orders: tuple[int, int],
    shape: tuple[int, int],
    stretch: float,
) -> tuple[tuple[int, int], _Average, _Problem]:
    """Return the orders, the solution with its coefficients placed among those of `shape`, and the problem solved."""
    u, v = scaled(points.x, domain_x), scaled(points.y, domain_y)
    basis = np.asarray(chebyshev.chebvander2d(u, v, list(orders)), dtype=np.float64)
    loose = np.array([LOOSE, *(np.minimum(LOOSE, stretch) / (degree + 1) for degree in range(orders[0]))])
    prior = 1.0 / loose[:, : orders[1] + 1].ravel() ** 2
    problem = _Problem(points, basis, prior, _sound(points, basis, prior))
    for _ in range(2):
        problem = problem.without_odd(problem.averaged())
    average = problem.averaged()
    place = np.arange(shape[0] * shape[1]).reshape(shape)[: orders[0] + 1, : orders[1] + 1].ravel()
    coef, cov = np.zeros(shape[0] * shape[1]), np.zeros((shape[0] * shape[1],) * 2)
    coef[place], cov[np.ix_(place, place)] = average.coef, average.cov
    return orders, average._replace(coef=coef, cov=cov), problem


def _sound(points: Points, basis: FloatArray, prior: FloatArray) -> FloatArray:
    """Return 1 for points that a robust fit (Cauchy weights) does not find far off, else 0."""
    count, terms = len(points.doubt), basis.shape[1]
    design = np.concatenate([basis, np.eye(count)[points.line]], axis=1)
    sigma, doubt = np.hypot(points.error, 0.01), np.hypot(points.doubt, 0.01)
    weight, trust = np.ones(len(sigma)), np.ones(count)
    for _ in range(15):
        precision = weight / sigma**2
        normal = design.T @ (design * precision[:, None]) + np.diag(np.concatenate([prior, trust / doubt**2]))
        solution = np.linalg.solve(normal, design.T @ (precision * points.shift))
        pull, off = (points.shift - design @ solution) / sigma, solution[terms:] / doubt
        weight, trust = 1.0 / (1.0 + (pull / 3.0) ** 2), 1.0 / (1.0 + (off / 3.0) ** 2)
    scale, scale_off = (max(1.0, 1.4826 * float(np.median(np.abs(values)))) for values in (pull, off))
    fine = (np.abs(pull) < 4.0 * scale) & (np.abs(off) < 4.0 * scale_off)[points.line]
    return fine.astype(np.float64) if fine.sum() > terms + 1 else np.ones(len(fine))


class _Average(NamedTuple):
    """Coefficients and covariance averaged over the grid, the `evidence` for them all; `extra` [pixel] of the points
    and the lines' standard deviation `off` (lines,) [pixel], averaged in square.
    """

    coef: FloatArray
    cov: FloatArray
    evidence: float
    extra: float
    off: FloatArray


@dataclass(frozen=True)
class _Problem:
    """Points with a basis (points, terms), prior precision (terms,) and which are kept (points,)."""

    points: Points
    basis: FloatArray
    prior: FloatArray
    kept: FloatArray

    def averaged(self) -> _Average:
        """Return the solution over the grid of what errors may be."""
        share, extra = (each.ravel() for each in np.meshgrid(SHARES, EXTRA, indexing="ij"))
        off2 = (share[:, None] * self.points.doubt) ** 2 + extra[:, None] ** 2
        belief = _belief(share, USUAL_SHARE) + _belief(extra, USUAL_EXTRA)
        nodes = [self._solved(value, off2) for value in EXTRA]
        coef, cov, score = (np.concatenate(parts) for parts in zip(*nodes, strict=True))
        score += np.concatenate([belief + _belief(np.array([value]), USUAL_EXTRA) for value in EXTRA])
        evidence = score + 0.5 * np.linalg.slogdet(cov)[1] + 0.5 * float(np.sum(np.log(self.prior)))
        weight = np.exp(evidence - evidence.max())
        total = float(evidence.max() + np.log(weight.sum())) + self.left_out()
        weight /= weight.sum()
        mean = weight @ coef
        spread = np.einsum("g,gi,gj->ij", weight, coef - mean, coef - mean)
        line, point = weight.reshape(len(EXTRA), -1).sum(axis=0), weight.reshape(len(EXTRA), -1).sum(axis=1)
        return _Average(
            mean,
            np.einsum("g,gij->ij", weight, cov) + spread,
            total,
            float(np.sqrt(point @ EXTRA**2)),
            np.sqrt(line @ off2),
        )

    def _solved(self, extra: float, off2: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return coefficients, covariance and log-likelihood for each row of `off2` (nodes, lines).

        The lines' offsets are integrated out in closed form (Woodbury): noise is diagonal but for one constant a line.
        """
        points, count = self.points, len(self.points.doubt)
        variance = points.error**2 + extra**2
        weight = self.kept / variance
        total = np.bincount(points.line, weight, count)
        shared = off2 / (1.0 + off2 * total)
        moments = np.zeros((count, self.basis.shape[1]))
        np.add.at(moments, points.line, self.basis * weight[:, None])
        mean = np.bincount(points.line, weight * points.shift, count)
        plain = (self.basis * weight[:, None]).T @ self.basis + np.diag(self.prior)
        normal = plain - np.einsum("gl,li,lj->gij", shared, moments, moments)
        right = self.basis.T @ (weight * points.shift) - shared @ (moments * mean[:, None])
        cov = np.linalg.inv(normal)
        coef = np.einsum("gij,gj->gi", cov, right)
        chi2 = np.sum(weight * points.shift**2) - shared @ mean**2 - np.sum(right * coef, axis=1)
        size = np.sum(self.kept * np.log(variance)) + np.sum(np.log1p(off2 * total), axis=1)
        return coef, cov, -0.5 * (chi2 + size)

    def without_odd(self, average: _Average) -> _Problem:
        """Return the problem without points and lines that are further off than four sigma, enough left."""
        points, count = self.points, len(self.points.doubt)
        sigma = np.hypot(points.error, average.extra)
        rest = points.shift - self.basis @ average.coef
        weight = self.kept / sigma**2
        total = np.maximum(np.bincount(points.line, weight, count), 1e-12)
        off = np.bincount(points.line, weight * rest, count) / total
        odd_line = np.abs(off) > 4.0 * np.sqrt(average.off**2 + 1.0 / total)
        odd_point = np.abs(rest - off[points.line]) > 4.0 * sigma
        kept = self.kept * ~(odd_line[points.line] | odd_point)
        enough = kept.sum() > self.basis.shape[1] + 1
        return _Problem(points, self.basis, self.prior, kept if enough else self.kept)

    def left_out(self) -> float:
        """Return the log-likelihood that a point left out is charged: what it has four sigma off its place."""
        lost = 1.0 - self.kept
        return float(np.sum(lost * (-8.0 - np.log(np.hypot(self.points.error, USUAL_EXTRA)))))

    def chi2(self, average: _Average) -> float:
        """Return chi-square per degree of freedom of the kept points by their noise, lines at their own offsets."""
        points, count = self.points, len(self.points.doubt)
        rest = points.shift - self.basis @ average.coef[average.coef != 0.0]
        weight = self.kept / np.hypot(points.error, 1e-4) ** 2
        off = np.bincount(points.line, weight * rest, count) / np.maximum(
            np.bincount(points.line, weight, count), 1e-12
        )
        lines = len(np.unique(points.line[self.kept > 0]))
        return float(np.sum(weight * (rest - off[points.line]) ** 2)) / max(int(self.kept.sum()) - lines, 1)


def _belief(value: FloatArray, usual: float) -> FloatArray:
    """Return the logarithm of how usual a value is: Cauchy's law in its logarithm, 0 counted as half of the usual."""
    return np.asarray(-np.log1p((np.log(np.maximum(value, 0.5 * usual) / usual) / SPREAD) ** 2))
