"""The kernel that makes one image of a field look like another, varying over the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import NoSolutionError

FloatArray = NDArray[np.float64]


class KernelModel(NamedTuple):
    """`basis` (b, m, m) times polynomials of the place: `coefficients` (terms, b); `sky` (terms,) is the offset."""

    basis: FloatArray
    coefficients: FloatArray
    sky: FloatArray
    degree: int
    shape: tuple[int, int]

    def kernel(self, x: float, y: float) -> FloatArray:
        """Return the kernel (m, m) at a place [pixel]."""
        weights = terms(x, y, self.shape, self.degree) @ self.coefficients
        return np.asarray(np.einsum("b,bij->ij", weights, self.basis))

    def offset(self, x: float, y: float) -> float:
        """Return the difference of the skies at a place."""
        return float(terms(x, y, self.shape, self.degree) @ self.sky)


class Stamps(NamedTuple):
    """Pieces (n, s, s) around bright sources at `x`, `y` (n,): what to blur, the goal, its variance (inf: bad)."""

    x: FloatArray
    y: FloatArray
    sharp: FloatArray
    goal: FloatArray
    var: FloatArray


class KernelFit(NamedTuple):
    """The kernel, which stamps were kept, the reduced chi2 of each, and residuals (n, s, s)."""

    model: KernelModel
    kept: NDArray[np.bool_]
    chi2: FloatArray
    residual: FloatArray


def terms(x: float, y: float, shape: tuple[int, int], degree: int) -> FloatArray:
    """Return the polynomials ``u**i v**j``, i + j <= degree, of a place scaled to -1 ... 1."""
    u, v = 2 * x / max(shape[1] - 1, 1) - 1, 2 * y / max(shape[0] - 1, 1) - 1
    return np.array([u**i * v**j for i in range(degree + 1) for j in range(degree + 1 - i)])


def gaussian_basis(half: int, sigmas: Sequence[float], degrees: Sequence[int]) -> FloatArray:
    """Return Gaussians times polynomials (b, 2 half + 1, 2 half + 1) (Alard & Lupton 1998, ApJ 503, 325, equation 4).

    The first is a Gaussian of sum one; all others that have a sum lose it by subtracting the first, so that only one
    carries flux and the kernel's sum may be held constant or vary by itself (Alard 2000, A&AS 144, 363).
    """
    t = np.arange(-half, half + 1.0)
    parts: list[FloatArray] = []
    for sigma, degree in zip(sigmas, degrees, strict=True):
        u = t / max(sigma, 1.0)
        bell = np.exp(-0.5 * np.square(t / sigma))
        for i in range(degree + 1):
            for j in range(degree + 1 - i):
                part = np.outer(bell * u**j, bell * u**i)
                total = part.sum() if i % 2 == 0 and j % 2 == 0 else 0.0
                parts.append(part / (total or np.abs(part).sum()) - (parts[0] if parts and total else 0.0))
    return np.array(parts)


def fit_kernel(
    stamps: Stamps, basis: FloatArray, shape: tuple[int, int], *, degree: int = 2, clip: float = 3.5, rounds: int = 4
) -> KernelFit:
    """Fit ``goal = kernel * sharp + sky`` on all stamps at once; stamps that disagree (variables) are left out.

    Raises NoSolutionError where fewer stamps agree than the kernel has spatial terms.
    """
    columns = [_columns(sharp, basis) for sharp in stamps.sharp]
    inner = basis.shape[1] // 2
    cut = (slice(inner, -inner), slice(inner, -inner))
    goals = np.array([goal[cut].ravel() for goal in stamps.goal])
    weights = np.array([1 / var[cut].ravel() for var in stamps.var])
    places = np.array([terms(x, y, shape, degree) for x, y in zip(stamps.x, stamps.y, strict=True)])
    blocks = [_block(c, g, w) for c, g, w in zip(columns, goals, weights, strict=True)]
    kept = np.ones(len(columns), np.bool_)
    solution, chi2, residual = np.zeros(0), np.zeros(0), goals
    for _ in range(rounds):
        if kept.sum() < 2 * places.shape[1]:
            found = f"{int(kept.sum())} of {len(kept)} stamps"
            raise NoSolutionError(
                "stars enough to fit the blurring kernel", found, "lower Subtract.degree or stack more"
            )
        solution = _solved(blocks, places, kept)
        residual = np.array([g - p @ solution @ c for g, p, c in zip(goals, places, columns, strict=True)])
        chi2 = np.einsum("np,np->n", np.square(residual), weights) / np.maximum((weights > 0).sum(axis=1), 1)
        middle = float(np.median(chi2[kept]))
        spread = 1.4826 * float(np.median(np.abs(chi2[kept] - middle))) + 0.1 * middle
        again = chi2 < middle + clip * spread
        if np.array_equal(again, kept):
            break
        kept = again
    size = stamps.goal.shape[1] - 2 * inner
    model = KernelModel(basis, solution[:, :-1], solution[:, -1], degree, shape)
    return KernelFit(model, kept, chi2, residual.reshape(-1, size, size))


def _columns(sharp: FloatArray, basis: FloatArray) -> FloatArray:
    """Return the stamp blurred by each basis function, and a constant: (b + 1, pixels)."""
    from scipy.signal import fftconvolve

    blurred = fftconvolve(sharp[None], basis, mode="valid", axes=(1, 2))
    return np.concatenate([blurred.reshape(len(basis), -1), np.ones((1, blurred[0].size))])


def _block(columns: FloatArray, goal: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    weighted = columns * weight
    return weighted @ columns.T, weighted @ goal


def _solved(blocks: Sequence[tuple[FloatArray, FloatArray]], places: FloatArray, kept: NDArray[np.bool_]) -> FloatArray:
    """Return the coefficients (terms, b + 1) of least squares, barely regularised: the basis is near degenerate."""
    count, size = places.shape[1], len(blocks[0][1])
    matrix, vector = np.zeros((count * size, count * size)), np.zeros(count * size)
    for (gram, right), place, use in zip(blocks, places, kept, strict=True):
        if use:
            matrix += np.kron(np.outer(place, place), gram)
            vector += np.kron(place, right)
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-30))
    normal = matrix / np.outer(scale, scale) + 1e-9 * np.eye(len(scale))
    return np.asarray(np.linalg.solve(normal, vector / scale) / scale).reshape(count, size)
