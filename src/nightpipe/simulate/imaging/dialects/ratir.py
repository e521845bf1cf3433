"""RATIR: one file a camera, named by time, camera and kind; no WCS, no gain but a divisor, pointing in TCS cards."""

from __future__ import annotations

from datetime import timedelta

from nightpipe.simulate.dialects.base import Cards
from nightpipe.simulate.imaging.dialects.base import ImagingDialect, Taken, stamp

_LETTERS = {"bias": "b", "dark": "d", "skyflat": "f", "domeflat": "f", "science": "o"}
_VISITS = {"bias": "bias", "dark": "dark", "skyflat": "evening flats", "domeflat": "dome flats"}


class Ratir(ImagingDialect):
    """The headers of 2013: RTS2's cards, then the TCS sections at start (S) and end (E) of the exposure."""

    def file_name(self, taken: Taken) -> str:
        """Return ``20130716T110452C1o.fits``."""
        letter = _LETTERS[taken.shot.kind]
        return f"{taken.shot.start:%Y%m%dT%H%M%S}{taken.camera.name}{letter}.fits"

    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the cards; mount coordinates of RTS2 are zero, DATE-OBS is four seconds after SDATE."""
        shot, camera = taken.shot, taken.camera
        closed, infrared = not shot.open, camera.infrared
        begin = (shot.start + timedelta(seconds=4.2)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        cards: dict[str, str | int | float | bool] = {
            "DATE-OBS": begin,
            "EXPOSURE": shot.exptime,
            "EXPTIME": shot.exptime,
            "INSTRUME": "RATIR",
            "TELESCOP": "1.5m",
            "ORIGIN": "OAN San Pedro Martir",
            "SCRIPT": f"{'D' if closed else 'E'} {shot.exptime:.0f}",
            "CCD_NAME": camera.name,
            "CCD_TYPE": "SIDECAR" if infrared else "FLI 256.273",
            "BINNING": "1x1" if infrared else "2x2",
            "BINX": 1 if infrared else 2,
            "BINY": 1 if infrared else 2,
            "CCD_SET": -30.0,
            "CCD_TEMP": -30.0,
            "SHUTTER": int(closed),
            "FLISHUT": "CLOSED",
            "RDOUTM": "1MHz",
            "FILTA": taken.filter,
            "LATITUDE": 31.0442,
            "LONGITUD": -115.464,
            "ALTITUDE": 2800.0,
            "ORIRA": 0.0,
            "ORIDEC": 0.0,
            "TELRA": 0.0,
            "TELDEC": 0.0,
            "AIRMASS": 1.20675150736861 if shot.open else 831.428727901523,
            "CROTA2": 0.0,
            "FILTER": "".join(taken.filters),
            "PRPSLID": "2012A-0000" if shot.kind == "science" else "2012A-0006",
            "VSTID": "8" if shot.kind == "science" else "0",
            "SDATE": stamp(taken),
            "SMJD": shot.mjd,
        }
        visit = _VISITS.get(shot.kind, taken.name)
        cards |= {"SEXVSNM": visit, "EEXVSNM": visit}
        sections = {**_section("S", taken), **_section("E", taken)}
        return {**cards, **sections, "SOFTGAIN": 2 if infrared else 4}, {}


def _section(letter: str, taken: Taken) -> Cards:
    shot = taken.shot
    if shot.kind != "science" or taken.lost:
        return {f"{letter}TRRQAP": "", f"{letter}TROBAM": shot.airmass}
    ra, dec = taken.commanded
    return {
        f"{letter}TRRQRA": shot.ra,
        f"{letter}TRRQDE": shot.dec,
        f"{letter}TRRQEQ": 2000.0,
        f"{letter}TRRQRAO": shot.offset[0] / 3600.0,
        f"{letter}TRRQDEO": shot.offset[1] / 3600.0,
        f"{letter}TRRQAP": shot.aperture,
        f"{letter}TRAPRAO": shot.axis[0] / 3600.0,
        f"{letter}TRAPDEO": shot.axis[1] / 3600.0,
        f"{letter}TRCURA": ra,
        f"{letter}TRCUDE": dec,
        f"{letter}TROBAZ": shot.azimuth,
        f"{letter}TROBZ": 90.0 - shot.altitude,
        f"{letter}TROBAM": shot.airmass,
    }
