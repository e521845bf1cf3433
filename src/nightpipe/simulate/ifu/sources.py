"""Light on the lenslets: stars and galaxies through turbulent, refracting air, integrated over hexagons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.simulate.atmosphere import Air, refraction
from nightpipe.simulate.ifu.instrument import PITCH
from nightpipe.simulate.ifu.lattice import Lattice
from nightpipe.simulate.ifu.paint import WAVE
from nightpipe.simulate.turbulence import _SIZE, _STEP, _image, fried_parameter

FloatArray = NDArray[np.float64]

NODES = 1.0 / np.linspace(1.0 / 3600.0, 1.0 / 10300.0, 7)
"""Wavelengths [A] at which shares are worked out: even in refraction, smooth between."""

GUIDED = 6000.0


@dataclass(frozen=True)
class Source:
    """A star or a galaxy at (`east`, `north`) [arcsec] of the field: half-light `radius` [arcsec] (0: a star), Sersic
    `index`, `ratio` of axes and `angle` [radian] of the major one from east; `trail` [arcsec] along east that it moves
    through during the exposure.
    """

    name: str
    east: float
    north: float
    radius: float = 0.0
    index: float = 1.0
    ratio: float = 1.0
    angle: float = 0.0
    trail: float = 0.0


@dataclass(frozen=True)
class Seeing:
    """How a point is blurred and lifted: FWHM [arcsec] at 5000 A at this airmass, `jitter` (east, north) rms [arcsec]
    of the guiding, `airmass` and `parallactic` angle [deg, north through east] of the way up.
    """

    fwhm: float
    jitter: tuple[float, float]
    airmass: float
    parallactic: float
    air: Air


def shares(lenslets: Lattice, source: Source, seeing: Seeing) -> FloatArray:
    """Return the share of the source's light in each lenslet (n, len(WAVE)); an endless field sums to 1."""
    from scipy.interpolate import CubicSpline
    from scipy.ndimage import map_coordinates

    found = np.empty((NODES.size, len(lenslets)))
    lift = refraction(NODES, GUIDED, seeing.airmass, seeing.air)
    up = np.radians(seeing.parallactic)
    for number, wave in enumerate(NODES):
        image = _in_hexagons(float(wave), source, seeing)
        u = (lenslets.east - source.east - lift[number] * np.sin(up)) / _STEP + _SIZE // 2
        v = (lenslets.north - source.north - lift[number] * np.cos(up)) / _STEP + _SIZE // 2
        found[number] = map_coordinates(image, [v, u], order=3, mode="constant")
    return np.asarray(np.clip(CubicSpline(NODES, found)(WAVE).T, 0.0, None))


def _in_hexagons(wave: float, source: Source, seeing: Seeing) -> FloatArray:
    """Return the light that a hexagon centred on each cell of the grid (north, east) would catch."""
    image = _image(wave, fried_parameter(seeing.fwhm))
    other: NDArray[np.complex128] = np.asarray(np.fft.rfft2(np.fft.ifftshift(_hexagon())))
    grid = np.asarray((np.arange(_SIZE) - _SIZE // 2) * _STEP, dtype=np.float64)
    east, north = seeing.jitter
    blur = np.exp(-0.5 * ((grid[None, :] / max(east, 0.02)) ** 2 + (grid[:, None] / max(north, 0.02)) ** 2))
    other = np.multiply(other, np.fft.rfft2(np.fft.ifftshift(blur / blur.sum())))
    if source.radius:
        other = np.multiply(other, np.fft.rfft2(np.fft.ifftshift(_galaxy(source, grid))))
    if source.trail:
        other = np.multiply(other, np.sinc(np.fft.rfftfreq(_SIZE, _STEP) * source.trail)[None, :])
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * other, s=image.shape))


def _hexagon() -> FloatArray:
    """Return a lenslet on the grid, turned with the lattice, its edges cut in fifths of a cell."""
    fine = 5
    size = int(np.ceil(PITCH / _STEP)) + 1
    place = (np.arange(-size * fine, size * fine + fine) - fine // 2) * _STEP / fine
    turn = np.radians(103.0)
    inside = np.ones((place.size, place.size), dtype=bool)
    for k in range(6):
        angle = turn + np.radians(60.0 * k)
        inside &= place[None, :] * np.cos(angle) + place[:, None] * np.sin(angle) <= PITCH / 2
    cells = inside.reshape(2 * size + 1, fine, 2 * size + 1, fine).mean(axis=(1, 3))
    image = np.zeros((_SIZE, _SIZE))
    middle = _SIZE // 2
    image[middle - size : middle + size + 1, middle - size : middle + size + 1] = cells
    return image


def _galaxy(source: Source, grid: FloatArray) -> FloatArray:
    """Return a Sersic galaxy on the grid, summing to one."""
    x = grid[None, :] * np.cos(source.angle) + grid[:, None] * np.sin(source.angle)
    y = (grid[:, None] * np.cos(source.angle) - grid[None, :] * np.sin(source.angle)) / source.ratio
    b = 2.0 * source.index - 1.0 / 3.0
    radius = np.hypot(np.hypot(x, y), 0.3 * _STEP) / source.radius
    light = np.exp(-b * (radius ** (1.0 / source.index) - 1.0))
    return np.asarray(light / light.sum())
