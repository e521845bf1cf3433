"""Colours of real stars: one sequence from A0 to M7, in ugrizy (AB) and JHK (Vega)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

BANDS = ("u", "g", "r", "i", "z", "y", "J", "H", "K", "B", "V", "R", "I")
"""Bands that every star has: AB to y, Vega beyond and in BVRI."""

# Median locus by g-i, to about 0.03 mag: Covey et al. 2007 (AJ 134, 2398, table 3), its ends after Kraus & Hillenbrand
# 2007 (AJ 134, 2340, table 5). Columns: g-i, u-g, g-r, r-i, i-z, z-J, J-H, H-K.
_LOCUS = np.array(
    [
        (-0.45, 0.95, -0.25, -0.20, -0.10, 0.48, 0.00, 0.00),
        (0.00, 1.12, 0.03, -0.03, -0.03, 0.62, 0.10, 0.02),
        (0.30, 1.10, 0.24, 0.06, 0.00, 0.76, 0.22, 0.04),
        (0.55, 1.33, 0.43, 0.12, 0.03, 0.86, 0.32, 0.05),
        (0.80, 1.62, 0.61, 0.19, 0.08, 0.94, 0.42, 0.07),
        (1.10, 2.00, 0.81, 0.29, 0.14, 1.02, 0.52, 0.10),
        (1.50, 2.38, 1.07, 0.43, 0.22, 1.12, 0.62, 0.13),
        (2.00, 2.58, 1.33, 0.67, 0.37, 1.25, 0.66, 0.16),
        (2.50, 2.62, 1.42, 1.08, 0.58, 1.40, 0.61, 0.22),
        (3.00, 2.68, 1.47, 1.53, 0.84, 1.56, 0.59, 0.27),
        (3.50, 2.80, 1.55, 1.95, 1.10, 1.76, 0.60, 0.32),
        (4.00, 2.90, 1.65, 2.35, 1.35, 1.95, 0.62, 0.38),
    ]
)
_SCATTER = {"u": 0.06, "g": 0.02, "r": 0.012, "i": 0.012, "z": 0.015, "y": 0.02, "J": 0.025, "H": 0.03, "K": 0.035}


def magnitudes(r: FloatArray, g_i: FloatArray, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Return magnitudes (n,) by band of stars of a given r and g-i, with the locus' own width.

    PS1's z-y follows half of i-z (Tonry et al. 2012, ApJ 750, 99); BVRI are Lupton's (2005, SDSS, transformation page).
    """
    ug, gr, ri, iz, zj, jh, hk = (np.interp(g_i, _LOCUS[:, 0], column) for column in _LOCUS.T[1:])
    mags = {"r": r, "g": r + gr, "i": r - ri}
    mags["u"], mags["z"] = mags["g"] + ug, mags["i"] - iz
    mags["y"] = mags["z"] - 0.5 * iz
    mags["J"] = mags["z"] - zj
    mags["H"] = mags["J"] - jh
    mags["K"] = mags["H"] - hk
    mags = {band: value + rng.normal(0.0, _SCATTER[band], r.size) for band, value in mags.items()}
    return {**mags, **johnson(mags)}


def johnson(mags: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Return B, V, R, I (Vega) of g, r, i (AB) after Lupton 2005."""
    g, r, i = mags["g"], mags["r"], mags["i"]
    return {
        "B": g + 0.3130 * (g - r) + 0.2271,
        "V": g - 0.5784 * (g - r) - 0.0038,
        "R": r - 0.2936 * (r - i) - 0.1439,
        "I": r - 1.2444 * (r - i) - 0.3820,
    }


def draw_g_i(r: FloatArray, latitude: float, rng: np.random.Generator) -> FloatArray:
    """Return g-i (n,) of field stars: a blue peak of F to K stars, and M dwarfs that grow more common with depth.

    The shares follow the two peaks of Ivezic et al. 2008 (ApJ 684, 287, fig. 3): g-r of 0.45 and 1.4. Near the plane
    dust reddens both by up to half a magnitude.
    """
    red = np.clip(0.12 + 0.075 * (r - 14.0), 0.08, 0.62)
    is_red = rng.uniform(size=r.size) < red
    width = np.where(r < 16, 0.33, 0.22)
    blue = 0.62 + np.where(r < 16, 0.15, 0.0) + width * rng.standard_gamma(3.0, r.size) / 1.7 - width
    reddening = 0.5 * np.exp(-abs(latitude) / 9.0) * rng.uniform(0.2, 1.0, r.size)
    return np.clip(np.where(is_red, rng.normal(2.35, 0.42, r.size), blue) + reddening, -0.4, 3.95)
