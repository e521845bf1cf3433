"""Where a new source is expected: circles of error, as gamma-ray bursts and gravitational waves have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nightpipe.base.errors import ConfigError
from nightpipe.base.step import Step, parameter
from nightpipe.instruments.values import angle, number
from nightpipe.model.moc import Circle, Moc
from nightpipe.model.sources import Sources


class RankSources(Step):
    """Tell in how many error regions a source lies: 1 in BAT's circle, 2 in that of XRT too, or within a map."""

    bat: str = parameter("", "circle RA,DEC,RADIUS: degrees (or 12:34:56.7), radius in arcmin")
    xrt: str = parameter("", "circle RA,DEC,RADIUS: degrees (or 12:34:56.7), radius in arcsec")
    moc: str = parameter("", "file of a coverage map of the sky (FITS, UNIQ cells), the widest region")

    def regions(self, *maps: Moc) -> tuple[Circle | Moc, ...]:
        """Return the regions from the widest to the narrowest. Raises ConfigError: a text that is no circle."""
        given = (("BAT", self.bat, 60.0), ("XRT", self.xrt, 3600.0))
        return (*maps, *(_circle(name, text, unit) for name, text, unit in given if text))

    def run(self, sources: Sources, regions: Sequence[Circle | Moc]) -> Sources:
        """Return the sources with a column ``class``: in how many regions, from the widest on without a gap."""
        ra, dec = sources.columns["ra"], sources.columns["dec"]
        rank, inside = np.zeros(len(sources)), np.ones(len(sources), np.bool_)
        for region in regions:
            inside &= region.holds(ra, dec)
            rank += inside
        return replace(sources, columns={**sources.columns, "class": rank})


def _circle(name: str, text: str, unit: float) -> Circle:
    parts = [part.strip() for part in text.split(",")]
    try:
        ra, dec, radius = parts
        circle = Circle(name, angle(ra, "", hours=True), angle(dec, "", hours=False), number(radius) / unit)
    except ValueError as error:
        raise ConfigError(f"the circle of {name}: RA,DEC,RADIUS", text, "write for example 150.1,2.2,1.5") from error
    return circle
