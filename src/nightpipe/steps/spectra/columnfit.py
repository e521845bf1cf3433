"""Optimal extraction, column by column, of one source or several that overlap (Horne 1986; blends: Hynes 2002)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust_run import running_median
from nightpipe.steps.spectra.collapse import Residual, row_range

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ColumnRules:
    """`clip` [sigma] for outliers, `profile_error` the share by which profiles may err, `rounds`, `smooth` columns."""

    clip: float
    profile_error: float
    rounds: int
    smooth: int


@dataclass(frozen=True)
class ColumnFit:
    """Fluxes (m, nx) of the m sources, `cov` (nx, m, m) without the sky's, `ok` (ny, nx) the pixels kept.

    `combine` (m, ny, nx): each flux is the sum of these times the residual data. `model` (ny, nx) is all sources' light
    and `var` (ny, nx) the variance that it predicts; `solved` (nx) tells where there was anything to fit.
    """

    flux: Array
    cov: Array
    ok: Mask
    combine: Array
    model: Array
    var: Array
    solved: Mask


def fit_columns(light: Residual, profiles: Array, rules: ColumnRules) -> ColumnFit:
    """Extract all sources (profiles (m, ny, nx)) at once, rejecting the worst outlier of each column in each round.

    Weights come from smoothed fluxes: made from the column's own, they would prefer whatever fluctuated downwards.
    """
    cut = row_range(profiles.max(axis=0) > 0)
    return _embedded(_fitted(light.rows(cut), profiles[:, cut], rules), cut, light.data.shape)


def _embedded(fit: ColumnFit, cut: slice, shape: tuple[int, ...]) -> ColumnFit:
    """Put the fit of some rows back among the others, which take no part."""

    def full(part: NDArray[Any]) -> NDArray[Any]:
        whole = np.zeros((*part.shape[:-2], *shape), dtype=part.dtype)
        whole[..., cut, :] = part
        return whole

    arrays = {name: full(getattr(fit, name)) for name in ("ok", "combine", "model", "var")}
    return replace(fit, **arrays)


def _fitted(light: Residual, profiles: Array, rules: ColumnRules) -> ColumnFit:
    ok = light.ok & (light.var > 0)
    within = profiles.max(axis=0) > 0
    ok &= within
    var = light.variance(_start(light, profiles, ok))
    fit = _solved(light, profiles, ok, var)
    for _ in range(rules.rounds):
        var = light.variance(_light(_steady(fit, rules.smooth), profiles))
        fit = _solved(light, profiles, ok, var)
        worst = _worst(light, fit, rules)
        if not worst.any():
            break
        ok = ok & ~worst
        fit = _solved(light, profiles, ok, var)
    return fit


def _start(light: Residual, profiles: Array, ok: Mask) -> Array:
    """Return a first guess of the sources' light: medians over columns of their unweighted fluxes."""
    share = np.sum(np.where(ok, profiles**2, 0.0), axis=1)
    total = np.sum(np.where(ok, profiles * light.data, 0.0), axis=1)
    flux = np.where(share > 1e-6, total / np.maximum(share, 1e-6), 0.0)
    return _light(np.array([running_median(row, 31) for row in flux]), profiles)


def _light(flux: Array, profiles: Array) -> Array:
    return np.asarray(np.einsum("mx,myx->yx", np.maximum(flux, 0.0), profiles))


def _steady(fit: ColumnFit, smooth: int) -> Array:
    """Return fluxes smoothed along the spectrum, but the column's own where it clearly differs (a line, an edge)."""
    result = np.empty_like(fit.flux)
    for m, flux in enumerate(fit.flux):
        even = running_mean(np.where(fit.solved, flux, np.nan), smooth)
        sigma = np.sqrt(np.maximum(fit.cov[:, m, m], 0.0))
        result[m] = np.where(np.abs(flux - even) > 4.0 * sigma, flux, even)
    return result


def running_mean(values: Array, width: int) -> Array:
    """Return the mean over `width` columns, NaN left out; zero where all are missing."""
    known = np.isfinite(values)
    kernel = np.ones(width)
    count = np.convolve(known.astype(float), kernel, mode="same")
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    return np.where(count > 0, total / np.maximum(count, 1.0), 0.0)


def _solved(light: Residual, profiles: Array, ok: Mask, var: Array) -> ColumnFit:
    weight = np.where(ok, 1.0 / np.where(var > 0, var, 1.0), 0.0)
    weighted = profiles * weight[None]
    matrix = np.einsum("myx,nyx->xmn", weighted, profiles)
    right = np.einsum("myx,yx->xm", weighted, light.data)
    cov, solved = _inverted(matrix)
    flux = np.einsum("xmn,xn->mx", cov, right)
    combine = np.einsum("xmn,nyx->myx", cov, weighted)
    return ColumnFit(flux, cov, ok, combine, np.einsum("mx,myx->yx", flux, profiles), var, solved)


def _inverted(matrix: Array) -> tuple[Array, Mask]:
    """Invert the small matrices; columns without a measurement get zeros."""
    m = matrix.shape[-1]
    scale = np.einsum("xmm->xm", matrix)
    solved = (scale > 0).all(axis=1)
    if m > 1:
        norm = np.sqrt(np.where(scale > 0, scale, 1.0))
        solved &= np.linalg.det(matrix / norm[:, :, None] / norm[:, None, :]) > 1e-8
    safe = np.where(solved[:, None, None], matrix, np.eye(m)[None])
    return np.where(solved[:, None, None], np.linalg.inv(safe), 0.0), solved


def _worst(light: Residual, fit: ColumnFit, rules: ColumnRules) -> Mask:
    """Return the worst pixel of each column, where it exceeds the tolerance.

    Noise is that of the fitted light, or of the smoothed one where that is more; profiles may be wrong by a share.
    """
    bright = np.maximum(fit.model, 0.0)
    var = np.maximum(light.variance(bright), fit.var) + (rules.profile_error * bright) ** 2
    pull = np.where(fit.ok, (light.data - fit.model) ** 2 / np.where(var > 0, var, 1.0), 0.0)
    pull[:, ~fit.solved] = 0.0
    worst = np.argmax(pull, axis=0)
    columns = np.arange(pull.shape[1])
    mask = np.zeros(pull.shape, dtype=bool)
    mask[worst, columns] = pull[worst, columns] > rules.clip**2
    return mask
