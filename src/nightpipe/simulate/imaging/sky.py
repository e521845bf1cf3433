"""The sky behind the stars: level, gradient, fringes, OH bands that drift, twilight, satellites."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def night_sky(
    shape: tuple[int, int], level: float, fringe: float, clock: float, phase: np.random.Generator, *, infrared: bool
) -> F32:
    """Return the sky [e-] on (ny, nx) for a mean of `level` e-.

    `fringe` is the strength of the fringes, which belong to the detector and follow OH, not the continuum. `clock` [s]
    moves the waves of OH (periods of 10 to 40 minutes, Taylor & Hill's bright bands) and the moon's gradient. `phase`
    is the generator of the night, the same for all its frames.
    """
    ny, nx = shape
    y, x = np.ogrid[-1.0 : 1.0 : ny * 1j, -1.0 : 1.0 : nx * 1j]
    slope, turn = phase.uniform(0.001, 0.006), phase.uniform(0, 2 * np.pi) + clock / 9000.0
    made = 1.0 + slope * (x * np.cos(turn) + y * np.sin(turn))
    if infrared:
        for period, size in ((620.0, 0.006), (1500.0, 0.01)):
            k, start = phase.normal(0.0, 1.5, 2), phase.uniform(0, 2 * np.pi)
            made = made + size * np.sin(k[0] * x + k[1] * y + 2 * np.pi * clock / period + start)
    made = (level * made).astype(np.float32)
    if fringe:
        made += np.float32(level * fringe * oh(clock, phase)) * fringes(shape, phase)
    return made


def oh(clock: float, phase: np.random.Generator) -> float:
    """Return the strength of OH at a time, one on average: it wanders by a third within an hour."""
    start = phase.uniform(0, 2 * np.pi, 2)
    return float(1.0 + 0.2 * np.sin(clock / 700.0 + start[0]) + 0.15 * np.sin(clock / 3100.0 + start[1]))


def fringes(shape: tuple[int, int], phase: np.random.Generator) -> F32:
    """Return the pattern of a thin detector in the light of a few OH bands, from -1 to 1: contours of its thickness."""
    ny, nx = shape
    y, x = np.ogrid[-1.0 : 1.0 : ny * 1j, -1.0 : 1.0 : nx * 1j]
    a = phase.normal(0.0, 1.0, 8)
    height = 4.0 * a[0] * x * x + 4.0 * a[1] * y * y + 3.0 * a[2] * x * y + 3.0 * a[3] * x + 3.0 * a[4] * y
    height = height + np.sin(3.0 * x + 2.0 * a[5] * y + a[6]) + 0.6 * np.cos(5.0 * y - 2.0 * x + a[7])
    waves = np.cos(4.0 * height) + 0.6 * np.cos(4.25 * height + 1.0) + 0.3 * np.cos(3.7 * height + 2.0)
    return np.asarray(waves / 1.9, dtype=np.float32)


def twilight(shape: tuple[int, int], level: float, rng: np.random.Generator) -> F32:
    """Return the twilight sky [e-]: brighter towards the sun by up to half a per cent across the field."""
    y, x = np.ogrid[-1.0 : 1.0 : shape[0] * 1j, -1.0 : 1.0 : shape[1] * 1j]
    turn = rng.uniform(0, 2 * np.pi)
    return np.asarray(level * (1.0 + 0.002 * (x * np.cos(turn) + y * np.sin(turn))), dtype=np.float32)


def dome(shape: tuple[int, int], level: float, phase: np.random.Generator) -> F32:
    """Return the dome's screen [e-]: lit unevenly by a per cent or two, which a twilight is not."""
    y, x = np.ogrid[-1.0 : 1.0 : shape[0] * 1j, -1.0 : 1.0 : shape[1] * 1j]
    a = phase.normal(0.0, 0.008, 3)
    return np.asarray(level * (1.0 + a[0] * x + a[1] * y + a[2] * (x * x + y * y)), dtype=np.float32)


def satellite(image: F32, flux: float, width: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a trail of `flux` [e-/pixel of length] and sigma `width` [pixel]; return its angle [rad] and a point."""
    ny, nx = image.shape
    angle, px, py = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8) * nx, rng.uniform(0.2, 0.8) * ny
    y, x = np.ogrid[0:ny, 0:nx]
    off = ((y - py) * np.cos(angle) - (x - px) * np.sin(angle)).astype(np.float32)
    near = np.abs(off) < 6 * width
    image[near] += (flux / width / 2.5066 * np.exp(-0.5 * (off[near] / width) ** 2)).astype(np.float32)
    return float(angle), float(px), float(py)
