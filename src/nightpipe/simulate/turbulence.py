"""The image of a star through turbulent air, and what a slit lets through: no Moffat, no Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_STEP = 0.08
_SIZE = 512
_OUTER_SCALE = 25.0
_RADIAN = 206264.8


@dataclass(frozen=True)
class SlitImage:
    """What a slit passes of a star's image at several wavelengths `nodes` [A].

    `cumulative` (nodes, m) is the light below the position `arcsec` (m,) along the slit, as a fraction of what passes;
    `across` (nodes, k) the density [1/arcsec] over `offset` (k,) across the slit, each row summing to one over the
    slit; `passed` (nodes,) the fraction of the light that passes; `fwhm` (nodes,) [arcsec] of the unmasked image.
    """

    nodes: FloatArray
    arcsec: FloatArray
    cumulative: FloatArray
    offset: FloatArray
    across: FloatArray
    passed: FloatArray
    fwhm: FloatArray

    def passed_at(self, wave: FloatArray) -> FloatArray:
        """Return the fraction of the light that passes at `wave`: a smooth curve through the nodes."""
        from scipy.interpolate import CubicSpline

        curve = CubicSpline(self.nodes, np.log(np.maximum(self.passed, 1e-4)))
        return np.exp(curve(np.clip(wave, self.nodes[0], self.nodes[-1])))


def slit_image(nodes: FloatArray, seeing: float, slit: float, decentre: FloatArray, blur: float) -> SlitImage:
    """Return what a slit `slit` arcsec wide passes of a star `decentre` (nodes,) arcsec off its middle.

    `seeing` is the FWHM [arcsec] at 5000 A; it follows from the von Karman spectrum how it changes with wavelength.
    `blur` [arcsec] is the rms width that the camera adds along the slit.
    """
    grid = np.asarray((np.arange(_SIZE) - _SIZE // 2) * _STEP, dtype=np.float64)
    fine = np.arange(-25.0, 25.0 + 1e-9, 0.01)
    across = np.arange(-slit / 2 + _STEP / 4, slit / 2, _STEP / 2)
    cumulative, density, passed, fwhm = [], [], [], []
    r0 = fried_parameter(seeing)
    for wave, shift in zip(nodes, decentre, strict=True):
        image = _image(float(wave), r0)
        along = _through(image, grid, slit, float(shift))
        total = along.sum()
        cumulative.append(np.interp(fine, grid + _STEP / 2, np.cumsum(_blurred(along / total, blur))))
        profile = np.interp(across - shift, grid, image.sum(axis=0))
        density.append(profile / profile.sum() / (_STEP / 2))
        passed.append(total)
        fwhm.append(_fwhm(grid, image[_SIZE // 2]))
    return SlitImage(
        nodes, fine, np.array(cumulative), across, np.array(density), np.array(passed), np.array(fwhm, dtype=float)
    )


def fried_parameter(seeing: float) -> float:
    """Return r0 [m] at 5000 A for a FWHM of `seeing` arcsec with a finite outer scale (Tokovinin 2002, eq. 19)."""
    r0 = 0.98 * 5000e-10 / seeing * _RADIAN
    for _ in range(20):
        r0 = 0.98 * 5000e-10 / seeing * _RADIAN * np.sqrt(max(1.0 - 2.183 * (r0 / _OUTER_SCALE) ** 0.356, 0.1))
    return float(r0)


def structure_function(distance: FloatArray, r0: float) -> FloatArray:
    """Return the phase structure function of von Karman turbulence [rad2] (Tokovinin 2002, PASP 114, 1156, eq. 16)."""
    from scipy.special import gamma, kv

    x = np.maximum(2.0 * np.pi * distance / _OUTER_SCALE, 1e-9)
    front = gamma(11.0 / 6.0) / (2.0 ** (5.0 / 6.0) * np.pi ** (8.0 / 3.0)) * (24.0 / 5.0 * gamma(1.2)) ** (5.0 / 6.0)
    inner = gamma(5.0 / 6.0) / 2.0 ** (1.0 / 6.0) - x ** (5.0 / 6.0) * kv(5.0 / 6.0, x)
    return np.asarray(2.0 * front * (_OUTER_SCALE / r0) ** (5.0 / 3.0) * inner)


def _image(wave: float, r0_5000: float) -> FloatArray:
    """Return the long-exposure image (y, x) on the grid, summing to one: the transform of exp(-D/2)."""
    frequency = np.fft.fftfreq(_SIZE, _STEP / _RADIAN)
    radius = np.hypot(frequency[:, None], frequency[: _SIZE // 2 + 1]) * wave * 1e-10
    table = np.linspace(0.0, float(radius.max()) * 1.001, 8192)
    transfer = np.exp(-0.5 * structure_function(table, r0_5000 * (wave / 5000.0) ** 1.2))
    image = np.fft.irfft2(np.interp(radius, table, transfer), s=(_SIZE, _SIZE))
    image = np.fft.fftshift(np.maximum(image, 0.0))
    return np.asarray(image / image.sum())


def _through(image: FloatArray, grid: FloatArray, slit: float, shift: float) -> FloatArray:
    """Return the light along the slit, with cells that the jaws cut counted in part."""
    cell = np.clip((slit / 2 - np.abs(grid + shift)) / _STEP + 0.5, 0.0, 1.0)
    return np.asarray(image @ cell)


def _blurred(along: FloatArray, blur: float) -> FloatArray:
    reach = np.arange(-int(5 * blur / _STEP) - 1, int(5 * blur / _STEP) + 2) * _STEP
    kernel = np.exp(-0.5 * (reach / max(blur, 1e-3)) ** 2)
    return np.convolve(along, kernel / kernel.sum(), mode="same")


def _fwhm(grid: FloatArray, row: FloatArray) -> float:
    half = row > row.max() / 2
    first, last = np.flatnonzero(half)[[0, -1]]
    left = np.interp(row.max() / 2, row[first - 1 : first + 1], grid[first - 1 : first + 1])
    right = np.interp(-row.max() / 2, -row[last : last + 2], grid[last : last + 2])
    return float(right - left)


def disc_through_slit(image: SlitImage, scale_length: float, slit: float) -> SlitImage:
    """Return the image of an exponential disc, face-on and centred, seen through the same air and slit.

    Across a slit that is narrow beside the disc the light is even.
    """
    from scipy.special import k1

    step = float(image.arcsec[1] - image.arcsec[0])
    kernel_at = np.arange(-int(8 * scale_length / step), int(8 * scale_length / step) + 1) * step
    kernel = np.exp(-np.abs(kernel_at) / scale_length)
    place = (np.arange(200) + 0.5) / 200 * slit / 2
    marginal = place / (np.pi * scale_length**2) * k1(place / scale_length)
    passed = float(2.0 * marginal.sum() * slit / 400)
    profile = np.gradient(image.cumulative, step, axis=1)
    spread = np.array([np.convolve(row, kernel / kernel.sum(), mode="same") for row in profile])
    even = np.full_like(image.across, 1.0 / image.across.shape[1] / (image.offset[1] - image.offset[0]))
    return SlitImage(
        image.nodes,
        image.arcsec,
        np.cumsum(spread, axis=1) * step,
        image.offset,
        even,
        np.full_like(image.passed, passed),
        np.hypot(image.fwhm, 1.39 * scale_length),
    )
