"""Wavelengths in air and in vacuum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def refractive_index(vacuum: ArrayLike) -> FloatArray:
    """Return the index of standard air (15 C, 101325 Pa, dry, 450 ppm CO2) at `vacuum` wavelengths [Angstrom].

    Ciddor 1996, Applied Optics 35, 1566, equation 1; good to 1e-8 from 2300 to 17000 Angstrom.
    """
    s2 = (1e4 / np.asarray(vacuum, dtype=np.float64)) ** 2
    return np.asarray(1.0 + 0.05792105 / (238.0185 - s2) + 0.00167917 / (57.362 - s2), dtype=np.float64)


def to_air(vacuum: ArrayLike) -> FloatArray:
    """Return the air wavelength of `vacuum` [Angstrom]."""
    vacuum = np.asarray(vacuum, dtype=np.float64)
    return np.asarray(vacuum / refractive_index(vacuum), dtype=np.float64)


def to_vacuum(air: ArrayLike) -> FloatArray:
    """Return the vacuum wavelength of `air` [Angstrom]; the exact inverse of `to_air`, by iteration."""
    air = np.asarray(air, dtype=np.float64)
    vacuum = air * 1.00028
    for _ in range(4):
        vacuum = air * refractive_index(vacuum)
    return np.asarray(vacuum, dtype=np.float64)
