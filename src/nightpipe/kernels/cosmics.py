"""Cosmic rays of one image by Laplacian edge detection, in electrons, on a given noise model.

van Dokkum 2001, PASP 113, 1420, with four changes. The noise is that of a model, not of a local median, so the flanks
of sky lines do not stand out by photon noise alone. What the model holds (sky lines, continua) is subtracted before
detection and counted in the noise. The fine structure may be noise too: one sigma of it is forgiven, or faint hits on
an empty sky would pass for stars. Tracks grow into neighbours by their excess, where the Laplacian of a pixel beside a
brighter one says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F32, F64, I64, U8, flags, float32, plain, same_shape
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.medians import median5, spectral_model
from nightpipe.kernels.threads import each_strip

_STRIP = 32
_HALO = 4
_REACH = 9  # rows that a changed pixel can influence
_NEIGHBOURS = 8


def lacosmic(
    data: ArrayLike,
    noise_var: ArrayLike | float,
    mask: ArrayLike | None = None,
    *,
    photon: ArrayLike | float = 1.0,
    model: ArrayLike | None = None,
    model_error: float = 0.02,
    sigclip: float = 5.0,
    objlim: float = 3.0,
    growclip: float = 3.0,
    rimclip: float = 2.0,
    iterations: int = 4,
) -> NDArray[np.bool_]:
    """Return where cosmic rays hit, (ny, nx) bool, never where `mask` is set or data are not finite.

    `data` (ny, nx) [electron]; `noise_var` the variance without this image's own light (read noise) and `photon` that
    of one electron of light, both numbers or images. `model` (ny, nx) is the expected smooth signal: spectra always
    need one (`medians.spectral_model` or better); without, a local median stands in. `model_error` is the shift
    [pixel] by which the model's steep flanks may be wrong. A hit exceeds `sigclip` sigma and `objlim` times the fine
    structure (lower values find more and hurt undersampled stars and lines). Neighbours with an excess above `growclip`
    sigma join it twice, and above `rimclip` once. Raises ShapeError.
    """
    image = _Image(data, noise_var, mask, photon, model, model_error)
    dirty = np.ones(-(-image.shape[0] // _STRIP), dtype=bool)
    for _ in range(iterations):
        core = image.scan(np.flatnonzero(dirty), sigclip, objlim)
        if not len(core):
            break
        new = image.grow(core, growclip, rimclip)
        dirty[:] = False
        for reach in (-_REACH, _REACH):
            dirty[np.clip(new[:, 0] + reach, 0, image.shape[0] - 1) // _STRIP] = True
    return plain(image.found.view(np.bool_), np.bool_)


class _Image:
    """The residual over the model, its noise, and what was found so far."""

    def __init__(
        self,
        data: ArrayLike,
        noise_var: ArrayLike | float,
        mask: ArrayLike | None,
        photon: ArrayLike | float,
        model: ArrayLike | None,
        model_error: float,
    ) -> None:
        image = float32(data)
        self.shape = (image.shape[0], image.shape[1])
        expected = np.zeros((1, 1), np.float32) if model is None else float32(model)
        noise, self.photon = (float32(np.broadcast_to(part, self.shape)) for part in (noise_var, photon))
        wrong = np.zeros((1, 1), np.uint8) if mask is None else flags(mask)
        same_shape("data, mask and model", image, *(part for part in (expected, wrong) if part.size > 1))
        self.bad = np.empty(self.shape, dtype=np.uint8)
        self.residual, self.noise = np.empty_like(image), np.empty_like(image)
        _begin(image, noise, self.photon, wrong, expected, self.bad, self.residual, self.noise)
        if model is not None and model_error > 0:
            self.noise += np.square(np.float32(model_error) * _steepness(expected))
        self.found = np.zeros(self.shape, dtype=np.uint8)
        self.empty = np.float32(0) if model is not None else _typical(image, self.bad)
        _fill(plain(np.argwhere(self.bad.view(np.bool_)), np.int64), self.residual, self.bad, self.found, self.empty)

    def scan(self, parts: I64, sigclip: float, objlim: float) -> I64:
        """Return the new hits (n, 2) in the given strips."""
        limits, hits = np.array([sigclip, objlim]), [np.zeros((0, 2), np.int64)] * len(parts)

        def work(start: int, stop: int) -> None:
            for k in range(start, stop):
                first, last = parts[k] * _STRIP, min((parts[k] + 1) * _STRIP, self.shape[0])
                core = np.zeros((last - first, self.shape[1]), dtype=np.uint8)
                _scan(self.residual, self.noise, self.photon, self.bad, self.found, first, last, limits, core)
                hits[k] = np.argwhere(core.view(np.bool_)) + np.array([first, 0])

        each_strip(work, len(parts), 1)
        return plain(np.concatenate(hits), np.int64)

    def grow(self, core: I64, growclip: float, rimclip: float) -> I64:
        """Take the hits in, then their neighbours; return all that is new (n, 2)."""
        self._accept(core)
        new, front = [core], core
        for limit in (growclip, growclip):
            front = self._neighbours(front, limit)
            new.append(front)
        new.append(self._neighbours(np.concatenate(new), rimclip))
        return np.concatenate(new)

    def _neighbours(self, points: I64, limit: float) -> I64:
        out = np.empty((_NEIGHBOURS * len(points), 2), dtype=np.int64)
        used = _join(points, self.residual, self.noise, self.photon, self.bad, self.found, limit, out)
        self._accept(out[:used])
        return out[:used]

    def _accept(self, points: I64) -> None:
        self.found[points[:, 0], points[:, 1]] = 1
        _fill(points, self.residual, self.bad, self.found, self.empty)


def _typical(image: F32, bad: U8) -> np.float32:
    """Return a level to stand in where nothing good is near."""
    sample = image[::7, ::7][bad[::7, ::7] == 0]
    return np.float32(np.median(sample)) if sample.size else np.float32(0)


def _steepness(model: F32) -> F32:
    """Return the largest change of the model to one of the four next pixels."""
    step = np.zeros_like(model)
    for axis in (0, 1):
        change = np.abs(np.diff(model, axis=axis))
        low, high = (np.moveaxis(step, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        np.maximum(low, np.moveaxis(change, axis, 0), out=low)
        np.maximum(high, np.moveaxis(change, axis, 0), out=high)
    return step


@kernel
def _begin(image: F32, noise: F32, photon: F32, wrong: U8, expected: F32, bad: U8, rest: F32, var: F32) -> None:
    """Fill `bad`, the residual over what is `expected` and its variance; `wrong` and `expected` may be one zero."""
    ny, nx = image.shape
    masked, modelled = wrong.size > 1, expected.size > 1
    for y in range(ny):
        for x in range(nx):
            model = expected[y, x] if modelled else np.float32(0)
            value, blank = image[y, x] - model, noise[y, x]
            out = (masked and wrong[y, x] != 0) or not (np.isfinite(value) and np.isfinite(blank))
            bad[y, x] = out
            rest[y, x] = np.float32(0) if out else value
            var[y, x] = np.float32(1) if out else blank + photon[y, x] * max(model, np.float32(0))


@kernel
def _scan(
    residual: F32,
    noise: F32,
    photon: F32,
    bad: U8,
    found: U8,
    first: int,
    last: int,
    limits: F64,
    core: U8,
) -> None:
    """Mark new hits of rows [first, last) in `core` (last - first, nx)."""
    ny, nx = residual.shape
    low, high = max(first - _HALO, 0), min(last + _HALO, ny)
    rows = residual[low:high]
    level = np.empty_like(rows)
    median5(rows, level)
    signal = np.empty_like(rows)
    for y in range(high - low):
        _laplacian(rows[max(y - 1, 0)], rows[y], rows[min(y + 1, high - low - 1)], noise[low + y], photon[low + y],
                   level[y], signal[y])  # fmt: skip
    for y in range(first, last):
        for x in range(nx):
            value = signal[y - low, x]
            if value > limits[0] and bad[y, x] == 0 and found[y, x] == 0:
                excess = value - _median_near(signal, y - low, x)
                if excess > limits[0]:
                    sigma = np.sqrt(noise[y, x] + photon[y, x] * max(level[y - low, x], np.float32(0)))
                    core[y - first, x] = excess > limits[1] * _fine_structure(rows, y - low, x, sigma)


@helper
def _laplacian(down: F32, row: F32, up: F32, noise: F32, photon: F32, level: F32, signal: F32) -> None:
    """Write the significance of one row: the positive Laplacian of the image sampled twice as finely, over 2 sigma.

    Each quarter of a pixel borders on one neighbour along x and one along y, and on two of its own kind.
    """
    n, zero = row.size, np.float32(0)
    for k in range(n):
        left, right = row[max(k - 1, 0)], row[min(k + 1, n - 1)]
        twice = row[k] + row[k]
        total = max(twice - left - down[k], zero) + max(twice - right - down[k], zero)
        total += max(twice - left - up[k], zero) + max(twice - right - up[k], zero)
        variance = noise[k] + photon[k] * max(level[k], zero)
        signal[k] = np.float32(0.125) * total / np.sqrt(max(variance, np.float32(1e-6)))


@helper
def _median_near(image: F32, y: int, x: int) -> np.float32:
    """Return the 5 x 5 separable median at one pixel, as `median5` has it."""
    ny, nx = image.shape
    column, row = np.empty(5, dtype=np.float32), np.empty(5, dtype=np.float32)
    for i in range(5):
        at = min(max(x + i - 2, 0), nx - 1)
        for j in range(5):
            column[j] = image[min(max(y + j - 2, 0), ny - 1), at]
        row[i] = _middle(column)
    return _middle(row)


@helper
def _middle(values: F32) -> np.float32:
    """Return the median of an odd number of values, which get sorted."""
    for i in range(1, values.size):
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return values[values.size // 2]


@helper
def _fine_structure(image: F32, y: int, x: int, sigma: np.float32) -> np.float32:
    """Return what a star or line of this sharpness would show [sigma]: median3 minus its median7, less one sigma."""
    ny, nx = image.shape
    patch, column, row = np.empty(9, dtype=np.float32), np.empty(7, dtype=np.float32), np.empty(7, dtype=np.float32)
    centre = np.float32(0)
    for i in range(7):
        for j in range(7):
            for k in range(9):
                at_y = min(max(min(max(y + j - 3, 0), ny - 1) + k // 3 - 1, 0), ny - 1)
                at_x = min(max(min(max(x + i - 3, 0), nx - 1) + k % 3 - 1, 0), nx - 1)
                patch[k] = image[at_y, at_x]
            column[j] = _middle(patch)
            centre = column[j] if i == 3 and j == 3 else centre
        row[i] = _middle(column)
    return max((centre - _middle(row)) / sigma - np.float32(1), np.float32(0.01))


@kernel
def _join(points: I64, residual: F32, noise: F32, photon: F32, bad: U8, found: U8, limit: float, out: I64) -> int:
    """List the neighbours of `points` that exceed the local median by `limit` sigma; return how many."""
    ny, nx = residual.shape
    used = 0
    for p in range(points.shape[0]):
        for k in range(9):
            y, x = points[p, 0] + k // 3 - 1, points[p, 1] + k % 3 - 1
            if 0 <= y < ny and 0 <= x < nx and found[y, x] == 0 and bad[y, x] == 0:
                level = max(_median_near(residual, y, x), np.float32(0))
                if residual[y, x] - level > limit * np.sqrt(noise[y, x] + photon[y, x] * level):
                    found[y, x] = 1
                    out[used, 0], out[used, 1] = y, x
                    used += 1
    return used


@kernel
def _fill(points: I64, residual: F32, bad: U8, found: U8, empty: np.float32) -> None:
    """Put the median of the good pixels within 5 x 5 at each point, `empty` where there is none."""
    ny, nx = residual.shape
    near = np.empty(25, dtype=np.float32)
    for p in range(points.shape[0]):
        y, x = points[p, 0], points[p, 1]
        n = 0
        for j in range(max(y - 2, 0), min(y + 3, ny)):
            for i in range(max(x - 2, 0), min(x + 3, nx)):
                if bad[j, i] == 0 and found[j, i] == 0:
                    near[n] = residual[j, i]
                    n += 1
        residual[y, x] = empty
        if n > 0:
            upper = _middle(near[:n])
            residual[y, x] = upper if n % 2 else np.float32(0.5) * (near[n // 2 - 1] + upper)


def rehearse() -> None:
    """Compile the kernels of this module."""
    image = np.zeros((12, 12))
    image[5, 5] = 100.0
    lacosmic(image, 1.0, model=spectral_model(image))
