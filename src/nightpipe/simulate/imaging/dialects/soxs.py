"""The acquisition camera of SOXS: ESO's hierarchical cards."""

from __future__ import annotations

from nightpipe.simulate.dialects.base import Cards
from nightpipe.simulate.imaging.dialects.base import ImagingDialect, Taken, middle, simple_wcs, stamp

_KINDS = {"bias": ("CALIB", "BIAS"), "skyflat": ("CALIB", "FLAT,SKY"), "science": ("ACQUISITION", "OBJECT")}


class SoxsAcq(ImagingDialect):
    """One frame before each spectrum."""

    def file_name(self, taken: Taken) -> str:
        """Return ``SOXS.2026-03-12T04:30:00.000.fits``, with underscores for colons."""
        return f"SOXS.{stamp(taken).replace(':', '_')}.fits"

    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the cards."""
        shot, (ra, dec) = taken.shot, taken.commanded
        category, kind = _KINDS[shot.kind]
        where: Cards = (
            {} if taken.lost else {"RA": ra, "DEC": dec, "EQUINOX": 2000.0, **simple_wcs(taken, middle(taken.camera))}
        )
        return {
            "ORIGIN": "ESO-LASILLA",
            "TELESCOP": "ESO-NTT",
            "INSTRUME": "SOXS",
            "DATE-OBS": stamp(taken),
            "MJD-OBS": shot.mjd,
            "EXPTIME": shot.exptime,
            "OBJECT": taken.name if shot.kind == "science" else kind,
            **where,
            "ESO SEQ ARM": "ACQ",
            "ESO DPR CATG": category,
            "ESO DPR TYPE": kind,
            "ESO DPR TECH": "IMAGE",
            "ESO INS ACFW ID": taken.filter if shot.open else "OPEN",
            "ESO OBS TARG NAME": taken.name if shot.kind == "science" else "",
            "ESO DET BINX": 1,
            "ESO DET BINY": 1,
            "ESO DET READ CURNAME": "SLOW",
            "ESO DET OUT1 CONAD": taken.camera.header_gain or 1.0,
            "ESO DET OUT1 GAIN": taken.camera.header_gain or 1.0,
            "ESO DET OUT1 RON": taken.camera.header_noise or 3.0,
            "ESO TEL AIRM START": round(shot.airmass, 3),
            "ESO TEL AIRM END": round(shot.airmass, 3),
            "ESO TEL ALT": shot.altitude,
            "ESO TEL AZ": shot.azimuth,
        }, {}
