"""Lines that are tilted and curved along a slit: a smooth displacement, its orders chosen by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from nightpipe.maths.poly import Poly2, fit2, scaled

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Displacement:
    """``shift(x, y)`` [pixel], zero on the row `y_ref`: light of one wavelength lies at x_ref + shift(x_ref, y).

    `coef` (order_x + 1, order_y) multiplies ``T_i(u) (T_j(v) - T_j(v_ref))``; `kept` marks the points of the fit;
    `error` is the cross-validated rms [pixel].
    """

    coef: FloatArray
    domain_x: tuple[float, float]
    domain_y: tuple[float, float]
    y_ref: float
    kept: Bools
    error: float

    def __call__(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the shift of the lines that cross `y_ref` at `x`, on rows `y`."""
        x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        design = _basis(x.ravel(), y.ravel(), self.coef.shape[0] - 1, self.coef.shape[1], self)
        return np.asarray((design @ self.coef.ravel()).reshape(x.shape))


@dataclass(frozen=True)
class _Frame:
    domain_x: tuple[float, float]
    domain_y: tuple[float, float]
    y_ref: float


def _basis(x: FloatArray, y: FloatArray, order_x: int, order_y: int, frame: Displacement | _Frame) -> FloatArray:
    u = chebyshev.chebvander(scaled(x, frame.domain_x), order_x)
    v = chebyshev.chebvander(scaled(y, frame.domain_y), order_y)[:, 1:]
    ref = chebyshev.chebvander(scaled([frame.y_ref], frame.domain_y), order_y)[:, 1:]
    return np.asarray((u[:, :, None] * (v - ref)[:, None, :]).reshape(len(x), -1))


def fit_displacement(
    x: FloatArray,
    y: FloatArray,
    place: FloatArray,
    error: FloatArray,
    ok: Bools,
    *,
    domain_x: tuple[float, float],
    domain_y: tuple[float, float],
    y_ref: float,
    most: tuple[int, int] = (3, 4),
    clip: float = 4.0,
) -> Displacement:
    """Fit the displacement of lines from block to block.

    `x` (lines,) their places on the reference row, `y` (blocks,), `place`, `error`, `ok` (blocks, lines). Each line has
    a free constant, so that what blends do to it, alike on all rows, bends nothing. The orders are the smallest whose
    error on lines left out in turn (a fifth at a time) is within two per cent of the least.
    """
    points = _Points(x, y, place, error, _Frame(domain_x, domain_y, y_ref), most)
    kept = ok.copy()
    for _ in range(6):
        order_x, order_y, cross = _choose(points, kept, most)
        coef = _solved(points.centred(kept), order_x, order_y)
        residual = points.residual(kept, coef)
        sigma = np.hypot(error, 1.4826 * float(np.median(np.abs(residual[kept]))))
        now = ok & (np.abs(residual) < clip * sigma)
        if np.array_equal(now, kept):
            break
        kept = now
    return Displacement(coef, domain_x, domain_y, y_ref, kept, cross)


@dataclass(frozen=True)
class _Centred:
    """What a fit to some points needs, each line's mean taken away: design (blocks, lines, i, j), data, weight."""

    design: FloatArray
    data: FloatArray
    weight: FloatArray


class _Points:
    """Places of lines `x` (lines,) in blocks `y` (blocks,), and the basis there up to the highest orders.

    A fit of lower orders takes the first of its columns: cross-validation asks for dozens of fits to the same points.
    """

    def __init__(
        self,
        x: FloatArray,
        y: FloatArray,
        place: FloatArray,
        error: FloatArray,
        frame: _Frame,
        most: tuple[int, int],
    ) -> None:
        self.x, self.y, self.place, self.error = x, y, place, error
        grid_x, grid_y = np.broadcast_arrays(x[None, :], y[:, None])
        flat = _basis(grid_x.ravel(), grid_y.ravel(), *most, frame)
        self.basis = flat.reshape(len(y), len(x), most[0] + 1, most[1])

    def weight(self, ok: Bools) -> FloatArray:
        """Return the weights of the points that are `ok`, zero for the others."""
        return np.where(ok, 1.0 / np.hypot(np.where(ok, self.error, 1.0), 0.01) ** 2, 0.0)

    def centred(self, ok: Bools) -> _Centred:
        """Return design and data for a fit to the points that are `ok`."""
        weight = self.weight(ok)
        data = _centred(np.where(ok, self.place - self.x, 0.0), weight)
        return _Centred(_centred(self.basis, weight), data, weight)

    def residual(self, ok: Bools, coef: FloatArray) -> FloatArray:
        """Return what the displacement `coef` leaves of each place (blocks, lines), less each line's mean over `ok`."""
        model = (_lower(self.basis, *coef.shape) @ coef.ravel()).reshape(self.place.shape)
        left = np.where(np.isfinite(self.place), self.place - self.x - model, 0.0)
        return _centred(left, self.weight(ok))


def _lower(basis: FloatArray, count_x: int, count_y: int) -> FloatArray:
    """Return the columns (blocks times lines, terms) of `count_x` times `count_y` terms."""
    return np.asfortranarray(basis[:, :, :count_x, :count_y].reshape(-1, count_x * count_y))


def _choose(points: _Points, ok: Bools, most: tuple[int, int]) -> tuple[int, int, float]:
    """Return the orders and their cross-validated error."""
    lines = int(ok.any(axis=0).sum())
    folds = _folds(points, ok)
    trials: list[tuple[int, int, int, float]] = []
    for order_x in range(min(most[0], max((lines - 1) // 3, 0)) + 1):
        for order_y in range(1, min(most[1], max(len(points.y) - 2, 1)) + 1):
            value = _left_out(points, folds, order_x, order_y)
            trials.append(((order_x + 1) * order_y, order_x, order_y, value))
    least = min(trial[3] for trial in trials)
    _, order_x, order_y, value = min(trial for trial in trials if trial[3] <= 1.02 * least)
    return order_x, order_y, value


@dataclass(frozen=True)
class _Fold:
    """A fifth of the lines, left out: their points `test`, how many others there are, and what a fit to those needs."""

    test: Bools
    others: int
    train: _Centred


def _folds(points: _Points, ok: Bools) -> list[_Fold]:
    """Return the five folds; those without points are left away."""
    fold = np.argsort(np.argsort(points.x)) % 5
    pairs = [(ok & (fold == k)[None, :], ok & (fold != k)[None, :]) for k in range(5)]
    return [_Fold(test, int(train.sum()), points.centred(train)) for test, train in pairs if test.any()]


def _left_out(points: _Points, folds: list[_Fold], order_x: int, order_y: int) -> float:
    """Return the robust scatter of lines predicted by the others, in five folds."""
    left: list[FloatArray] = []
    for fold in folds:
        if fold.others < (order_x + 1) * order_y + 5:
            continue
        residual = points.residual(fold.test, _solved(fold.train, order_x, order_y))
        left.append(residual[fold.test] / np.hypot(points.error[fold.test], 0.01))
    every = np.concatenate(left) if left else np.array([np.inf])
    return float(np.sqrt(np.mean(np.minimum(every**2, 25.0))))


def _centred(values: FloatArray, weight: FloatArray) -> FloatArray:
    """Take each line's weighted mean over its rows away; `values` (blocks, lines, ...)."""
    extra = (None,) * (values.ndim - 2)
    total = np.maximum(weight.sum(axis=0), 1e-30)
    mean = (values * weight[(..., *extra)]).sum(axis=0) / total[(..., *extra)]
    return np.asarray(values - mean[None])


def _solved(points: _Centred, order_x: int, order_y: int) -> FloatArray:
    """Return the coefficients (order_x + 1, order_y) of the least squares, a trace of a pull to zero among them."""
    weight = points.weight.ravel()
    design = _lower(points.design, order_x + 1, order_y)
    weighted = design * weight[:, None]
    normal = design.T @ weighted
    normal += 1e-10 * float(np.trace(normal)) / len(normal) * np.eye(len(normal))
    solution = np.linalg.solve(normal, weighted.T @ points.data.ravel())
    return np.asarray(solution.reshape(order_x + 1, order_y), dtype=np.float64)


def bent(row: FloatArray, shift: Displacement, shape: tuple[int, int]) -> Poly2:
    """Return wavelength over (x, y) from the scale on the reference row and the displacement.

    `row` holds the Chebyshev coefficients on the reference row. The composition ``row(x_ref)`` with x_ref from
    ``x = x_ref + shift(x_ref, y)`` is fitted by a two-dimensional series of just higher order, exact to 1e-4 pixel.
    """
    ny, nx = shape
    x, y = np.linspace(0.0, nx - 1.0, 60), np.linspace(0.0, ny - 1.0, 30)
    grid_x, grid_y = (a.ravel() for a in np.meshgrid(x, y))
    source = grid_x.copy()
    for _ in range(6):
        source = grid_x - shift(source, grid_y)
    wave = chebyshev.chebval(scaled(source, shift.domain_x), row)
    orders = (len(row) - 1 + 2, min(shift.coef.shape[1] * 2, 8))
    return fit2(grid_x, grid_y, wave, orders, domain_x=shift.domain_x, domain_y=(0.0, ny - 1.0))
