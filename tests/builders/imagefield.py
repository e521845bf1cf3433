"""Small images of stars and galaxies with known truth, noise, cosmic rays and plate solutions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from builders.frames import exposure
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.sources import ZeroPoint
from nightpipe.model.wcs import Astrometry, Wcs

CENTRE = (150.0, 20.0)
SCALE = 0.3
NONE = np.zeros((0, 6))


@dataclass(frozen=True)
class Light:
    """What shines: `ra`, `dec` [deg], `rate` [electron/s in clear weather], `size` [arcsec, sigma]; 0: stars."""

    ra: np.ndarray
    dec: np.ndarray
    rate: np.ndarray
    size: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def sizes(self) -> np.ndarray:
        return self.size if self.size.size else np.zeros(self.ra.size)


def wcs(shape=(256, 256), *, dx=0.0, dy=0.0, turn=0.0, scale=SCALE, distortion=0.0, centre=CENTRE) -> Wcs:
    """Return a plate solution whose frame is moved by (dx, dy) [pixel] and turned by `turn` [deg].

    `distortion` is the cubic displacement [pixel] at half the width.
    """
    c, s = np.cos(np.radians(turn)) * scale / 3600, np.sin(np.radians(turn)) * scale / 3600
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    k = distortion / (shape[1] / 2) ** 3
    a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = k
    none = np.zeros((0, 0))
    middle = ((shape[1] - 1) / 2 + dx, (shape[0] - 1) / 2 + dy)
    return Wcs(centre, middle, ((-c, s), (s, c)), a if distortion else none, b if distortion else none)


def astrometry(solution: Wcs, matches: int = 50) -> Astrometry:
    """Return a solution that is exactly true."""
    return Astrometry(solution, "header", matches, (0.01, 0.01), 0.01, "truth", 2020.0, 0.0, 100.0, NONE)


def zeropoint(zp: float) -> ZeroPoint:
    """Return a zero point without error."""
    return ZeroPoint(zp, 0.001, "r", "SDSS", "truth", 50, 0.01)


def light(rng: np.random.Generator, count: int, where: Wcs, shape, *, low=50.0, high=5000.0, margin=20) -> Light:
    """Return `count` stars within a frame, rates [electron/s] uniform in the logarithm."""
    x, y = rng.uniform(margin, shape[1] - margin, count), rng.uniform(margin, shape[0] - margin, count)
    ra, dec = where.to_sky(x, y)
    return Light(ra, dec, np.exp(rng.uniform(np.log(low), np.log(high), count)))


def expected(shape, where: Wcs, shining: Light, *, fwhm: float, exptime: float, clear: float = 1.0) -> np.ndarray:
    """Return the electrons of a noiseless image without sky: round Gaussians of `fwhm` [pixel] and galaxies."""
    image = np.zeros(shape)
    x, y = where.to_pixel(shining.ra, shining.dec)
    for px, py, rate, size in zip(x, y, shining.rate, shining.sizes, strict=True):
        _add(image, px, py, rate * exptime * clear, np.hypot(fwhm / 2.3548, size / where.scale))
    return image


def _add(image: np.ndarray, px: float, py: float, counts: float, sigma: float) -> None:
    reach = int(np.ceil(6 * sigma))
    x0, y0 = round(float(px)), round(float(py))
    x = np.arange(max(x0 - reach, 0), min(x0 + reach + 1, image.shape[1]))
    y = np.arange(max(y0 - reach, 0), min(y0 + reach + 1, image.shape[0]))
    if x.size and y.size:
        shape = np.outer(np.exp(-0.5 * ((y - py) / sigma) ** 2), np.exp(-0.5 * ((x - px) / sigma) ** 2))
        image[y[0] : y[-1] + 1, x[0] : x[-1] + 1] += counts * shape / (2 * np.pi * sigma**2)


def observed(
    rng: np.random.Generator, electrons: np.ndarray, *, sky: float = 200.0, read_noise: float = 5.0, exptime=100.0,
    name="image", saturation: float = np.inf, cosmics: int = 0, flagged: float = 0.0,
) -> Frame:  # fmt: skip
    """Return a sky-subtracted frame of Poisson `electrons` on `sky`, with the variance of the noiseless image.

    Of the `cosmics` a share `flagged` is known to be such.
    """
    total = electrons + sky
    data = rng.poisson(total) + rng.normal(0, read_noise, total.shape)
    mask = np.where(data > saturation, np.uint32(Flag.SATURATED), np.uint32(0))
    hit = np.zeros(total.shape, bool)
    for _ in range(cosmics):
        y, x, length = rng.integers(0, total.shape[0]), rng.integers(0, total.shape[1]), rng.integers(1, 8)
        angle = rng.uniform(0, np.pi)
        rows = np.clip((y + np.arange(length) * np.sin(angle)).astype(int), 0, total.shape[0] - 1)
        columns = np.clip((x + np.arange(length) * np.cos(angle)).astype(int), 0, total.shape[1] - 1)
        data[rows, columns] += rng.uniform(500, 5000)
        hit[rows, columns] |= rng.random() < flagged
    mask |= np.where(hit, np.uint32(Flag.COSMIC), np.uint32(0))
    ones = np.ones(total.shape, np.float32)
    return Frame(
        (np.minimum(data, saturation) - sky).astype(np.float32), (total + read_noise**2).astype(np.float32), mask,
        "electron", exposure(exptime=exptime, name=name), read_var=ones * np.float32(read_noise**2 + sky),
    )  # fmt: skip


def aperture(image: np.ndarray, x: float, y: float, radius: float) -> float:
    """Return the sum within a circle, pixels at the border shared by 10 x 10 subpixels."""
    return float((image * circle(image.shape, x, y, radius)).sum())


def circle(shape, x: float, y: float, radius: float, fine: int = 10) -> np.ndarray:
    """Return the share of each pixel within a circle."""
    weight = np.zeros(shape)
    x0, x1 = max(int(x - radius - 1), 0), min(int(x + radius + 3), shape[1])
    y0, y1 = max(int(y - radius - 1), 0), min(int(y + radius + 3), shape[0])
    sub = (np.arange(fine) + 0.5) / fine - 0.5
    yy = (np.arange(y0, y1)[:, None] + sub).ravel() - y
    xx = (np.arange(x0, x1)[:, None] + sub).ravel() - x
    inside = np.hypot(yy[:, None], xx[None, :]) <= radius
    weight[y0:y1, x0:x1] = inside.reshape(y1 - y0, fine, x1 - x0, fine).mean(axis=(1, 3))
    return weight
