"""Spectra brought onto another grid, flux conserved, with the covariance that this makes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def edges(wave: FloatArray) -> FloatArray:
    """Return the n + 1 edges of bins around `wave` (n,): midway between centres, the outer ones by symmetry."""
    middle = 0.5 * (wave[1:] + wave[:-1])
    first, last = 1.5 * wave[0] - 0.5 * wave[1], 1.5 * wave[-1] - 0.5 * wave[-2]
    return np.concatenate([[first], middle, [last]])


def widths(wave: FloatArray) -> FloatArray:
    """Return the widths of the bins around `wave`."""
    return np.diff(edges(wave))


def overlap(old: FloatArray, new: FloatArray) -> Any:
    """Return the sparse matrix (len(new) - 1, len(old) - 1): what share of each new bin each old bin covers.

    `old`, `new` are increasing edges. It takes flux *densities* to flux densities and conserves their integral; a row
    sums to less than one where the old grid ends.
    """
    from scipy.sparse import csr_array

    low, high = max(old[0], new[0]), min(old[-1], new[-1])
    shape = (len(new) - 1, len(old) - 1)
    cuts = np.union1d(old, new)
    cuts = cuts[(cuts >= low) & (cuts <= high)]
    if len(cuts) < 2:
        return csr_array(shape, dtype=np.float64)
    middle, length = 0.5 * (cuts[1:] + cuts[:-1]), np.diff(cuts)
    row = np.clip(np.searchsorted(new, middle) - 1, 0, shape[0] - 1)
    column = np.clip(np.searchsorted(old, middle) - 1, 0, shape[1] - 1)
    return csr_array((length / np.diff(new)[row], (row, column)), shape=shape)


def covariance(var: FloatArray, correlation: FloatArray | None) -> Any:
    """Return the sparse covariance (n, n) of bins with variance `var` and `correlation` (k, n) with their followers."""
    from scipy.sparse import diags_array

    matrix = diags_array(var).tocsr()
    if correlation is None:
        return matrix
    sigma = np.sqrt(var)
    for lag, row in enumerate(correlation, start=1):
        band = diags_array(row[:-lag] * sigma[:-lag] * sigma[lag:], offsets=lag, shape=matrix.shape)
        matrix = matrix + band + band.T
    return matrix.tocsr()


def correlations(matrix: Any, least: float = 1e-3) -> FloatArray | None:
    """Return the correlation (k, n) of each bin with the next k, k as far as any exceeds `least`; None: none does.

    `matrix` is a sparse covariance.
    """
    sigma = np.sqrt(np.maximum(matrix.diagonal(), 0.0))
    n, rows = len(sigma), []
    for lag in range(1, min(n, 16)):
        product = sigma[:-lag] * sigma[lag:]
        row = np.zeros(n)
        row[:-lag] = matrix.diagonal(lag) / np.where(product > 0, product, 1.0)
        if np.max(np.abs(row)) < least:
            break
        rows.append(row)
    return np.array(rows) if rows else None


def smoothed_to(wave: FloatArray, flux: FloatArray, fwhm: FloatArray) -> FloatArray:
    """Return `flux` convolved with a Gaussian whose `fwhm` (n,) [Angstrom] may vary with wavelength; `wave` increases.

    The kernel is that of the output bin, its weights are the bins' widths: right on uneven grids, and flat at the ends.
    """
    sigma = np.maximum(np.asarray(fwhm, dtype=np.float64), 1e-6) / 2.354820045
    step = widths(wave)
    reach = int(np.ceil(np.max(4.0 * sigma / step))) + 1
    total, norm = np.zeros_like(flux), np.zeros_like(flux)
    for shift in range(-reach, reach + 1):
        low, high = max(0, -shift), len(wave) - max(0, shift)
        here, there = slice(low, high), slice(low + shift, high + shift)
        weight = step[there] * np.exp(-0.5 * ((wave[there] - wave[here]) / sigma[here]) ** 2)
        total[here] += weight * flux[there]
        norm[here] += weight
    return np.asarray(total / norm)
