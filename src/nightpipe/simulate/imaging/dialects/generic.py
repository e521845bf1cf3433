"""A CCD camera of no known instrument: the cards that most programs write, no plate solution."""

from __future__ import annotations

from nightpipe.simulate.dialects.base import Cards, sexagesimal
from nightpipe.simulate.imaging.dialects.base import ImagingDialect, Taken, section, stamp

_KINDS = {"bias": "bias", "dark": "dark", "domeflat": "flat", "skyflat": "sky flat", "science": "light"}


class Generic(ImagingDialect):
    """A small camera; frames are taken for one's own by ``--instrument generic``."""

    def file_name(self, taken: Taken) -> str:
        """Return ``light_0012.fits``."""
        return f"{_KINDS[taken.shot.kind].replace(' ', '')}_{taken.shot.number:04d}.fits"

    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the cards."""
        shot, camera, (ra, dec) = taken.shot, taken.camera, taken.commanded
        where: Cards = {} if taken.lost else {"RA": sexagesimal(ra, hours=True), "DEC": sexagesimal(dec, plus=True)}
        return {
            "DATE-OBS": stamp(taken),
            "EXPTIME": shot.exptime,
            "IMAGETYP": _KINDS[shot.kind],
            "OBJECT": taken.name if shot.kind == "science" else "",
            "INSTRUME": "CCD camera",
            "OBSERVER": "nightpipe simulator",
            **({"FILTER": taken.filter} if shot.open else {}),
            "XBINNING": 1,
            "YBINNING": 1,
            "CCD-TEMP": -20.1,
            "GAIN": camera.header_gain or camera.gain,
            "RDNOISE": camera.header_noise or camera.noise,
            "PIXSCALE": round(camera.scale, 2),
            "TRIMSEC": section(camera.light),
            "BIASSEC": section(camera.overscan[0]),
            "AIRMASS": round(shot.airmass, 3),
            **where,
        }, {}
