"""Many small least-squares fits at once: Gaussian lines integrated over pixels, on a constant or sloping ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F64, ShapeError, float64, same_shape
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.threads import each_strip

MAX_LINES = 6
_STRIP = 256
_FIRST_FLUX = 4  # parameters: centre, sigma, constant, slope, then one flux a line


@dataclass(frozen=True)
class LineFits:
    """n fits; every field (n,), `flux` and `flux_error` (n, lines), all float64 but `ok`.

    `centre` [pixel] is that of the line (or of the multiplet's zero), `sigma` [pixel], `flux` the area of each line;
    `constant` and `slope` (per pixel) are the ground at the window's middle. Errors are one sigma if the weights are
    1/sigma^2, and infinite where the data do not fix the parameter. `ok`: converged, centre in the
    window and known to better than its length.
    """

    centre: F64
    centre_error: F64
    sigma: F64
    sigma_error: F64
    flux: F64
    flux_error: F64
    constant: F64
    constant_error: F64
    slope: F64
    chi2: F64
    dof: NDArray[np.int64]
    ok: NDArray[np.bool_]

    @property
    def amplitude(self) -> F64:
        """Return the height of each line before integration over pixels."""
        return np.asarray(self.flux / (self.sigma[:, None] * math.sqrt(2 * math.pi)))

    @property
    def fwhm(self) -> F64:
        """Return the full width at half maximum [pixel]."""
        return np.asarray(self.sigma * math.sqrt(8 * math.log(2)))


def gaussians(
    values: ArrayLike,
    weight: ArrayLike,
    first: ArrayLike,
    centre: ArrayLike,
    sigma: ArrayLike,
    *,
    slope: bool = False,
    hold_width: bool = False,
    iterations: int = 200,
) -> LineFits:
    """Fit one line to each window; arguments as in `multiplets`."""
    n = len(np.atleast_2d(np.asarray(values)))
    return multiplets(values, weight, first, centre, sigma, np.zeros((n, 1)), slope=slope, hold_width=hold_width,
                      iterations=iterations)  # fmt: skip


def multiplets(
    values: ArrayLike,
    weight: ArrayLike,
    first: ArrayLike,
    centre: ArrayLike,
    sigma: ArrayLike,
    offsets: ArrayLike,
    *,
    slope: bool = False,
    hold_width: bool = False,
    iterations: int = 200,
) -> LineFits:
    """Fit lines of known separations, one common shift and width, and free fluxes, to each window.

    `values`, `weight` (n, m) with weight = 1/sigma^2, 0 for bad pixels; `first` (n,) or a number: the pixel coordinate
    of each window's first pixel; `centre`, `sigma` (n,) or numbers: the start; `offsets` (n, lines) [pixel] from
    `centre`, nan where a window has fewer lines, at most 6. `hold_width` keeps sigma at its start. Levenberg-Marquardt
    (Marquardt 1963, J. SIAM 11, 431), until a further step would gain less than 1e-10 of chi2. Raises ShapeError.
    """
    data, given = np.atleast_2d(float64(values)), np.atleast_2d(float64(weight))
    same_shape("values and weight", data, given)
    n = len(data)
    lines = float64(np.atleast_2d(np.asarray(offsets, dtype=np.float64)))
    lines = float64(np.broadcast_to(lines, (n, lines.shape[1])))
    if lines.shape[1] > MAX_LINES:
        raise ShapeError(f"at most {MAX_LINES} lines a window", str(lines.shape[1]))
    origin, where, width = (float64(np.broadcast_to(np.asarray(one), (n,))) for one in (first, centre, sigma))
    result, errors = np.zeros((n, _FIRST_FLUX + lines.shape[1])), np.full((n, _FIRST_FLUX + lines.shape[1]), np.inf)
    chi2, dof, ok = np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.uint8)
    result[:, 0], result[:, 1] = where - origin, width
    choice = np.array([slope, hold_width, iterations], dtype=np.int64)

    def work(start: int, stop: int) -> None:
        cut = slice(start, stop)
        _fit_all(data[cut], given[cut], lines[cut], choice, result[cut], errors[cut], chi2[cut], dof[cut], ok[cut])

    each_strip(work, n, _STRIP)
    result[:, 0] += origin
    flux, flux_error = result[:, _FIRST_FLUX:], errors[:, _FIRST_FLUX:]
    return LineFits(result[:, 0], errors[:, 0], result[:, 1], errors[:, 1], flux, flux_error,
                    result[:, 2], errors[:, 2], result[:, 3], chi2, dof, ok.view(np.bool_))  # fmt: skip


def windows(values: ArrayLike, weight: ArrayLike, centre: ArrayLike, half: int) -> tuple[F64, F64, F64]:
    """Cut a spectrum around each centre: values and weights (n, 2 half + 1), and the first pixel of each window (n,).

    Pixels beyond the spectrum, or not finite, get weight 0.
    """
    data, given = float64(values), float64(weight)
    same_shape("values and weight", data, given)
    first = np.rint(float64(centre)).astype(np.int64) - half
    index = first[:, None] + np.arange(2 * half + 1)
    inside = (index >= 0) & (index < data.size)
    index = np.clip(index, 0, data.size - 1)
    good = inside & np.isfinite(data[index]) & np.isfinite(given[index])
    return np.where(good, data[index], 0.0), np.where(good, given[index], 0.0), first.astype(np.float64)


def model_plain(fits: LineFits, first: ArrayLike, m: int, offsets: ArrayLike | None = None) -> F64:
    """Return the fitted model in windows of m pixels, (n, m), in plain numpy."""
    n, count = fits.flux.shape
    shift = np.zeros((n, count)) if offsets is None else np.broadcast_to(np.asarray(offsets, dtype=float), (n, count))
    origin = np.broadcast_to(np.asarray(first, dtype=float), (n,))
    edges = origin[:, None, None] + np.arange(m + 1) - 0.5
    z = (edges - (fits.centre[:, None] + shift)[:, :, None]) / (fits.sigma[:, None, None] * math.sqrt(2))
    lines = np.diff(0.5 * np.vectorize(math.erf)(z), axis=2)
    ground = fits.constant[:, None] + fits.slope[:, None] * (np.arange(m) - 0.5 * (m - 1))
    return np.asarray(ground + np.nansum(fits.flux[:, :, None] * lines, axis=1))


@kernel
def _fit_all(
    values: F64,
    weight: F64,
    offsets: F64,
    choice: NDArray[np.int64],
    result: F64,
    errors: F64,
    chi2: F64,
    dof: NDArray[np.int64],
    ok: NDArray[np.uint8],
) -> None:
    n, m = values.shape
    size = result.shape[1]
    space = np.empty((size, m))
    free = np.empty(size, dtype=np.uint8)
    for k in range(n):
        used = _choose(offsets[k], choice, free)
        points = 0
        for i in range(m):
            points += weight[k, i] > 0
        dof[k] = points - used
        if dof[k] >= 0 and result[k, 1] > 0:
            chi2[k], good = _fit(values[k], weight[k], offsets[k], free, choice[2], space, result[k], errors[k])
            ok[k] = good and 0 <= result[k, 0] <= m - 1 and errors[k, 0] < m


@helper
def _choose(offsets: F64, choice: NDArray[np.int64], free: NDArray[np.uint8]) -> int:
    """Mark the free parameters of one window; return their number."""
    free[0], free[1], free[2], free[3] = 1, choice[1] == 0, 1, choice[0] != 0
    for line in range(offsets.size):
        free[_FIRST_FLUX + line] = np.isfinite(offsets[line])
    used = 0
    for k in range(free.size):
        used += free[k]
    return used


@helper
def _fit(
    values: F64,
    weight: F64,
    offsets: F64,
    free: NDArray[np.uint8],
    iterations: int,
    space: F64,
    p: F64,
    errors: F64,
) -> tuple[float, bool]:
    """Fit one window from p, in place; return chi2 and whether it converged."""
    size, damping, done = p.size, 1e-3, False
    matrix, gradient, step, work = (
        np.empty((2, size, size)),
        np.empty((2, size)),
        np.empty(size),
        np.empty((size, size)),
    )
    _start_linear(values, weight, offsets, free, space, p, matrix[0], gradient[0], work)
    chi2 = _normal(values, weight, offsets, free, p, space, matrix[0], gradient[0])
    floor = 0.0
    for i in range(values.size):
        floor += 1e-24 * weight[i] * values[i] ** 2
    here = 0
    for _ in range(iterations):
        gain = _step(matrix[here], gradient[here], free, 0.0, work, step)
        done = 0 <= gain <= 1e-10 * chi2 + floor
        if done or damping > 1e12:
            break
        gain = _step(matrix[here], gradient[here], free, damping, work, step)
        after = np.inf
        if gain >= 0 and _bounded(p, step, values.size):
            for k in range(size):
                step[k] += p[k]
            after = _normal(values, weight, offsets, free, step, space, matrix[1 - here], gradient[1 - here])
        if after < chi2:
            chi2, here, damping = after, 1 - here, max(damping * 0.05, 1e-10)
            for k in range(size):
                p[k] = step[k]
        else:
            damping *= 10.0
    fixed = _errors(matrix[here], free, work, errors)
    return chi2, done and fixed


@helper
def _bounded(p: F64, step: F64, m: int) -> bool:
    """Return whether a step is small enough for the model to be trusted; without this, widths collapse on one pixel."""
    width = p[1] + step[1]
    return 0.5 * p[1] < width < 2.0 * p[1] and 0.05 < width < 2.0 * m and abs(step[0]) < 1.0 + p[1]


@helper
def _start_linear(
    values: F64,
    weight: F64,
    offsets: F64,
    free: NDArray[np.uint8],
    space: F64,
    p: F64,
    matrix: F64,
    gradient: F64,
    work: F64,
) -> None:
    """Solve ground and fluxes exactly at the given centre and width."""
    linear, trial = np.zeros(p.size, dtype=np.uint8), np.empty(p.size)
    for k in range(2, p.size):
        linear[k] = free[k]
    _normal(values, weight, offsets, linear, p, space, matrix, gradient)
    if _step(matrix, gradient, linear, 0.0, work, trial) >= 0:
        for k in range(p.size):
            p[k] += trial[k]


@helper
def _edge(z: float) -> tuple[float, float]:
    """Return the normal distribution and its density at z."""
    if z > 9.0:
        return 1.0, 0.0
    if z < -9.0:
        return 0.0, 0.0
    return 0.5 * math.erfc(-z * 0.7071067811865476), 0.3989422804014327 * math.exp(-0.5 * z * z)


@helper
def _normal(
    values: F64,
    weight: F64,
    offsets: F64,
    free: NDArray[np.uint8],
    p: F64,
    space: F64,
    matrix: F64,
    gradient: F64,
) -> float:
    """Write the normal matrix and minus half the gradient at p; return chi2. `space` keeps the Jacobian."""
    size, m = space.shape
    _jacobian(offsets, p, space)
    chi2 = 0.0
    for a in range(size):
        gradient[a] = 0.0
        for b in range(size):
            matrix[a, b] = 0.0
    for i in range(m):
        residual = values[i] - p[2] * space[2, i] - p[3] * space[3, i]
        for k in range(_FIRST_FLUX, size):
            residual -= p[k] * space[k, i]
        chi2 += weight[i] * residual * residual
        for a in range(size):
            if free[a]:
                scaled = weight[i] * space[a, i]
                gradient[a] += scaled * residual
                for b in range(a + 1):
                    matrix[a, b] += scaled * space[b, i]
    return chi2


@helper
def _jacobian(offsets: F64, p: F64, space: F64) -> None:
    m = space.shape[1]
    for i in range(m):
        space[0, i], space[1, i], space[2, i], space[3, i] = 0.0, 0.0, 1.0, i - 0.5 * (m - 1)
    for line in range(offsets.size):
        k = _FIRST_FLUX + line
        if not np.isfinite(offsets[line]):
            for i in range(m):
                space[k, i] = 0.0
            continue
        z = (-0.5 - p[0] - offsets[line]) / p[1]
        area, density = _edge(z)
        for i in range(m):
            after = (i + 0.5 - p[0] - offsets[line]) / p[1]
            more, thick = _edge(after)
            space[k, i] = more - area
            space[0, i] -= p[k] * (thick - density) / p[1]
            space[1, i] -= p[k] * (after * thick - z * density) / p[1]
            z, area, density = after, more, thick


@helper
def _step(matrix: F64, gradient: F64, free: NDArray[np.uint8], damping: float, work: F64, step: F64) -> float:
    """Solve for the step, the diagonal raised by `damping`; return the gain it predicts, -1 where it is singular."""
    size = step.size
    if not _cholesky(matrix, free, damping, work):
        return -1.0
    for a in range(size):
        step[a] = gradient[a] if free[a] else 0.0
        for b in range(a):
            step[a] -= work[a, b] * step[b]
        step[a] /= work[a, a]
    gain = 0.0
    for a in range(size):
        gain += step[a] * step[a]
    for a in range(size - 1, -1, -1):
        for b in range(a + 1, size):
            step[a] -= work[b, a] * step[b]
        step[a] /= work[a, a]
    return gain


@helper
def _cholesky(matrix: F64, free: NDArray[np.uint8], damping: float, work: F64) -> bool:
    """Factorise the free part of the matrix; held parameters get a unit row."""
    for a in range(free.size):
        for b in range(a + 1):
            total = matrix[a, b] if free[a] and free[b] else 0.0
            if a == b:
                total = total * (1.0 + damping) if free[a] else 1.0
            for c in range(b):
                total -= work[a, c] * work[b, c]
            if a == b:
                if not total > 1e-13 * (matrix[a, a] if free[a] else 1.0):
                    return False
                work[a, a] = math.sqrt(total)
            else:
                work[a, b] = total / work[b, b]
    return True


@helper
def _errors(matrix: F64, free: NDArray[np.uint8], work: F64, errors: F64) -> bool:
    """Write the roots of the inverse's diagonal; held parameters have no error, an open fit infinite ones."""
    if not _cholesky(matrix, free, 0.0, work):
        return False
    column = np.empty(free.size)
    for k in range(free.size):
        total = 0.0
        for a in range(k, free.size):
            column[a] = 1.0 if a == k else 0.0
            for b in range(k, a):
                column[a] -= work[a, b] * column[b]
            column[a] /= work[a, a]
            total += column[a] * column[a]
        errors[k] = math.sqrt(total) if free[k] else 0.0
    return True


def rehearse() -> None:
    """Compile the kernels of this module."""
    gaussians(np.array([0.0, 1.0, 3.0, 1.0, 0.0, 0.0]), np.ones(6), 0.0, 2.0, 1.0)
