"""A place on the sky at which something is to be measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spot:
    """A named place: `ra`, `dec` [deg, ICRS] at the epoch of the image."""

    name: str
    ra: float
    dec: float
