"""ARCSAT: MaxIm's and ACP's cards; science frames carry PinPoint's plate solution, calibrations no coordinates."""

from __future__ import annotations

from nightpipe.simulate.dialects.base import Cards, sexagesimal
from nightpipe.simulate.imaging.dialects.base import ImagingDialect, Taken, middle, simple_wcs, stamp

_KINDS = {"bias": "Bias Frame", "dark": "Dark Frame", "skyflat": "FLAT", "domeflat": "FLAT", "science": "Light Frame"}


class Arcsat(ImagingDialect):
    """The half-metre with its Apogee camera, 1 x 1."""

    def file_name(self, taken: Taken) -> str:
        """Return ``M51_sdss_g_20190501_081040.fits``, ``skyflat_sdss_r_001.fits``, ``Dark_BIN1_...``."""
        shot = taken.shot
        if shot.kind in ("skyflat", "domeflat"):
            return f"{shot.kind}_{taken.filter}_{shot.of[0]:03d}.fits"
        if shot.kind != "science":
            return f"{shot.kind.capitalize()}_BIN1_{shot.start:%Y%m%d_%H%M%S}.fits"
        return f"{taken.name}_{taken.filter}_{shot.start:%Y%m%d_%H%M%S}.fits"

    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the cards."""
        shot = taken.shot
        cards: dict[str, object] = {
            "DATE-OBS": stamp(taken, 0),
            "EXPTIME": shot.exptime,
            "EXPOSURE": shot.exptime,
            "SET-TEMP": -25.0,
            "CCD-TEMP": -24.83,
            "XPIXSZ": 13.0,
            "YPIXSZ": 13.0,
            "XBINNING": 1,
            "YBINNING": 1,
            "XORGSUBF": 0,
            "YORGSUBF": 0,
            "READOUTM": "Monochrome",
            "IMAGETYP": _KINDS[shot.kind],
            "FOCALLEN": 4010.5 if shot.kind == "science" else 4470.8,
            "APTDIA": 508.0,
            "SWCREATE": "MaxIm DL Version 6.13 170113",
            "SITELAT": "32 46 49",
            "SITELONG": "-105 49 13",
            "JD": shot.mjd + 2400000.5,
            "OBJECT": taken.name if shot.kind == "science" else "",
            "TELESCOP": "ACP->TCS772.DFM.ASCOM.Telescope" if shot.kind == "science" else "",
            "INSTRUME": "Apogee USB/Net",
            "OBSERVER": "nightpipe simulator" if shot.kind == "science" else "",
            "FLIPSTAT": "Flip/Rotate 90 CW",
            "PEDESTAL": 0,
        }
        if shot.open:
            cards |= {"FILTER": taken.filter, "TIMESYS": "UTC", "RADECSYS": "FK5"}
        if shot.kind == "science":
            cards |= {"AIRMASS": shot.airmass, "ALTITUDE": shot.altitude, "AZIMUTH": shot.azimuth}
            cards |= {} if taken.lost else _where(taken)
        return cards, {}  # type: ignore[return-value]


def _where(taken: Taken) -> Cards:
    ra, dec = taken.commanded
    hours = sexagesimal(taken.shot.ra, hours=True).replace(":", " ")
    degrees = sexagesimal(taken.shot.dec, plus=True, digits=1).replace(":", " ")
    return {
        "RA": hours,
        "OBJCTRA": hours,
        "DEC": degrees,
        "OBJCTDEC": degrees,
        "EQUINOX": 2000.0,
        **simple_wcs(taken, middle(taken.camera)),
        "CRVAL1": ra,
        "CRVAL2": dec,
        "PLTSOLVD": False,
    }
