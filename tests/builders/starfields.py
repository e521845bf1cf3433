"""Simulated star lists: a catalogue of the sky, what an image of it shows, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nightpipe.maths.tan import separation, sky_of_plane
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Wcs

# Stars per square degree brighter than G = 12, 14 ... 20 at galactic latitude 5, 10, 20, 30, 50, 80 deg, rounded means
# over longitude of Gaia's counts (Gaia Collaboration 2018, A&A 616, A1; Bahcall & Soneira 1980, ApJS 44, 73).
LATITUDES = np.array([5.0, 10.0, 20.0, 30.0, 50.0, 80.0])
MAGNITUDES = np.array([10.0, 12.0, 14.0, 16.0, 18.0, 20.0])
COUNTS = np.array(
    [
        [22, 140, 900, 5200, 26000, 100000],
        [18, 110, 650, 3300, 14000, 46000],
        [14, 75, 380, 1550, 5200, 14500],
        [11, 57, 260, 950, 2800, 7200],
        [9, 42, 170, 560, 1500, 3600],
        [7, 34, 125, 390, 1000, 2300],
    ]
)


def magnitudes(rng, latitude, area, faintest):
    """Magnitudes of the stars in `area` [deg2] at a galactic latitude [deg], down to `faintest`."""
    counts = np.exp([np.interp(latitude, LATITUDES, np.log(COUNTS[:, k])) for k in range(MAGNITUDES.size)])
    grid = np.linspace(6.0, faintest, 400)
    slope = (np.log(counts[1]) - np.log(counts[0])) / 2
    below = np.log(counts[0]) + slope * (grid - MAGNITUDES[0])
    total = np.exp(np.where(grid < MAGNITUDES[0], below, np.interp(grid, MAGNITUDES, np.log(counts)))) * area
    return np.interp(rng.uniform(0, total[-1], rng.poisson(total[-1])), total, grid)


def cone(rng, latitude, centre, radius, faintest=20.0, name="simulated"):
    """A catalogue of one cone at a galactic latitude, with proper motions and errors like Gaia's."""
    mag = magnitudes(rng, latitude, np.pi * radius**2, faintest)
    n = mag.size
    r, angle = radius * np.sqrt(rng.uniform(0, 1, n)), rng.uniform(0, 2 * np.pi, n)
    ra, dec = sky_of_plane(r * np.cos(angle), r * np.sin(angle), centre)
    error = np.maximum(0.1, 0.1 * 10 ** (0.25 * (mag - 16))) / 1e3
    motion = rng.normal(0, 8.0, (2, n))
    return StarCatalogue(name, ra, dec, 2016.0, centre, radius, motion[0], motion[1], error, {"G": mag})


@dataclass(frozen=True)
class Shown:
    """A simulated image: its list of sources and the true solution."""

    sources: Sources
    wcs: Wcs
    shape: tuple[int, int]


def camera(rng, centre, size, shape, *, parity=-1, bend=3.0, rotation=None):
    """A `Wcs` of `size` [arcmin], of any rotation, that bends by `bend` pixels at the edge."""
    ny, nx = shape
    scale = size / 60 / nx
    angle = rng.uniform(0, 2 * np.pi) if rotation is None else np.radians(rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    cd = scale * turn @ np.array([[parity * 1.0, 0.0], [0.0, 1.0]])
    a, b = np.zeros((2, 4, 4))
    k = bend / (nx / 2) ** 3
    a[3, 0], a[1, 2], b[0, 3], b[2, 1] = k, k, k, k
    (c11, c12), (c21, c22) = cd.tolist()
    return Wcs(centre, ((nx - 1) / 2, (ny - 1) / 2), ((c11, c12), (c21, c22)), a, b)


def show(rng, stars, wcs, shape, *, epoch, faintest=19.5, saturated=10.0, blur=3.0, lost=0.1, false=0.1, noise=0.02):
    """What an image of these stars would give: with noise, colours, blends, saturated and lost stars, false sources.

    `blur` [pixel] is the seeing: of two stars closer than that only the brighter one is seen, and the place suffers.
    """
    from scipy.spatial import cKDTree

    ny, nx = shape
    ra, dec = stars.at(epoch)
    close = separation(ra, dec, *wcs.crval) < 1.5 * wcs.scale / 3600 * np.hypot(nx, ny) / 2
    x, y = wcs.to_pixel(ra[close], dec[close])
    mag = stars.brightness()[close] + rng.normal(0, 0.3, int(close.sum()))
    inside = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)
    inside &= (mag < faintest) & (mag > saturated) & (rng.uniform(size=x.size) > lost)
    x, y, mag = x[inside], y[inside], mag[inside]
    order = np.argsort(mag)
    x, y, mag = x[order], y[order], mag[order]
    if x.size > 1:
        pairs = cKDTree(np.column_stack((x, y))).query_pairs(blur, output_type="ndarray")
        hidden = np.zeros(x.size, bool)
        hidden[pairs.max(axis=1)] = True
        x, y, mag = x[~hidden], y[~hidden], mag[~hidden]
    extra = rng.poisson(false * x.size + 1)
    x, y = np.append(x, rng.uniform(0, nx - 1, extra)), np.append(y, rng.uniform(0, ny - 1, extra))
    mag = np.append(mag, rng.uniform(faintest - 4, faintest, extra))
    error = np.hypot(noise, 0.4 * blur * 10 ** (0.4 * (mag - faintest)) / 5)
    x, y = x + rng.normal(0, error), y + rng.normal(0, error)
    flux = 10 ** (-0.4 * (mag - 25))
    mix = rng.permutation(x.size)
    zero = np.zeros(x.size)
    sources = Sources(
        x[mix], y[mix], error[mix], error[mix], flux[mix], zero + 1.0, zero.astype(np.uint32), zero.astype(np.int32)
    )
    return Shown(sources, wcs, shape)
