"""What is taken off an image: its sky, or the fringes of it."""

from __future__ import annotations

from dataclasses import dataclass

from nightpipe.base.caveat import Caveat
from nightpipe.model.frame import Image, Mask


@dataclass(frozen=True)
class SkyImage:
    """The sky of one image, or a pattern in it.

    `data` (ny, nx) and its variance `var`, [electron] for a sky, relative to the sky's level for fringes; `mask`
    uint32 `Flag` bits where it is not known. `level` [electron] is the sky's typical brightness, `method` how it was
    found (``"background"``, ``"frames"``, ``"fringes"``), `frames` the names of those that went in, `of` that of the
    image whose sky it is.
    """

    data: Image
    var: Image
    mask: Mask
    level: float
    method: str
    frames: tuple[str, ...] = ()
    of: str = ""
    caveats: tuple[Caveat, ...] = ()
