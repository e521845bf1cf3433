"""Three bands of one field on one grid."""

from __future__ import annotations

from dataclasses import dataclass

from nightpipe.base.caveat import Caveat
from nightpipe.model.frame import Image
from nightpipe.model.wcs import Wcs


@dataclass(frozen=True)
class Colour:
    """Images (ny, nx) [electron/s] through three filters, `bands` from the reddest to the bluest, on the grid `wcs`."""

    red: Image
    green: Image
    blue: Image
    bands: tuple[str, str, str]
    wcs: Wcs
    caveats: tuple[Caveat, ...] = ()
