"""The difference of two images of one field, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.model.frame import Image, Mask
from nightpipe.model.wcs import Wcs


@dataclass(frozen=True)
class Difference:
    """New image minus reference, the sharper of them blurred to the other's PSF, on the new image's flux scale.

    `data`, `var` (ny, nx) [electron/s]; `mask` uint32 `Flag` bits of both. `significance` (ny, nx) is the flux of a
    point source at each pixel over its error, `flux` (ny, nx) that flux [electron/s]. `psf` (m, m) is that of a point
    source in the difference and sums to one. `reference` (ny, nx) is the reference as it was subtracted. `blurred`
    names what was convolved (``"reference"`` or ``"new"``), `scale` (of the reference's flux to the new image's) is
    the kernel's sum at the centre, `stamps` stars and galaxies told the kernel with a reduced `chi2`; `floor` is the
    share of the reference's light by which subtraction errs beyond the noise.
    """

    data: Image
    var: Image
    mask: Mask
    significance: Image
    flux: Image
    psf: NDArray[np.float64]
    reference: Image
    fwhm: float
    blurred: str
    scale: float
    stamps: int
    chi2: float
    floor: float
    wcs: Wcs
    zp: float
    exptime: float
    caveats: tuple[Caveat, ...] = ()
