"""A small field of lenslets with everything that figures and exporters want: no night needed."""

from __future__ import annotations

import numpy as np

from nightpipe.model.cube import Cube
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.model.spectrum import Spectrum

WAVE = np.linspace(3700.0, 9300.0, 220)
UNIT = "erg/s/cm2/Angstrom"


def places(reach=8):
    """Return q, r, east, north of a hexagonal field."""
    q, r = (part.ravel() for part in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    inside = np.abs(q + r) <= reach
    q, r = q[inside], r[inside]
    angle, pitch = np.radians(103.0), 0.635 * np.sqrt(3.0) / 2.0
    x, y = (2 * q + r) / np.sqrt(3.0), r.astype(float)
    return q, r, pitch * (x * np.cos(angle) - y * np.sin(angle)), pitch * (x * np.sin(angle) + y * np.cos(angle))


def exposed(kind=FrameType.SCIENCE, target="ZTF26sima", number="06_00_00"):
    """Return an exposure of SEDM."""
    where = Setup(mode="05313416", arm="ifu", disperser="prism")
    return Exposure(f"raw/ifu20190912_{number}.fits", "", "sedm", kind, target, where, "2019-09-12T06:00:00",
                    58738.25, 900.0, 1.2, 10.0, 20.0)  # fmt: skip


def cube(east=1.0, north=-0.5):
    """Return a cube with a star."""
    q, r, e, n = places()
    light = np.exp(-0.5 * (np.hypot(e - east, n - north) / 0.8) ** 2)
    flux = (1.0 + 10.0 * light[None, :] * np.ones((WAVE.size, 1))).astype(np.float32)
    header = {"NAME": "ZTF26sima", "OBJECT": "ZTF26sima [A]", "AIRMASS": 1.2, "GAIN": 1.78}
    return Cube(WAVE, flux, np.full(flux.shape, 0.1, np.float32), np.zeros(flux.shape, np.uint32), e, n, q, r,
                "electron/Angstrom", np.full(WAVE.size, 60.0), exposure=exposed(), header=header)  # fmt: skip


def spectrum(level=2e-16, kind=FrameType.SCIENCE, target="ZTF26sima"):
    """Return a calibrated spectrum."""
    flux = level * (1.0 + 0.3 * np.sin(WAVE / 400.0))
    return Spectrum(
        name="target", wave=WAVE, flux=flux, var=(0.05 * level) ** 2 * np.ones(WAVE.size),
        mask=np.zeros(WAVE.size, np.uint32), sky=np.zeros(WAVE.size), unit=UNIT, fwhm=np.full(WAVE.size, 60.0),
        exposure=exposed(kind, target), header={"NAME": target, "OBJECT": f"{target} [A]", "AIRMASS": 1.2},
    )  # fmt: skip
