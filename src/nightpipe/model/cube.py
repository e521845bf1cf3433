"""A field of spectra: on native pixels, lenslet by lenslet, and on one wavelength grid for people."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.model.exposure import Exposure, Header, Scalar
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.frame import Image, Mask

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class SpaxelSpectra:
    """What n lenslets' spectra hold on native pixels, each on its own wavelengths: nothing is resampled.

    `flux`, `var` (n, m) in `unit` per pixel (electron); `mask` (n, m) uint32 `Flag` bits; `wave` (n, m) vacuum
    Angstrom at the pixels' middles, growing; `step` (n, m) Angstrom a pixel covers; `first` (n,) the first column.
    `fwhm` (n, m) of a line [Angstrom]. `scatter` (n, m) the scattered light under each, already removed.
    `east`, `north` (n,) [arcsec] from the field's middle, `q`, `r` (n,) on the lattice. `flat` tells whether the
    lenslets' response is divided out. Elements beyond a lenslet's light are masked NO_DATA.
    """

    flux: Image
    var: Image
    mask: Mask
    wave: FloatArray
    step: FloatArray
    first: IntArray
    fwhm: FloatArray
    east: FloatArray
    north: FloatArray
    q: IntArray
    r: IntArray
    unit: str = "electron"
    flat: bool = False
    scatter: Image | None = None
    exposure: Exposure | None = None
    header: Header = field(default_factory=dict)
    meta: dict[str, Scalar] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()

    def __len__(self) -> int:
        return int(self.flux.shape[0])

    @property
    def good(self) -> NDArray[np.bool_]:
        """Return where the elements may be used, (n, m)."""
        return np.asarray(((self.mask & np.uint32(UNUSABLE)) == 0) & (self.var > 0))

    def but(self, *, caveats: tuple[Caveat, ...] = (), **changes: Any) -> SpaxelSpectra:
        """Return a copy with `changes`; new caveats are added to the old ones."""
        return replace(self, caveats=merged(self.caveats, caveats), **changes)


@dataclass(frozen=True)
class Cube:
    """Lenslets on one wavelength grid, flux conserved: for people, pictures and export; never for measuring.

    `wave` (m,) vacuum Angstrom; `flux`, `var` (m, n) in `unit` (per Angstrom); `mask` (m, n); `fwhm` (m,) [Angstrom];
    `correlation` (k, m) of a bin with the next k ones, alike for all lenslets. `corner` the hexagon's circumradius
    [arcsec] and `angle` [deg] its turn, for drawing.
    """

    wave: FloatArray
    flux: Image
    var: Image
    mask: Mask
    east: FloatArray
    north: FloatArray
    q: IntArray
    r: IntArray
    unit: str
    fwhm: FloatArray
    correlation: FloatArray | None = None
    corner: float = 0.367
    angle: float = 103.0
    exposure: Exposure | None = None
    header: Header = field(default_factory=dict)
    meta: dict[str, Scalar] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
