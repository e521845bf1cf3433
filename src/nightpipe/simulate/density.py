"""Light along the dispersion, spread by the slit and the camera, on a grid of ten samples a pixel.

What a pixel collects is a difference of the cumulative light at its edges, so nothing is lost or counted twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nightpipe.simulate.geometry import Geometry

FloatArray = NDArray[np.float64]

SAMPLES = 10
_STEP = 1.0 / SAMPLES
_MARGIN = 30


@dataclass(frozen=True)
class Density:
    """Electrons per pixel at ``u = start + k / SAMPLES``: `value` (m,), and `cumulative` (m,) below each sample."""

    start: float
    value: FloatArray
    cumulative: FloatArray

    def below(self, u: FloatArray) -> FloatArray:
        """Return the light below `u`, by cubic Hermite interpolation: value and slope are both known."""
        place = np.clip((u - self.start) * SAMPLES, 0.0, len(self.value) - 1.000001)
        k = place.astype(np.intp)
        s = place - k
        left, right = self.cumulative[k], self.cumulative[k + 1]
        rise = right - left
        a = self.value[k] * _STEP - rise
        b = rise - self.value[k + 1] * _STEP
        return np.asarray(left + s * (rise + (1.0 - s) * (a * (1.0 - s) + b * s)))

    def plus(self, other: Density) -> Density:
        """Return the sum of two densities on the same grid."""
        return Density(self.start, self.value + other.value, self.cumulative + other.cumulative)


def grid(geometry: Geometry) -> tuple[float, FloatArray]:
    """Return where the samples begin and their coordinates: beyond the array by 30 pixels and the displacement."""
    ny, nx = geometry.shape
    corners = geometry.displacement(np.array([[0.0], [nx - 1.0]]), np.array([0.0, ny / 2, ny - 1.0]))
    reach = int(np.ceil(np.abs(corners).max())) + _MARGIN
    start = -float(reach)
    return start, np.asarray(start + np.arange((nx + 2 * reach) * SAMPLES + 1) * _STEP, dtype=np.float64)


def slit_kernel(width: float, sigma: float) -> FloatArray:
    """Return a slit of `width` blurred by `sigma` [pixel], sampled and summing to one."""
    reach = int(np.ceil((width / 2 + 6 * sigma) * SAMPLES))
    place = np.asarray(np.arange(-reach, reach + 1) * _STEP, dtype=np.float64)
    kernel = _jaws(place, width, sigma)
    return np.asarray(kernel / kernel.sum())


def continuum(geometry: Geometry, per_angstrom: Callable[[FloatArray], FloatArray], kernel: FloatArray) -> Density:
    """Return a continuum [electron/A] spread by `kernel` (odd length, samples)."""
    start, u = grid(geometry)
    light = per_angstrom(geometry.wave_of(u)) * np.maximum(geometry.slope(u), 0.0)
    value = np.maximum(convolved(light, kernel), 0.0)
    return integrated(start, value)


def integrated(start: float, value: FloatArray) -> Density:
    """Return the density with its running integral (trapezium with end corrections, fourth order)."""
    slope = np.gradient(value)
    panels = _STEP * ((value[1:] + value[:-1]) / 2 - (slope[1:] - slope[:-1]) / 12)
    return Density(start, value, np.concatenate([[0.0], np.cumsum(panels)]))


def lines(geometry: Geometry, wave: FloatArray, electrons: FloatArray, width: float, sigma: float) -> Density:
    """Return infinitely sharp lines, spread by a slit of `width` and a camera of `sigma` [pixel], in closed form."""
    start, u = grid(geometry)
    edge = geometry.wave_of(u[[0, -1]])
    seen = (wave > edge[0]) & (wave < edge[1]) & (electrons > 0)
    places, amounts = geometry.u_of(wave[seen]), electrons[seen]
    reach = int(np.ceil((width / 2 + 6 * sigma) * SAMPLES)) + 1
    value, cumulative = np.zeros(len(u) + 1), np.zeros(len(u) + 1)
    window = np.round((places - start) * SAMPLES).astype(int)[:, None] + np.arange(-reach, reach + 1)
    inside = np.clip(window, 0, len(u))  # the extra sample at the end takes what falls outside
    inside[window < 0] = len(u)
    offset = start + window * _STEP - places[:, None]
    np.add.at(value, inside, amounts[:, None] * _jaws(offset, width, sigma))
    np.add.at(cumulative, inside, amounts[:, None] * _jaws_below(offset, width, sigma))
    beyond = np.bincount(np.clip(window[:, -1] + 1, 0, len(u)), weights=amounts, minlength=len(u) + 1)
    return Density(start, value[:-1], (cumulative + np.cumsum(beyond))[:-1])


def convolved(light: FloatArray, kernel: FloatArray) -> FloatArray:
    """Return the light spread by a kernel of odd length, by FFT, the same length as the light."""
    size = 1 << int(np.ceil(np.log2(len(light) + len(kernel))))
    both = np.fft.irfft(np.fft.rfft(light, size) * np.fft.rfft(kernel, size), size)
    first = len(kernel) // 2
    return np.asarray(both[first : first + len(light)])


def _jaws(offset: FloatArray, width: float, sigma: float) -> FloatArray:
    return np.asarray((ndtr((offset + width / 2) / sigma) - ndtr((offset - width / 2) / sigma)) / width)


def _jaws_below(offset: FloatArray, width: float, sigma: float) -> FloatArray:
    """Return the integral of `_jaws`: a ramp smoothed by a Gaussian at both ends."""
    return np.asarray((_ramp(offset + width / 2, sigma) - _ramp(offset - width / 2, sigma)) / width)


def _ramp(z: FloatArray, sigma: float) -> FloatArray:
    scaled = z / sigma
    return np.asarray(z * ndtr(scaled) + sigma * np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi))
