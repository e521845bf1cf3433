"""RIMAS: two arms at once, filters in four wheels, the kind in OBJTYPE."""

from __future__ import annotations

from nightpipe.simulate.dialects.base import Cards
from nightpipe.simulate.imaging.dialects.base import ImagingDialect, Taken, stamp

_KINDS = {"bias": "BIAS", "dark": "DARK", "skyflat": "SKY_FLAT", "domeflat": "DOME_FLAT", "science": "SCIENCE"}


class Rimas(ImagingDialect):
    """RIMAS after 2025-11-03, when the detector's software began to crop."""

    def file_name(self, taken: Taken) -> str:
        """Return ``20251204.rimas.0001.C0.fits``."""
        return f"{taken.shot.start:%Y%m%d}.rimas.{taken.shot.number:04d}.{taken.camera.name}.fits"

    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the cards."""
        shot, (ra, dec) = taken.shot, taken.commanded
        arm = int(taken.camera.name[1])
        where: Cards = {} if taken.lost else {"RA": ra, "DEC": dec, "TARGRA": shot.ra, "TARGDEC": shot.dec}
        return {
            "DATE-BEG": stamp(taken),
            "MJD-BEG": shot.mjd,
            "EXPTIME": shot.exptime,
            "INSTRUME": "RIMAS",
            "TELESCOP": "LDT",
            "ASICINDX": arm,
            "OBJTYPE": _KINDS[shot.kind],
            "OBJECT": taken.name,
            "FILTER1": taken.filter if arm == 0 else "OPEN",
            "FILTER2": taken.filter if arm == 1 else "OPEN",
            "FILTER3": "IMAGING",
            "FILTER4": "IMAGING",
            "ROT": taken.camera.rotation,
            "PIXSCALE": 0.19,
            "GAIN0": taken.camera.header_gain or 2.0,
            "SATURATE": 40000,
            "AIRMASS": round(shot.airmass, 4),
            "DETTEMP": 77.0,
            **where,
        }, {}
