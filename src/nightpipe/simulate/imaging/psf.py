"""The image of a star on a camera: turbulence, telescope, and aberrations that change over the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.stamps import add_points
from nightpipe.simulate.turbulence import fried_parameter, structure_function

FloatArray = NDArray[np.float64]

OVERSAMPLING = 8
_SIZE = 512  # samples of the table across: 64 pixels
_NODES = 3
_RADIAN = 206264.8
WING = 3.0
"""Power with which the light falls beyond the table: between Kolmogorov's 11/3 and a mirror's dust with 2."""


@dataclass(frozen=True)
class StarImage:
    """PSFs at `nodes` (3, 3, m, m) over the field, as `kernels.stamps.add_points` wants them, and `fwhm` [pixel] at
    the centre; `aureole` is the share of light in wide wings.
    """

    nodes: NDArray[np.float32]
    fwhm: float
    aureole: float


@dataclass(frozen=True)
class Blur:
    """What blurs an image, in arcsec and fractions.

    `seeing` FWHM [arcsec] at 5000 A, `wave` [A], `mirror` [m] the aperture with a central hole of a third, `jitter`
    [arcsec] rms of the guiding, `trail` (x, y) [arcsec] by which the telescope drifted, `field` [arcsec] rms that
    aberrations add in the corners, `coma` [arcsec] there, `aureole` the share in wide wings.
    """

    seeing: float
    wave: float
    mirror: float
    jitter: float = 0.1
    trail: tuple[float, float] = (0.0, 0.0)
    field: float = 0.2
    coma: float = 0.15
    aureole: float = 0.02


def star_image(blur: Blur, scale: float) -> StarImage:
    """Return the PSF on pixels of `scale` arcsec, integrated over them.

    The product of transfer functions: von Karman turbulence (no Moffat, no Gauss), the mirror's diffraction, guiding,
    aberrations with the phase of coma, the pixel. Light beyond the table (r**-3) is counted in the normalisation.
    """
    step = scale / OVERSAMPLING
    frequency = np.asarray(np.fft.fftfreq(_SIZE, step), dtype=np.float64)
    u, v = frequency[None, : _SIZE // 2 + 1], frequency[:, None]
    common = _common(blur, u, v, scale)
    nodes = np.empty((_NODES, _NODES, _SIZE - 1, _SIZE - 1), dtype=np.float32)
    for j, y in enumerate(np.linspace(-1.0, 1.0, _NODES)):
        for i, x in enumerate(np.linspace(-1.0, 1.0, _NODES)):
            image = np.fft.irfft2(common * _aberration(blur, u, v, x, y), s=(_SIZE, _SIZE))
            nodes[j, i] = _finished(np.fft.fftshift(image), blur.aureole)[1:, 1:]
            nodes[j, i] /= np.float32(_drawn(nodes[j, i]))
    middle = nodes[_NODES // 2, _NODES // 2]
    return StarImage(nodes, _fwhm(middle), blur.aureole)


def _common(blur: Blur, u: FloatArray, v: FloatArray, scale: float) -> FloatArray:
    radius = np.hypot(u, v) * _RADIAN * blur.wave * 1e-10  # metres in the pupil
    table = np.linspace(0.0, float(radius.max()) * 1.001, 4096)
    r0 = fried_parameter(blur.seeing) * (blur.wave / 5000.0) ** 1.2
    transfer = np.exp(-0.5 * structure_function(table, r0)) * _mirror(table / blur.mirror)
    guided = np.exp(-2.0 * (np.pi * blur.jitter) ** 2 * (u**2 + v**2))
    drift = np.sinc(u * blur.trail[0] + v * blur.trail[1])
    return np.asarray(np.interp(radius, table, transfer) * guided * drift * np.sinc(u * scale) * np.sinc(v * scale))


def _mirror(x: FloatArray) -> FloatArray:
    """Return the transfer of a round mirror at `x` of its cut-off; the hole's small effect goes into the aureole."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(2.0 / np.pi * (np.arccos(x) - x * np.sqrt(1.0 - x * x)))


def _aberration(blur: Blur, u: FloatArray, v: FloatArray, x: float, y: float) -> NDArray[np.complex128]:
    """Return the transfer of field curvature, astigmatism and coma at (x, y) of the field, -1 to 1."""
    distance, angle = (x * x + y * y) / 2.0, np.arctan2(y, x)
    along = u * np.cos(angle) + v * np.sin(angle)
    across = v * np.cos(angle) - u * np.sin(angle)
    tilt = 0.25 * blur.field * (x + 0.5 * y)  # the chip is a little tilted against the focal surface
    radial, tangential = blur.field * distance + tilt, 0.7 * blur.field * distance + tilt
    width = -2.0 * np.pi**2 * ((radial * along) ** 2 + (tangential * across) ** 2)
    shift = 2.0 * np.pi * blur.coma * np.sqrt(distance) * along
    skew = 1.0 + 0.25 * (np.exp(-1j * shift) * np.exp(-0.5 * shift**2) - 1.0)  # a comet's tail ends: no far wings
    centred = np.exp(1j * 0.25 * shift)  # coma would move the centroid, which the distortion already does
    return np.asarray(np.exp(width) * skew * centred)


def _finished(image: FloatArray, aureole: float) -> FloatArray:
    """Return the image with its aureole, as fractions in a pixel."""
    half = _SIZE // 2
    y, x = np.ogrid[-half:half, -half:half]
    r2 = (x * x + y * y) / OVERSAMPLING**2
    wide = (1.0 + r2 / 6.0**2) ** (-WING / 2.0)
    image = np.maximum(image, 0.0)
    whole = image / image.sum() * (1.0 - aureole) + wide / wide.sum() * aureole
    return np.asarray(whole * OVERSAMPLING**2)


def _drawn(node: NDArray[np.float32]) -> float:
    """Return the sum of a star of flux one as it is drawn: what the table holds, and the wing to infinity."""
    far = 120
    canvas = np.zeros((2 * far + 1, 2 * far + 1), np.float32)
    add_points(canvas, [far], [far], [1.0], node[None, None], OVERSAMPLING, [far], WING)
    outside = float(canvas[0].mean()) / 0.7071  # a row along the edge has 0.7071 of the light at its middle, with r**-3
    return float(canvas.sum(dtype=np.float64)) + outside * far**2 * 8.0 * 0.7071


def _fwhm(table: NDArray[np.float32]) -> float:
    half = table > table.max() / 2.0
    return float(2.0 * np.sqrt(half.sum() / np.pi) / OVERSAMPLING)


def reach(flux: FloatArray, noise: float, star: StarImage) -> FloatArray:
    """Return how far [pixel] stars of `flux` must be drawn, so that what is left out is 0.02 of `noise` a pixel."""
    half = star.nodes.shape[2] // 2 / OVERSAMPLING
    edge = float(star.nodes[1, 1, 2].mean())
    far = half * np.cbrt(np.maximum(flux * edge / (0.02 * noise), 1e-9))
    return np.clip(far, 4.0 * star.fwhm + 2.0, 900.0)
