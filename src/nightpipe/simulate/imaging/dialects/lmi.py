"""LMI: sexagesimal CRVAL1 in hours, filters in two wheels, the gain of the maker."""

from __future__ import annotations

from nightpipe.simulate.dialects.base import Cards, sexagesimal
from nightpipe.simulate.imaging.dialects.base import ImagingDialect, Taken, middle, section, simple_wcs, stamp

_KINDS = {"bias": "BIAS", "dark": "DARK", "skyflat": "SKY FLAT", "domeflat": "DOME FLAT", "science": "OBJECT"}


class Lmi(ImagingDialect):
    """LMI binned 2 x 2."""

    def file_name(self, taken: Taken) -> str:
        """Return ``lmi.0001.fits``."""
        return f"lmi.{taken.shot.number:04d}.fits"

    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the cards; CRVAL1 is text in hours, as the control system writes it."""
        shot, (ra, dec) = taken.shot, taken.commanded
        wcs = dict(simple_wcs(taken, middle(taken.camera)))
        where: Cards = {}
        if not taken.lost:
            wcs["CRVAL1"], wcs["CRVAL2"] = sexagesimal(ra, hours=True), sexagesimal(dec, plus=True)
            where = {
                "RA": sexagesimal(ra, hours=True),
                "DEC": sexagesimal(dec, plus=True),
                "OBSRA": sexagesimal(shot.ra, hours=True),
                "OBSDEC": sexagesimal(shot.dec, plus=True),
                **wcs,
            }
        return {
            "DATE-OBS": stamp(taken),
            "UT": stamp(taken)[11:],
            "UTCSTART": stamp(taken)[11:],
            "EXPTIME": shot.exptime,
            "OBSTYPE": _KINDS[shot.kind],
            "OBJECT": taken.name,
            "OBJNAME": taken.name if shot.kind == "science" else "",
            "SCITARG": taken.name if shot.kind == "science" else "",
            "INSTRUME": "LMI",
            "TELESCOP": "DCT",
            "OBSERVAT": "LOWELL",
            "INSFILTE": taken.filter,
            "FILTERS": f"{taken.filter},OPEN",
            "FILTER1": taken.filter,
            "FILTER2": "OPEN",
            "CCDSUM": "2 2",
            "ADELX_01": 2,
            "ADELY_01": 2,
            "NUMAMP": 1,
            "TRIMSEC": section(taken.camera.light),
            "BIASSEC": section(taken.camera.overscan[0]),
            "GAIN": taken.camera.header_gain or 2.89,
            "RDNOISE": taken.camera.header_noise or 6.0,
            "AIRMASS": round(shot.airmass, 4),
            "TELALT": shot.altitude,
            "TELAZ": shot.azimuth,
            "CCDTEMP": -120.1,
            "IMGROT": 0.0,
            "EQUINOX": 2000.0,
            "ROTATOR": "NO",
            "OBSERVER": "nightpipe simulator",
            "MJD-OBS": shot.mjd,
            "NUMBER": shot.number,
            **where,
        }, {}
