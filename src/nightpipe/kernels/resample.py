"""Rebinning of spectra that conserves flux, with the covariance between neighbouring bins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.base.errors import NightpipeError
from nightpipe.kernels.arrays import F64, I64, U8, ShapeError, flags, float64, same_shape
from nightpipe.kernels.build import helper, kernel


class EdgesError(NightpipeError):
    """Bin edges that do not increase."""


class Rebinned(NamedTuple):
    """A spectrum on new bins: `value`, `var` (n,), `covariance` (lags, n), `fraction` (n,) float64.

    ``covariance[k - 1, i]`` is that of bins i and i + k. `fraction` is the part of the new bin that good old bins
    cover: where it is 0 value and var are 0, and below 1 a density rests on that part alone.
    """

    value: F64
    var: F64
    covariance: F64
    fraction: F64


def rebin(
    edges: ArrayLike,
    value: ArrayLike,
    var: ArrayLike,
    mask_ok: ArrayLike | None,
    new_edges: ArrayLike,
    *,
    density: bool,
    lags: int = 3,
    covariance: ArrayLike | None = None,
) -> Rebinned:
    """Share out each bin's content by overlap.

    `edges` (m + 1,) and `new_edges` (n + 1,) increase; `value`, `var` (m,), `mask_ok` (m,) True where a bin is good or
    None for all. With `density` the values are per unit of the axis and a new bin is the mean over its covered part,
    otherwise they are contents and add up. `covariance` (k, m) is that of the old bins with their next k neighbours;
    without, they are independent. Only `lags` neighbours are looked at. Raises EdgesError, ShapeError.
    """
    old, new = _increasing(edges), _increasing(new_edges)
    content, noise = float64(value), float64(var)
    good = flags(np.ones(content.shape, dtype=bool) if mask_ok is None else mask_ok)
    same_shape("value, var and mask_ok", content, noise, good)
    if content.shape != (len(old) - 1,):
        raise ShapeError(f"{len(old) - 1} values for {len(old)} edges", str(content.shape))
    between = np.zeros((0, content.size)) if covariance is None else float64(covariance).reshape(-1, content.size)
    n = len(new) - 1
    result = Rebinned(np.zeros(n), np.zeros(n), np.zeros((lags, n)), np.zeros(n))
    _rebin(old, content, noise, good, between, new, density, *result)
    return result


def _increasing(edges: ArrayLike) -> F64:
    found = float64(edges)
    if found.ndim != 1 or len(found) < 2 or not np.all(np.diff(found) > 0):
        raise EdgesError("two or more increasing bin edges", f"shape {found.shape}", "sort the wavelengths")
    return found


@helper
def _share(old: F64, new: F64, density: bool, j: int, i: int) -> float:
    """Return the weight of old bin j in new bin i, before the covered fraction is known."""
    overlap = min(old[j + 1], new[i + 1]) - max(old[j], new[i])
    return max(overlap, 0.0) / (new[i + 1] - new[i] if density else old[j + 1] - old[j])


@kernel
def _rebin(
    old: F64,
    value: F64,
    var: F64,
    good: U8,
    between: F64,
    new: F64,
    density: bool,
    out: F64,
    out_var: F64,
    covariance: F64,
    fraction: F64,
) -> None:
    m, n = value.size, out.size
    first = np.searchsorted(old, new, side="right") - 1
    for i in range(n):
        for j in range(max(first[i], 0), min(first[i + 1], m - 1) + 1):
            if good[j]:
                out[i] += _share(old, new, density, j, i) * value[j]
                fraction[i] += _share(old, new, True, j, i)
        fraction[i] = min(fraction[i], 1.0)
    for i in range(n):
        for lag in range(min(covariance.shape[0], n - 1 - i) + 1):
            total = _shared(old, var, good, between, new, density, first, i, lag)
            covered = fraction[i] * fraction[i + lag] if density else 1.0
            total = total / covered if covered > 0 else 0.0
            if lag == 0:
                out_var[i] = total
            else:
                covariance[lag - 1, i] = total
    if density:
        for i in range(n):
            out[i] = out[i] / fraction[i] if fraction[i] > 0 else 0.0


@helper
def _shared(old: F64, var: F64, good: U8, between: F64, new: F64, density: bool, first: I64, i: int, lag: int) -> float:
    """Return the covariance of the new bins i and i + lag from the old bins that reach into both."""
    m, reach = var.size, between.shape[0]
    total = 0.0
    for j in range(max(first[i], 0), min(first[i + 1], m - 1) + 1):
        a = _share(old, new, density, j, i) if good[j] else 0.0
        for k in range(max(j - reach, 0), min(j + reach, m - 1) + 1):
            if a > 0 and good[k]:
                both = var[j] if j == k else between[abs(j - k) - 1, min(j, k)]
                total += a * _share(old, new, density, k, i + lag) * both
    return total


def rehearse() -> None:
    """Compile the kernels of this module."""
    rebin([0.0, 1.0, 2.0], [1.0, 2.0], [1.0, 1.0], None, [0.0, 1.5, 2.0], density=True)


def rebin_plain(
    edges: ArrayLike,
    value: ArrayLike,
    var: ArrayLike,
    mask_ok: ArrayLike,
    new_edges: ArrayLike,
    *,
    density: bool,
    covariance: ArrayLike | None = None,
) -> tuple[F64, F64, F64]:
    """Return value, the full covariance matrix (n, n) and fraction, by a dense matrix of overlaps."""
    old, new, good = float64(edges), float64(new_edges), np.asarray(mask_ok) != 0
    overlap = np.minimum(old[1:], new[1:, None]) - np.maximum(old[:-1], new[:-1, None])
    overlap = np.clip(overlap, 0, None) * good
    fraction = overlap.sum(axis=1) / np.diff(new)
    covered = np.where(overlap.any(axis=1), overlap.sum(axis=1), 1.0)
    share = overlap / (covered[:, None] if density else np.diff(old))
    noise = np.diag(float64(var))
    for lag, row in enumerate([] if covariance is None else float64(covariance), start=1):
        noise += np.diag(row[:-lag], lag) + np.diag(row[:-lag], -lag)
    return share @ float64(value), share @ noise @ share.T, fraction
