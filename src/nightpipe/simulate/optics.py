"""Photons through a slit onto pixels: expected electrons of light that fills the slit, and of objects in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nightpipe.simulate import density
from nightpipe.simulate.density import SAMPLES, Density
from nightpipe.simulate.geometry import Geometry
from nightpipe.simulate.sky import Glow
from nightpipe.simulate.turbulence import SlitImage

FloatArray = NDArray[np.float64]
Curve = Callable[[FloatArray], FloatArray]

SUB = 5
_ROWS = 48


@dataclass(frozen=True)
class Seen:
    """An object on the detector: `image` (ny, nx) expected electrons on perfect pixels; per column x its sum `counts`,
    the wavelength `wave` [A] on its trace, the row `y` of its middle, and its `fwhm` [pixel] along the slit."""

    image: NDArray[np.float32]
    counts: FloatArray
    wave: FloatArray
    y: FloatArray
    fwhm: FloatArray


def glow_density(geometry: Geometry, glow: Glow, electrons: Curve, slit: float) -> Density:
    """Return the light of a glow through a slit of `slit` arcsec; `electrons(wave)` are those per unit of the glow."""
    width = slit * geometry.across
    kernel = density.slit_kernel(width, geometry.sigma_x)
    smooth = density.continuum(geometry, lambda wave: glow.continuum(wave) * electrons(wave), kernel)
    if not len(glow.wave):
        return smooth
    return smooth.plus(density.lines(geometry, glow.wave, glow.flux * electrons(glow.wave), width, geometry.sigma_x))


def filled(geometry: Geometry, light: Density) -> FloatArray:
    """Return expected electrons (ny, nx) of light that fills the slit, integrated over pixels, `SUB` rows a pixel."""
    ny, nx = geometry.shape
    image = np.zeros((ny, nx))
    edges = np.arange(nx + 1) - 0.5
    for rows in _chunks(ny, _ROWS):
        for part in range(SUB):
            y = np.asarray(rows + (part + 0.5) / SUB - 0.5, dtype=np.float64)
            below = light.below(geometry.u_at(edges[None, :], y[:, None]))
            image[rows] += np.diff(below, axis=1) * slit_opening(geometry, y) / SUB
    return image


def slit_opening(geometry: Geometry, y: FloatArray) -> FloatArray | float:
    """Return what of the slit is open at rows `y` (n,) in all columns: 1 within, softened at its ends by the camera."""
    wander = float(np.abs(geometry.trace_of(np.linspace(0, geometry.shape[1], 9))).max()) + 8 * geometry.sigma_y
    if y.min() - wander > geometry.low and y.max() + wander < geometry.high:
        return 1.0
    place = y[:, None] - geometry.trace_of(np.arange(geometry.shape[1]))
    sigma = max(geometry.sigma_y, 0.2)
    return np.asarray(ndtr((place - geometry.low) / sigma) - ndtr((place - geometry.high) / sigma))


def star_density(geometry: Geometry, per_angstrom: Curve, image: SlitImage) -> Density:
    """Return a star's spectrum [electron/A above the slit], spread across the slit as its image is, and by the camera.

    Between the nodes of `image` the spread is interpolated.
    """
    start, u = density.grid(geometry)
    wave = geometry.wave_of(u)
    light = per_angstrom(wave) * image.passed_at(wave) * np.maximum(geometry.slope(u), 0.0)
    total = np.zeros(len(u))
    for node, weight in enumerate(_hats(wave, image.nodes)):
        if weight.any():
            total += density.convolved(light * weight, _star_kernel(geometry, image, node))
    return density.integrated(start, np.maximum(total, 0.0))


def star(geometry: Geometry, light: Density, image: SlitImage, row: float, lift: Curve) -> Seen:
    """Return a star at `row` [pixel, at the middle of the trace], lifted by ``lift(wave)`` pixel by refraction."""
    ny, nx = geometry.shape
    centre = row + geometry.trace_of(np.arange(nx))
    wave = geometry.wave_of(geometry.u_at(np.arange(nx), centre))
    pixels = np.zeros((ny, nx))
    reach = image.arcsec[-1] / geometry.scale
    first, last = int(max(centre.min() - reach, 0)), int(min(centre.max() + reach, ny - 1)) + 1
    x = (np.arange(nx * SUB) + 0.5) / SUB - 0.5
    fine_wave = geometry.wave_of(geometry.u_at(x, np.interp(x, np.arange(nx), centre)))
    middle = row + geometry.trace_of(x) + lift(fine_wave)
    for rows in _chunks(max(last - first, 0), _ROWS // 2):
        pixels[rows + first] = _star_rows(geometry, light, image, rows + first, x, middle, fine_wave)
    return Seen(
        pixels.astype(np.float32),
        pixels.sum(axis=0),
        wave,
        centre + lift(wave),
        np.interp(wave, image.nodes, image.fwhm) / geometry.scale,
    )


def _star_rows(
    geometry: Geometry, light: Density, image: SlitImage, rows: NDArray[np.intp], x: FloatArray, middle: FloatArray,
    wave: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return some rows of a star: sub-bins of the spectrum times the part of the profile that each pixel sees."""
    edges = np.append(x - 0.5 / SUB, x[-1] + 0.5 / SUB)
    amount = np.diff(light.below(geometry.u_at(edges[None, :], rows[:, None].astype(float))), axis=1)
    borders = np.append(rows - 0.5, rows[-1] + 0.5)
    share = np.diff(_profile_below(image, (borders[:, None] - middle) * geometry.scale, wave), axis=0)
    amount *= share * _ends(geometry, rows, x)
    return np.asarray(amount.reshape(len(rows), -1, SUB).sum(axis=2))


def _ends(geometry: Geometry, rows: NDArray[np.intp], x: FloatArray) -> FloatArray | float:
    opening = slit_opening(geometry, rows.astype(float))
    return opening if isinstance(opening, float) else np.repeat(opening, SUB, axis=1)[:, : len(x)]


def _profile_below(image: SlitImage, arcsec: FloatArray, wave: FloatArray) -> FloatArray:
    """Return the cumulative profile at `arcsec` (n, m) for light of `wave` (m,), linear between nodes and samples."""
    step = image.arcsec[1] - image.arcsec[0]
    place = np.clip((arcsec - image.arcsec[0]) / step, 0.0, len(image.arcsec) - 1.000001)
    k = place.astype(np.intp)
    s = place - k
    node = np.clip(np.searchsorted(image.nodes, wave) - 1, 0, len(image.nodes) - 2)
    weight = np.clip((wave - image.nodes[node]) / (image.nodes[node + 1] - image.nodes[node]), 0.0, 1.0)
    table, size = image.cumulative.ravel(), len(image.arcsec)
    low, high = k + node * size, k + (node + 1) * size
    first = table[low] + s * (table[low + 1] - table[low])
    second = table[high] + s * (table[high + 1] - table[high])
    return np.asarray(first + weight * (second - first))


def _star_kernel(geometry: Geometry, image: SlitImage, node: int) -> FloatArray:
    """Return the star's density across the slit [samples], blurred by the camera, summing to one."""
    reach = int(np.ceil((np.abs(image.offset).max() * geometry.across + 6 * geometry.sigma_x) * SAMPLES)) + 1
    place = np.arange(-reach, reach + 1) / SAMPLES
    apart = place[:, None] - image.offset * geometry.across
    kernel = np.exp(-0.5 * (apart / geometry.sigma_x) ** 2) @ image.across[node]
    return np.asarray(kernel / kernel.sum())


def _hats(wave: FloatArray, nodes: FloatArray) -> FloatArray:
    """Return linear weights (nodes, n) that sum to one, held beyond the outer nodes."""
    return np.array([np.interp(wave, nodes, row) for row in np.eye(len(nodes))])


def _chunks(size: int, length: int) -> Iterator[NDArray[np.intp]]:
    for begin in range(0, size, length):
        yield np.arange(begin, min(begin + length, size))
