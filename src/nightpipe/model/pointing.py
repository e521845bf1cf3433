"""Where an image lies on the sky before any star was looked at: the header's solution, or pointing and camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nightpipe.model.detector import Camera, Detector
from nightpipe.model.exposure import Exposure, Header
from nightpipe.model.frame import Frame
from nightpipe.model.wcs import NONE, FloatArray, Wcs


@dataclass(frozen=True)
class Place:
    """What is known of an image beside its pixels: `shape` (ny, nx), and a first guess of its sky.

    `wcs` is the guess (None: nothing is known of the pointing), `source` where it is from (``"header"``,
    ``"pointing"``, ``""``), `scale` arcsec per pixel, `seeing` the FWHM of its stars [arcsec], nan where it has none.
    `sky` is the sky that was subtracted [electron/s per pixel], nan where that is not known.
    """

    exposure: Exposure
    shape: tuple[int, int]
    scale: float
    wcs: Wcs | None
    source: str
    seeing: float
    sky: float = float("nan")

    @property
    def epoch(self) -> float:
        """Return the time of the exposure as a Julian year."""
        return 2000.0 + (self.exposure.mjd - 51544.5) / 365.25


def placed(frame: Frame, seeing: float) -> Place:
    """Return what is known of a clean frame's place on the sky; `seeing` [pixel]."""
    exposure, detector = frame.exposure, frame.detector
    if exposure is None or detector is None:
        raise ValueError("a frame without exposure or detector has no place on the sky")
    wcs, source = header_wcs(frame.header, detector), "header"
    if wcs is None:
        wcs, source = nominal_wcs(exposure, detector), "pointing"
    scale = detector.pixel_scale
    sky = float(frame.header.get("NPSKY", float("nan"))) / max(exposure.exptime, 1e-9)
    return Place(exposure, frame.shape, scale, wcs, source if wcs else "", seeing * scale, sky)


def nominal_wcs(exposure: Exposure, detector: Detector) -> Wcs | None:
    """Return the sky of an image by pointing, scale, rotation and parity as described; None without a pointing."""
    if exposure.ra is None or exposure.dec is None:
        return None
    ny, nx = _shape(detector)
    camera = detector.camera or Camera(0.0, mirrored=False, centre=((nx - 1) / 2, (ny - 1) / 2))
    east, north = (offset / 60.0 for offset in camera.offset)
    place = ((exposure.ra + east / max(np.cos(np.radians(exposure.dec)), 1e-3)) % 360.0, exposure.dec + north)
    step, angle = detector.pixel_scale / 3600.0, np.radians(camera.rotation)
    sign = 1.0 if camera.mirrored else -1.0
    cd = (
        (sign * step * float(np.cos(angle)), step * float(np.sin(angle))),
        (-sign * step * float(np.sin(angle)), step * float(np.cos(angle))),
    )
    a, b = _radial(camera, step)
    return Wcs(crval=place, crpix=camera.centre, cd=cd, a=a, b=b)


def _radial(camera: Camera, step: float) -> tuple[FloatArray, FloatArray]:
    """Return SIP's polynomials of a radial distortion: the same in all directions, so that rotation does not matter."""
    if not camera.radial:
        return NONE, NONE
    size = max(power for power, _ in camera.radial) + 2
    a, b = np.zeros((size, size)), np.zeros((size, size))
    for power, coefficient in camera.radial:
        half = power // 2
        for k in range(half + 1):  # (u^2 + v^2)^half, times u or v
            term = coefficient * step**power * _binomial(half, k)
            a[2 * k + 1, 2 * (half - k)] += term
            b[2 * k, 2 * (half - k) + 1] += term
    return a, b


def _binomial(n: int, k: int) -> float:
    return float(np.prod([(n - j) / (j + 1) for j in range(k)])) if k else 1.0


def header_wcs(header: Header, detector: Detector) -> Wcs | None:
    """Return the tangent plane that a raw header holds, in pixels of the trimmed image; None where there is none."""
    if not str(header.get("CTYPE1", "")).strip().upper().startswith("RA---T"):
        return None
    values = {name: _number(header.get(name)) for name in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")}
    cd = _matrix(header)
    if cd is None or any(value is None for value in values.values()) or abs(np.linalg.det(np.array(cd))) == 0:
        return None
    ra, dec, x, y = (float(value or 0.0) for value in values.values())
    x0 = min(amplifier.data[0] for amplifier in detector.amplifiers)
    y0 = min(amplifier.data[2] for amplifier in detector.amplifiers)
    return Wcs((ra % 360.0, dec), (x - 1.0 - x0, y - 1.0 - y0), cd) if abs(dec) <= 90 else None


def _matrix(header: Header) -> tuple[tuple[float, float], tuple[float, float]] | None:
    parts = [_number(header.get(name)) for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")]
    if parts[0] is not None and parts[3] is not None:
        a, b, c, d = (part or 0.0 for part in parts)
        return (a, b), (c, d)
    steps = [_number(header.get(name)) for name in ("CDELT1", "CDELT2")]
    if steps[0] is None or steps[1] is None:
        return None
    angle = np.radians(_number(header.get("CROTA2")) or 0.0)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return (steps[0] * cos, -steps[1] * sin), (steps[0] * sin, steps[1] * cos)


def _number(value: object) -> float | None:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None


def _shape(detector: Detector) -> tuple[int, int]:
    x0, x1, y0, y1 = zip(*(amplifier.data for amplifier in detector.amplifiers), strict=True)
    return max(y1) - min(y0), max(x1) - min(x0)
