"""Star fields with known truth, drawn with a PSF of two Gaussians and a power law: no family that is fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from builders.frames import exposure
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame


@dataclass(frozen=True)
class Field:
    """A frame and what was put into it: positions and total electrons."""

    frame: Frame
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray


def profile(dx, dy, fwhm, stretch=0.0):
    """Return the density of light at (dx, dy): core, halo and wings, integral one; `stretch` lengthens it along x."""
    r2 = (dx * (1 - stretch)) ** 2 + (dy * (1 + stretch)) ** 2
    area = 1 - stretch**2
    s = fwhm / 2.3548 * 0.97
    core = 0.80 * np.exp(-0.5 * r2 / s**2) / (2 * np.pi * s**2)
    halo = 0.15 * np.exp(-0.5 * r2 / (2 * s) ** 2) / (2 * np.pi * (2 * s) ** 2)
    wings = 0.05 * (1.2 / (np.pi * (2.5 * s) ** 2)) * (1 + r2 / (2.5 * s) ** 2) ** -2.2
    return (core + halo + wings) * area


def draw(image, x, y, flux, fwhm, vary, fine=5, reach=45):
    """Add stars to `image`, pixels integrated by `fine` x `fine` samples; width and stretch change over the field."""
    ny, nx = image.shape
    offset = (np.arange(fine) + 0.5) / fine - 0.5
    for star in zip(x, y, flux, strict=True):
        half = reach if star[2] > 2e4 else 20
        x0, x1 = max(int(star[0]) - half, 0), min(int(star[0]) + half + 1, nx)
        y0, y1 = max(int(star[1]) - half, 0), min(int(star[1]) + half + 1, ny)
        if x1 <= x0 or y1 <= y0:
            continue
        u, v = 2 * star[0] / nx - 1, 2 * star[1] / ny - 1
        gx = (np.arange(x0, x1)[:, None] + offset).ravel() - star[0]
        gy = (np.arange(y0, y1)[:, None] + offset).ravel() - star[1]
        value = profile(gx[None, :], gy[:, None], fwhm * (1 + vary * (0.6 * u + 0.4 * v * v)), vary * (u - v) * 0.3)
        binned = value.reshape(y1 - y0, fine, x1 - x0, fine).mean(axis=(1, 3))
        image[y0:y1, x0:x1] += star[2] * binned


def field(
    rng: Generator,
    n: int = 200,
    shape: tuple[int, int] = (512, 512),
    *,
    fwhm: float = 3.2,
    vary: float = 0.08,
    sky: float = 300.0,
    read: float = 5.0,
    least: float = 300.0,
    most: float = 3e5,
    slope: float = 0.6,
    grid: float = 0.0,
    saturation: float = np.inf,
    reach: int = 45,
) -> Field:
    """Return a field of `n` stars of `least` to `most` electrons, numbers falling as flux**-slope.

    `grid` [pixel] sets them on a grid of that pitch, jittered by a pixel: no blends. Exposure 100 s.
    """
    if grid:
        gy, gx = np.mgrid[grid / 2 : shape[0] - grid / 4 : grid, grid / 2 : shape[1] - grid / 4 : grid]
        x, y = gx.ravel() + rng.uniform(-1, 1, gx.size), gy.ravel() + rng.uniform(-1, 1, gx.size)
        n = x.size
    else:
        x, y = rng.uniform(0, shape[1] - 1, n), rng.uniform(0, shape[0] - 1, n)
    u = rng.uniform(0, 1, n)
    flux = (least**-slope + u * (most**-slope - least**-slope)) ** (-1 / slope)
    light = np.zeros(shape)
    draw(light, x, y, flux, fwhm, vary, reach=reach)
    return Field(observed(rng, light, sky, read, saturation), x, y, flux)


def observed(rng: Generator, light, sky=300.0, read=5.0, saturation=np.inf) -> Frame:
    """Return the frame that a detector makes of `light` and a constant `sky` [electron], variance from the data."""
    data = rng.poisson(light + sky) + rng.normal(0, read, light.shape)
    mask = np.where(data >= saturation, np.uint32(Flag.SATURATED), np.uint32(0))
    data = np.minimum(data, saturation)
    return Frame(
        data.astype(np.float32),
        (np.maximum(data, 0) + read**2).astype(np.float32),
        mask,
        "electron",
        exposure(),
        read_var=np.full(light.shape, read**2, np.float32),
    )
