"""Weighted and plain sums across the slit: optimal and boxcar extraction, column by column."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F32, F64, U8, ShapeError, flags, float32, float64, plain, same_shape
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.threads import each_strip

_STRIP = 128


class OptimalSum(NamedTuple):
    """An optimal extraction: `flux`, `var`, `chi2` per degree of freedom (nx,) float64, `rejected` (ny, nx) bool.

    A column without usable pixels has flux, var and chi2 of 0: a var of 0 says so.
    """

    flux: F64
    var: F64
    chi2: F64
    rejected: NDArray[np.bool_]


class BoxSum(NamedTuple):
    """A sum over an aperture: `flux`, `var` (nx,) float64; `fraction` of the aperture that was good, 1 for all.

    With a profile the fraction is that of the profile's light. Where it is 0, flux and var are 0.
    """

    flux: F64
    var: F64
    fraction: F64


def optimal_sum(
    data: ArrayLike,
    var: ArrayLike,
    mask_ok: ArrayLike,
    profile: ArrayLike,
    *,
    photon: ArrayLike | float = 0.0,
    threshold: float = 4.0,
    profile_error: float = 0.0,
    iterations: int = 20,
) -> OptimalSum:
    """Return sum(P D / V) / sum(P^2 / V) of each column and its variance 1 / sum(P^2 / V) over the pixels kept.

    Horne 1986, PASP 98, 609, equation 8 and its rejection: the worst pixel of a column goes while its residual exceeds
    `threshold` sigma, at most `iterations` times. `data`, `profile` (ny, nx) with columns of the profile summing to 1;
    V = `var` + `photon` f P, so give in `var` what does not come from the object (read noise, sky) and in `photon` the
    variance per unit of its signal: 1 for electrons, 1/flat for flat-fielded ones, 0 where `var` holds everything.
    The start is the least absolute deviation, which cosmic rays do not move. `profile_error`, a fraction of f P, widens
    the rejection where the profile, not the noise, limits the fit. `mask_ok` is True where a pixel may be used; pixels
    without profile, with non-positive variance, or not finite are not. Raises ShapeError.
    """
    image, noise, shape, light = (float32(np.asarray(part).T) for part in (data, var, profile, _full(photon, data)))
    good = flags(np.asarray(mask_ok).T)
    same_shape("data, var, mask_ok and profile", image, noise, good, shape)
    nx = image.shape[0]
    flux, variance, chi2, rejected = np.zeros(nx), np.zeros(nx), np.zeros(nx), np.zeros(image.shape, dtype=np.uint8)
    choice = np.array([threshold, profile_error, iterations], dtype=np.float64)

    def work(start: int, stop: int) -> None:
        cut = slice(start, stop)
        _optimal(image[cut], noise[cut], good[cut], shape[cut], light[cut], choice,
                 flux[cut], variance[cut], chi2[cut], rejected[cut])  # fmt: skip

    each_strip(work, nx, _STRIP)
    return OptimalSum(flux, variance, chi2, plain(rejected.T.view(np.bool_), np.bool_))


def box_sum(
    data: ArrayLike,
    var: ArrayLike,
    mask_ok: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    profile: ArrayLike | None = None,
) -> BoxSum:
    """Return the sum of each column from `lower` to `upper` (nx,), pixel j reaching from j - 0.5 to j + 0.5.

    Pixels at the edges count by the part of them inside, with the square of it in the variance. With `profile`
    (ny, nx) flux and error are scaled by what the masked pixels (`mask_ok` False) should hold; without, nothing is
    made up: look at `fraction`, which counts the parts of an aperture beyond the frame as missing. Raises ShapeError.
    """
    image, noise = float32(data), float32(var)
    good = flags(mask_ok)
    weight = np.ones_like(image) if profile is None else float32(profile)
    same_shape("data, var, mask_ok and profile", image, noise, good, weight)
    nx = image.shape[1]
    bottom, top = (float64(np.broadcast_to(np.asarray(edge), (nx,))) for edge in (lower, upper))
    flux, variance, fraction = np.zeros(nx), np.zeros(nx), np.zeros(nx)
    _box(image, noise, good, weight, bottom, top, profile is not None, flux, variance, fraction)
    return BoxSum(flux, variance, fraction)


def _full(photon: ArrayLike | float, data: ArrayLike) -> NDArray[np.float32]:
    try:
        return np.broadcast_to(np.asarray(photon, dtype=np.float32), np.shape(data))
    except ValueError as error:
        raise ShapeError("photon as a number or of the shape of data", f"{np.shape(photon)}") from error


@kernel
def _optimal(
    data: F32,
    var: F32,
    good: U8,
    profile: F32,
    photon: F32,
    choice: F64,
    flux: F64,
    variance: F64,
    chi2: F64,
    rejected: U8,
) -> None:
    """Extract each row of the transposed images (nx, ny)."""
    ny = data.shape[1]
    d, v, p, g, at = np.empty(ny), np.empty(ny), np.empty(ny), np.empty(ny), np.empty(ny, dtype=np.int64)
    for x in range(data.shape[0]):
        n = 0
        for y in range(ny):
            ok = (good[x, y] != 0) & (profile[x, y] > 0) & (var[x, y] > 0) & (photon[x, y] >= 0)
            if ok and np.isfinite(data[x, y]) and np.isfinite(var[x, y]):
                d[n], v[n], p[n], g[n], at[n] = data[x, y], var[x, y], profile[x, y], photon[x, y], y
                n += 1
        if n > 0:
            kept, total, square, chi = _column(d[:n], v[:n], p[:n], g[:n], at[:n], choice)
            flux[x], variance[x] = total, square
            chi2[x] = chi / (kept - 1) if kept > 1 else 0.0
            for k in range(kept, n):
                rejected[x, at[k]] = 1


@helper
def _column(d: F64, v: F64, p: F64, g: F64, at: NDArray[np.int64], choice: F64) -> tuple[int, float, float, float]:
    """Return pixels kept, flux, variance, chi2; the arrays are rearranged, rejected pixels last."""
    kept = d.size
    flux = _least_absolute(d, v, p)
    turns = 0
    while True:
        worst, excess = -1, choice[0] ** 2
        for k in range(kept):
            model = max(flux * p[k], 0.0)
            ratio = (d[k] - flux * p[k]) ** 2 / (v[k] + g[k] * model + (choice[1] * model) ** 2)
            if ratio > excess:
                worst, excess = k, ratio
        if worst < 0 or turns >= choice[2] or kept < 2:
            break
        kept -= 1
        turns += 1
        _swap(d, v, p, g, at, worst, kept)
        flux, _, _ = _weighted(d[:kept], v[:kept], p[:kept], g[:kept], flux)
    flux, square, chi = _weighted(d[:kept], v[:kept], p[:kept], g[:kept], flux)
    return kept, flux, square, chi


@helper
def _swap(d: F64, v: F64, p: F64, g: F64, at: NDArray[np.int64], a: int, b: int) -> None:
    d[a], d[b] = d[b], d[a]
    v[a], v[b] = v[b], v[a]
    p[a], p[b] = p[b], p[a]
    g[a], g[b] = g[b], g[a]
    at[a], at[b] = at[b], at[a]


@helper
def _weighted(d: F64, v: F64, p: F64, g: F64, flux: float) -> tuple[float, float, float]:
    """Return flux, variance, chi2 by weights that follow the flux until it stands still."""
    above = below = chi = 0.0
    for _ in range(20):
        above = below = 0.0
        for k in range(d.size):
            weight = p[k] / (v[k] + g[k] * max(flux * p[k], 0.0))
            above += weight * d[k]
            below += weight * p[k]
        last, flux = flux, above / below
        if abs(flux - last) <= 1e-7 * abs(flux) or abs(flux - last) <= 1e-4 / np.sqrt(below):
            break
    for k in range(d.size):
        chi += (d[k] - flux * p[k]) ** 2 / (v[k] + g[k] * max(flux * p[k], 0.0))
    return flux, 1.0 / below, chi


@helper
def _least_absolute(d: F64, v: F64, p: F64) -> float:
    """Return the flux that minimises sum(|d - f p| / sqrt(v)), to a hundredth of its error, by halving the range.

    It is the median of d / p weighted by p / sqrt(v); the wings of the profile, below a tenth of its top, have no say.
    """
    edge, total, weight = 0.0, 0.0, 0.0
    for k in range(d.size):
        edge = max(edge, 0.1 * p[k])
    low, high = np.inf, -np.inf
    for k in range(d.size):
        if p[k] > edge:
            low, high = min(low, d[k] / p[k]), max(high, d[k] / p[k])
            total += p[k] / math.sqrt(v[k])
            weight += p[k] * p[k] / v[k]
    while (high - low) ** 2 * weight > 1e-4 and high - low > 1e-12 * max(abs(high), abs(low)):
        middle = 0.5 * (low + high)
        above = 0.0
        for k in range(d.size):
            above += p[k] / math.sqrt(v[k]) if p[k] > edge and d[k] > middle * p[k] else 0.0
        low, high = (middle, high) if above > 0.5 * total else (low, middle)
    return 0.5 * (low + high)


@kernel
def _box(
    data: F32,
    var: F32,
    good: U8,
    weight: F32,
    lower: F64,
    upper: F64,
    scaled: bool,
    flux: F64,
    variance: F64,
    fraction: F64,
) -> None:
    ny, nx = data.shape
    for x in range(nx):
        if not lower[x] < upper[x]:
            continue
        here = 0.0
        total = 0.0 if scaled else upper[x] - lower[x]
        first, last = max(int(np.floor(lower[x] + 0.5)), 0), min(int(np.floor(upper[x] + 0.5)), ny - 1)
        for y in range(first, last + 1):
            part = min(y + 0.5, upper[x]) - max(y - 0.5, lower[x])
            light = part * max(weight[y, x], np.float32(0))
            total += light if scaled else 0.0
            if good[y, x] and np.isfinite(data[y, x]) and np.isfinite(var[y, x]):
                here += light
                flux[x] += part * data[y, x]
                variance[x] += part * part * max(var[y, x], np.float32(0))
        fraction[x] = min(here / total, 1.0) if total > 0 else 0.0
        factor = 1.0 / fraction[x] if scaled and fraction[x] > 0 else 1.0
        flux[x] = flux[x] * factor if fraction[x] > 0 else 0.0
        variance[x] = variance[x] * factor * factor if fraction[x] > 0 else 0.0


def rehearse() -> None:
    """Compile the kernels of this module."""
    ones = np.ones((4, 3))
    optimal_sum(ones, ones, ones, ones / 4)
    box_sum(ones, ones, ones, 0.0, 2.5)


def optimal_plain(
    data: ArrayLike,
    var: ArrayLike,
    mask_ok: ArrayLike,
    profile: ArrayLike,
    *,
    photon: float = 0.0,
    threshold: float = 4.0,
    iterations: int = 20,
) -> OptimalSum:
    """Do what `optimal_sum` does, one column after the other in plain numpy."""
    image, noise, shape = float64(data), float64(var), float64(profile)
    good = (np.asarray(mask_ok) != 0) & (shape > 0) & (noise > 0) & np.isfinite(image) & np.isfinite(noise)
    rejected = np.zeros(image.shape, dtype=bool)
    rows = np.zeros((3, image.shape[1]))
    for x in np.flatnonzero(good.any(axis=0)):
        use = np.flatnonzero(good[:, x])
        d, v, p = image[use, x], noise[use, x], shape[use, x]
        core = p > 0.1 * p.max()
        order = np.flatnonzero(core)[np.argsort((d / p)[core])]
        weight = (p / np.sqrt(v))[order]
        flux = (d / p)[order][np.searchsorted(np.cumsum(weight), 0.5 * weight.sum())]
        keep = np.ones(len(use), dtype=bool)
        for _ in range(iterations):
            chi = keep * (d - flux * p) ** 2 / (v + photon * np.maximum(flux * p, 0))
            if keep.sum() < 2 or chi.max() <= threshold**2:
                break
            keep[np.argmax(chi)] = False
            flux, *_ = _weighted_plain(d[keep], v[keep], p[keep], photon, flux)
        rejected[use[~keep], x] = True
        flux, square, total = _weighted_plain(d[keep], v[keep], p[keep], photon, flux)
        rows[:, x] = flux, square, total / (keep.sum() - 1) if keep.sum() > 1 else 0.0
    return OptimalSum(rows[0], rows[1], rows[2], rejected)


def _weighted_plain(d: F64, v: F64, p: F64, photon: float, flux: float) -> tuple[float, float, float]:
    for _ in range(100):
        total = v + photon * np.maximum(flux * p, 0)
        flux = float(np.sum(p * d / total) / np.sum(p * p / total))
    total = v + photon * np.maximum(flux * p, 0)
    return flux, float(1 / np.sum(p * p / total)), float(np.sum((d - flux * p) ** 2 / total))


def box_plain(data: ArrayLike, var: ArrayLike, mask_ok: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> BoxSum:
    """Do what `box_sum` does without a profile, in plain numpy."""
    image, noise, good = float64(data), float64(var), np.asarray(mask_ok) != 0
    y = np.arange(len(image))[:, None]
    part = np.clip(np.minimum(y + 0.5, upper) - np.maximum(y - 0.5, lower), 0, 1) * good
    width = np.asarray(upper, dtype=float) - np.asarray(lower, dtype=float)
    return BoxSum((part * image).sum(0), (part**2 * noise).sum(0), part.sum(0) / width)
