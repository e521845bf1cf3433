"""Noise in apertures of images of the sky: many empty places, each against its own surroundings."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nightpipe.maths.extract import circles


def lit(data: np.ndarray, bad: np.ndarray, grow: int = 6) -> np.ndarray:
    """Return the pixels on or near any light that a smoothed image shows at three sigma."""
    weight = ndimage.gaussian_filter((~bad).astype(float), 2.0)
    smooth = ndimage.gaussian_filter(np.where(bad, 0, data), 2.0) / np.maximum(weight, 0.1)
    blank = smooth[~bad] - np.median(smooth[~bad])
    sigma = 1.4826 * np.median(np.abs(blank))
    return ndimage.binary_dilation((smooth - np.median(smooth[~bad]) > 3 * sigma) & ~bad, iterations=grow)


def grid(blocked: np.ndarray, radius: float, margin: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Return x, y of apertures that do not touch one another nor any blocked pixel."""
    step = int(np.ceil(2 * radius)) + 1
    ny, nx = blocked.shape
    y, x = (part.ravel() for part in np.mgrid[margin : ny - margin : step, margin : nx - margin : step])
    free = ~ndimage.binary_dilation(blocked, _disc(radius + 1))[y, x]
    return x[free].astype(float), y[free].astype(float)


def sums(data, var, bad, light, x, y, radius: float) -> np.ndarray:
    """Return sums in apertures less their surroundings' mean; nan where bad pixels or too little sky are near."""
    touched = ndimage.binary_dilation(bad, _disc(radius + 1))
    found = circles(data, var, bad, x, y, radius)[0]
    level = np.array([_around(data, ~(light | bad), a, b, radius + 3, radius + 13) for a, b in zip(x, y, strict=True)])
    ny, nx = data.shape
    row, column = np.clip(np.rint(y).astype(int), 0, ny - 1), np.clip(np.rint(x).astype(int), 0, nx - 1)
    return np.where(touched[row, column], np.nan, found - np.pi * radius**2 * level)


def scatter(values: np.ndarray) -> float:
    """Return the standard deviation of values, those beyond four sigma left out."""
    off = values - np.median(values)
    sigma = 1.4826 * np.median(np.abs(off))
    for _ in range(5):
        sigma = float(np.std(off[np.abs(off) < 4 * sigma]))
    return sigma


def _disc(radius: float) -> np.ndarray:
    half = int(np.ceil(radius))
    return np.hypot(*np.mgrid[-half : half + 1, -half : half + 1]) <= radius


def _around(data, free, x: float, y: float, near: float, far: float) -> float:
    """Return the clipped mean of the free pixels between two radii; nan where fewer than half are free."""
    half, a, b = int(far) + 1, round(x), round(y)
    if min(a, b) < half or a >= data.shape[1] - half or b >= data.shape[0] - half:
        return np.nan
    cut = (slice(b - half, b + half + 1), slice(a - half, a + half + 1))
    away = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
    ring = (away > near) & (away < far)
    use = ring & free[cut]
    if use.sum() < 0.5 * ring.sum():
        return np.nan
    values = data[cut][use]
    off = values - np.median(values)
    return float(values[np.abs(off) < 4 * 1.4826 * np.median(np.abs(off))].mean())
