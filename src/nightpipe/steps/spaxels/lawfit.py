"""Columns of wavelengths, lenslet by lenslet: all lines of all lamps fitted jointly, blends by their parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels import linefield

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
Prior = tuple[FloatArray, FloatArray]
BACKGROUND = 3
"""Terms of the continuum below a lamp's lines."""
GAINS = 2
"""Terms of a lamp's brightness along a spectrum relative to that of all lenslets."""
GRAIN = 0.01
"""Relative error of the model of a line: its shape is not quite Gaussian, pixels differ by a per cent."""


COHERENT = 0.02
"""The same where the strengths of lines are concerned: an error that all lenslets share."""


@dataclass(frozen=True)
class LampLight:
    """One lamp seen by n lenslets: `flux`, `weight` (n, m) by pixel; `wave`, `along` (l,) of its lines, `listed` (l,)
    their intensities in the list; `strength` (l,) of each line in all lenslets.
    """

    name: str
    flux: FloatArray
    weight: FloatArray
    wave: FloatArray
    along: FloatArray
    listed: FloatArray
    strength: FloatArray

    def of(self, chosen: NDArray[np.int64]) -> LampLight:
        """Return the light of some lenslets."""
        return replace(self, flux=self.flux[chosen], weight=self.weight[chosen])


def expected(lamps: list[LampLight]) -> list[FloatArray]:
    """Return the strengths (l,) that the lists lead to expect, lamp by lamp, from those of the bright lines.

    ``log S = lamp + a polynomial of the place + g log I``: the lamps' brightness, the instrument's throughput, and how
    the lists' intensities, which are rough, compress.
    """
    number = np.concatenate([np.full(len(lamp.along), k) for k, lamp in enumerate(lamps)])
    along, listed, found = (
        np.concatenate([getattr(lamp, name) for lamp in lamps]) for name in ("along", "listed", "strength")
    )
    basis = np.column_stack(
        [number[:, None] == np.arange(len(lamps)), along[:, None] ** np.arange(1, 4), np.log(listed)]
    ).astype(np.float64)
    bright = (found > 0) & (listed > 0.03)
    coef = np.zeros(basis.shape[1])
    target = np.log(np.maximum(found, 1e-9))
    for _ in range(4):
        coef = np.linalg.lstsq(basis[bright], target[bright], rcond=None)[0]
        off = np.abs(target - basis @ coef)
        bright = (found > 0) & (listed > 0.03) & (off < max(2.5 * float(np.median(off[bright])), 0.5))
        if bright.sum() < 1.5 * basis.shape[1]:
            break
    coef[-1] = np.clip(coef[-1], 0.4, 1.2)
    values = np.exp(basis @ coef)
    return [np.asarray(values[number == k]) for k in range(len(lamps))]


@dataclass(frozen=True)
class Laws:
    """The laws of n lenslets: `coef` (n, k) of the column from `first` (n,), `sigma` (n, p) of the line width, both in
    the nominal place `along`; `gain` (lamps, n, 2); `normal` (n, k, k) of the coefficients; `chi2` (n,) per pixel.
    """

    coef: FloatArray
    sigma: FloatArray
    gain: FloatArray
    normal: FloatArray
    chi2: FloatArray

    def of(self, chosen: NDArray[np.int64]) -> Laws:
        """Return the laws of some lenslets."""
        return Laws(self.coef[chosen], self.sigma[chosen], self.gain[:, chosen], self.normal[chosen], self.chi2[chosen])

    def places(self, along: FloatArray) -> FloatArray:
        """Return the places (n, l) [pixel from the first] of lines."""
        return np.asarray(self.coef @ _powers(along, self.coef.shape[1]).T)

    def widths(self, along: FloatArray) -> FloatArray:
        """Return the widths (n, l) [pixel] of lines."""
        return np.clip(self.sigma @ _powers(along, self.sigma.shape[1]).T, 0.5, 4.0)

    def gains(self, lamp: int, along: FloatArray) -> FloatArray:
        """Return the brightness (n, l) of a lamp relative to all lenslets."""
        return np.maximum(self.gain[lamp] @ _powers(along, GAINS).T, 0.02)


def _powers(along: FloatArray, terms: int) -> FloatArray:
    return np.asarray(along[:, None] ** np.arange(terms))


def strengths(lamp: LampLight, laws: Laws, number: int, likely: FloatArray, doubt: float) -> FloatArray:
    """Return the strengths (l,) of a lamp's lines, from all lenslets together, none negative.

    The lamp is one, the lenslets see it at as many phases of the pixel as there are of them: lines closer than their
    width are told apart. Least squares without negative values (Lawson & Hanson 1974). All lenslets err alike where
    the laws do: their number does not make the strengths surer, and lines keep to what is `likely` (l,) to within
    `doubt`, relative. Else a common error of the laws would hide in the strengths of a blend's parts.
    """
    from scipy.optimize import nnls

    place, width, gain = laws.places(lamp.along), laws.widths(lamp.along), laws.gains(number, lamp.along)
    size, lines = lamp.flux.shape[1], len(lamp.along)
    base = np.linspace(-1.0, 1.0, size)[None, :] ** np.arange(BACKGROUND)[:, None]
    normal, right = np.zeros((lines, lines)), np.zeros(lines)
    weight = lamp.weight / (1.0 + lamp.weight * (COHERENT * np.maximum(lamp.flux, 0.0)) ** 2)
    solve = np.linalg.pinv(np.einsum("im,nm,jm->nij", base, weight, base, optimize=True))
    for k in range(len(place)):
        share = linefield.each(place[k], width[k], size) * gain[k][:, None]
        y, w = lamp.flux[k], weight[k]
        # the continuum of each lenslet is projected out
        against = (share * w) @ base.T @ solve[k]
        share, y = share - against @ base, y - (solve[k] @ ((base * w) @ y)) @ base
        normal += (share * w) @ share.T
        right += (share * w) @ y
    sure = 1.0 / (doubt * np.maximum(likely, 1e-9)) ** 2
    normal, right = normal / len(place) + np.diag(sure), right / len(place) + sure * likely
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-30))
    normal = normal / scale[:, None] / scale[None, :] + 1e-7 * np.eye(lines)
    factor = np.linalg.cholesky(normal)
    found, _ = nnls(factor.T, np.linalg.solve(factor, right / scale), maxiter=50 * lines)
    return np.asarray(found / scale)


def fitted(lamps: list[LampLight], laws: Laws, *, rounds: int, blur: float = 0.0, prior: Prior | None = None) -> Laws:
    """Return the laws after `rounds` of Gauss-Newton over all lamps; `blur` [pixel] widens lines for a rough start.

    `prior` is (smooth (n, k), inverse covariance (k, k)) of the coefficients.
    """
    for _ in range(rounds):
        laws = _step(lamps, laws, blur, prior)
    return laws


def _step(lamps: list[LampLight], laws: Laws, blur: float, prior: Prior | None) -> Laws:
    """Return the laws after one step; gains and continua are linear and eliminated lamp by lamp."""
    k, p = laws.coef.shape[1], laws.sigma.shape[1]
    n = len(laws.coef)
    normal, right = np.zeros((n, k + p, k + p)), np.zeros((n, k + p))
    gain, chi2, count = laws.gain.copy(), np.zeros(n), np.zeros(n)
    for number, lamp in enumerate(lamps):
        a, b, own, square, used = _lamp_normal(lamp, laws, number, blur)
        normal, right = normal + a, right + b
        gain[number] = own
        chi2, count = chi2 + square, count + used
    if prior is not None:
        smooth, inverse = prior
        normal[:, :k, :k] += inverse
        right[:, :k] += np.einsum("ij,nj->ni", inverse, smooth - laws.coef)
    ridge = 1e-8 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / (k + p) + 1e-12
    change = np.linalg.solve(normal + ridge * np.eye(k + p), right[..., None])[..., 0]
    largest = np.abs(change[:, :k]).sum(axis=1, keepdims=True)
    change[:, :k] *= np.minimum(1.0, 2.0 / np.maximum(largest, 1e-9))
    sigma = laws.sigma + np.clip(change[:, k:], -0.3, 0.3)
    # what the widths take from the coefficients' certainty is small and projected out
    inner = normal[:, :k, :k] - np.einsum(
        "nij,njl,nlm->nim", normal[:, :k, k:], np.linalg.pinv(normal[:, k:, k:]), normal[:, k:, :k]
    )
    return replace(
        laws, coef=laws.coef + change[:, :k], sigma=sigma, gain=gain, normal=inner, chi2=chi2 / np.maximum(count, 1)
    )


def _lamp_normal(
    lamp: LampLight, laws: Laws, number: int, blur: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return a lamp's normal equations of law and width, its gains, chi-square and pixels of each lenslet."""
    k, p = laws.coef.shape[1], laws.sigma.shape[1]
    place, width, gain = laws.places(lamp.along), laws.widths(lamp.along), laws.gains(number, lamp.along)
    if blur:
        width = np.hypot(width, blur)
    size = lamp.flux.shape[1]
    parts = linefield.design(place, width, gain * lamp.strength, lamp.along, size, moves=k, widths=p, gains=0)
    scale = linefield.design(
        place, width, np.broadcast_to(lamp.strength, place.shape), lamp.along, size, moves=0, widths=0, gains=GAINS
    )[..., 1:]
    base = np.linspace(-1.0, 1.0, size)[:, None] ** np.arange(BACKGROUND)
    linear = np.concatenate([scale, np.broadcast_to(base, (len(place), *base.shape))], axis=2)
    model = parts[..., 0]
    w = lamp.weight / (1.0 + lamp.weight * (GRAIN * model) ** 2)
    light, found = _eliminated(linear, lamp.flux, w)
    off = lamp.flux - np.einsum("nmi,ni->nm", linear, found)
    robust = 1.0 / (1.0 + off**2 * w / 25.0)
    w = w * robust
    moves = parts[..., 1:]
    against = np.einsum("nmi,nmj->nij", linear * w[..., None], moves, optimize=True)
    moves = moves - np.einsum("nmi,nij->nmj", linear, light @ against, optimize=True)
    weighted = moves * w[..., None]
    normal = np.matmul(weighted.transpose(0, 2, 1), moves)
    right = np.einsum("nmi,nm->ni", weighted, off, optimize=True)
    use = lamp.weight > 0
    return normal, right, found[:, :GAINS], (w * off**2).sum(axis=1), use.sum(axis=1).astype(np.float64)


def _eliminated(linear: FloatArray, flux: FloatArray, w: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return inverse normal matrices and solutions of the linear terms of each lenslet."""
    weighted = linear * w[..., None]
    matrix = np.matmul(weighted.transpose(0, 2, 1), linear)
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", matrix), 1e-20))
    matrix = matrix / scale[:, :, None] / scale[:, None, :] + 1e-6 * np.eye(matrix.shape[1])
    inverse = np.linalg.inv(matrix) / scale[:, :, None] / scale[:, None, :]
    return inverse, np.einsum("nij,nmj,nm->ni", inverse, weighted, flux, optimize=True)


def line_offsets(
    lamp: LampLight, laws: Laws, number: int, *, least: float
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Return by how much single lines (or blends) lie off their laws (n, g) [pixel], the errors, the lines' indices.

    One more step of each line alone with its neighbours where the law has them; a line is measured where it has the
    share `least` of the light within its own width, and of blended lines the strongest speaks for all.
    """
    place, width, gain = laws.places(lamp.along), laws.widths(lamp.along), laws.gains(number, lamp.along)
    size = lamp.flux.shape[1]
    flux = gain * lamp.strength
    model = linefield.design(place, width, flux, lamp.along, size, moves=0, widths=0, gains=0)[..., 0]
    base = np.linspace(-1.0, 1.0, size)[:, None] ** np.arange(BACKGROUND)
    linear = np.broadcast_to(base, (len(place), *base.shape)).copy()
    w = lamp.weight / (1.0 + lamp.weight * (GRAIN * model) ** 2)
    _, found = _eliminated(linear, lamp.flux - model, w)
    off = lamp.flux - model - np.einsum("nmi,ni->nm", linear, found)
    chosen = prominent(lamp, laws, least)
    shift, error = np.full((len(place), len(chosen)), np.nan), np.full((len(place), len(chosen)), np.nan)
    for column, line in enumerate(chosen):
        near = np.abs(lamp.along - lamp.along[line]) * np.abs(laws.coef[:, 1]).mean() < 1.2 * float(np.median(width))
        parts = linefield.design(
            place[:, near], width[:, near], flux[:, near], lamp.along[near], size, moves=1, widths=0, gains=1
        )
        share, moved = parts[..., 2], parts[..., 1]
        s00, s01, s11 = (
            np.sum(w * one * other, axis=1) for one, other in ((share, share), (share, moved), (moved, moved))
        )
        b0, b1 = np.sum(w * share * off, axis=1), np.sum(w * moved * off, axis=1)
        det = s00 * s11 - s01 * s01
        ok = det > 1e-6 * s00 * s11
        shift[ok, column] = ((s00 * b1 - s01 * b0)[ok]) / det[ok]
        error[ok, column] = np.sqrt(s00[ok] / det[ok])
    return shift, error, chosen


def prominent(lamp: LampLight, laws: Laws, least: float) -> NDArray[np.int64]:
    """Return the lines that stand for themselves: the strongest within two widths, with a share of all light."""
    step, width = float(np.abs(laws.coef[:, 1]).mean()), float(np.median(laws.sigma[:, 0]))
    chosen = []
    for line in np.flatnonzero(lamp.strength > least * lamp.strength.max()):
        near = np.abs(lamp.along - lamp.along[line]) * step < 3.0 * width
        blend = np.abs(lamp.along - lamp.along[line]) * step < 1.2 * width
        top = lamp.strength[line] >= lamp.strength[near].max()
        if top and lamp.strength[blend].sum() > 0.6 * lamp.strength[near].sum():
            chosen.append(int(line))
    return np.array(chosen, dtype=np.int64)
