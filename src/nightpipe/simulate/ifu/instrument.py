"""What is known of SEDM: numbers measured on its frames, and how each night and exposure departs from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SIZE = 2048
PITCH = 0.635  # arcsec between lenslets (Blagorodnova et al. 2018, PASP 130, 035003)
AREA = 0.5 * np.sqrt(3.0) * PITCH**2  # arcsec2 of a hexagon
MIRROR = 18000.0  # cm2, the 60-inch with its central obstruction
MIRRORS = 0.82  # two reflections
BLUE, RED = 3600.0, 10300.0  # A, where light ends
_THROUGHPUT = np.array(
    [(3500, 0.0), (3700, 0.012), (4000, 0.04), (4500, 0.09), (5000, 0.13), (5500, 0.16), (6000, 0.185), (6600, 0.21),
     (7250, 0.225), (8000, 0.20), (8600, 0.15), (9300, 0.06), (9800, 0.015), (10200, 0.0)]
)  # fmt: skip

# x [pixel along the trace] = A - B ((wave - C) / 1000)**-P: a prism's law through the nominal places of its arc lines,
# 105 px at 4047 A to 303 px at 9165 A, 15 to 45 A/pixel; here from the middle of the trace, at 6500 A.
_A, _B, _C, _P = 2382.80930, 2444.65364, 1622.49526, 0.0797306851
_MIDDLE = _A - _B * ((6500.0 - _C) / 1000.0) ** -_P


@dataclass(frozen=True)
class Epoch:
    """A detector: `columns` as read, `first` to `first + 2048` of them lit; gain [e-/adu], noise [e-] by speed."""

    name: str
    columns: int
    first: int
    gain: float
    header_gain: float
    noise: dict[float, float]
    pedestal: float
    speed: float
    fast: float
    serial: str
    temperature: float


EPOCHS = {
    "pixis": Epoch("pixis", 2048, 0, 1.83, 1.78, {0.1: 4.6, 2.0: 19.0}, 1020.0, 0.1, 2.0, "05313416", -50.0),
    "andor": Epoch("andor", 2088, 20, 0.93, 0.9, {1.0: 5.2}, 310.0, 1.0, 1.0, "26265", -75.0),
}
"""PIXIS until 2023, whose last three columns see no light; Andor since, with 20 columns before and after."""


def along(wave: FloatArray) -> FloatArray:
    """Return the place along a trace [pixel, red to negative] of vacuum wavelengths [A], from that of 6500 A."""
    return np.asarray(_MIDDLE - (_A - _B * ((np.maximum(wave, 2500.0) - _C) / 1000.0) ** -_P))


def efficiency(wave: FloatArray) -> FloatArray:
    """Return electrons per photon at the top of the telescope: the spectrograph as of January 2020, and mirrors."""
    return np.asarray(MIRRORS * np.interp(wave, _THROUGHPUT[:, 0], _THROUGHPUT[:, 1], left=0.0, right=0.0))
