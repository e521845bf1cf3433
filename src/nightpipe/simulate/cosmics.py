"""Cosmic rays: tracks through the silicon with the lengths and charges that its thickness gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_PER_MICRON = 75.0  # electrons that a minimum-ionising particle frees per micron of silicon
_STEP = 0.15
_DIFFUSION = 0.28


def tracks(
    shape: tuple[int, int],
    pixel: tuple[float, float],
    thickness: float,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the charge [electron] (ny, nx) of `count` particles.

    `pixel` is the size (x, y) [micron] of a pixel as read. Muons come with cos^2 of the zenith angle onto a chip that
    may look anywhere, so that directions are drawn isotropic with that weight; their loss fluctuates as in thin layers.
    One particle in ten is an electron that wanders.
    """
    charge = np.zeros(shape)
    for _ in range(count):
        x, y, weight = _track(pixel, thickness, rng)
        x = x + rng.uniform(-0.5, shape[1] - 0.5)
        y = y + rng.uniform(-0.5, shape[0] - 0.5)
        column, row = np.round(x).astype(int), np.round(y).astype(int)
        inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
        np.add.at(charge, (row[inside], column[inside]), weight[inside])
    return charge.astype(np.float32)


def expected_count(rate: float, shape: tuple[int, int], pixel: tuple[float, float], seconds: float) -> float:
    """Return the mean number of particles: `rate` per cm2 and minute, on the array, while it waits and is read."""
    area = shape[0] * shape[1] * pixel[0] * pixel[1] * 1e-8
    return rate * area * (seconds + 20.0) / 60.0


def _track(
    pixel: tuple[float, float], thickness: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return positions (x, y) [pixel] and charges of the steps of one track."""
    cosine = max(float(rng.uniform(0.02, 1.0)) ** 0.5, 0.05)
    wanders = rng.uniform() < 0.1
    depth = thickness / cosine if not wanders else float(rng.exponential(3.0 * thickness))
    flat = depth * np.sqrt(1.0 - cosine**2)
    steps = max(8, int(flat / min(pixel) / _STEP))
    angle = rng.uniform(0.0, 2.0 * np.pi) + (np.cumsum(rng.normal(0.0, 0.12, steps)) if wanders else np.zeros(steps))
    along_x = np.cumsum(np.cos(angle)) * flat / steps / pixel[0]
    along_y = np.cumsum(np.sin(angle)) * flat / steps / pixel[1]
    total = _PER_MICRON * depth * rng.lognormal(0.0, 0.35)
    spread = rng.gamma(1.5, 1.0, steps)
    blur_x, blur_y = rng.normal(0.0, _DIFFUSION * 15.0, (2, steps)) / np.array(pixel)[:, None]
    return along_x + blur_x, along_y + blur_y, total * spread / spread.sum()
