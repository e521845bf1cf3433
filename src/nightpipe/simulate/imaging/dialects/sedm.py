"""SEDM's rainbow camera: four filters on one detector, the P60's long header."""

from __future__ import annotations

from nightpipe.simulate.dialects.base import Cards, sexagesimal
from nightpipe.simulate.imaging.dialects.base import ImagingDialect, Taken, stamp

_KINDS = {"bias": "bias", "domeflat": "dome", "skyflat": "twilight", "science": "Science"}
_WORDS = {"bias": "Calib: bias", "domeflat": "Calib: dome lamp", "skyflat": "Calib: twilight"}


class SedmRc(ImagingDialect):
    """The rainbow camera of the PIXIS era, slow read-out."""

    def file_name(self, taken: Taken) -> str:
        """Return ``rc20190912_05_00_00.fits``."""
        return f"rc{taken.shot.start:%Y%m%d_%H_%M_%S}.fits"

    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the cards."""
        shot, number = taken.shot, taken.shot.of
        words = _WORDS.get(shot.kind)
        name = f"{words} {number[0]} of {number[1]}" if words else f"{taken.name} r"
        kind = "Acquisition" if name.startswith("ACQ-") else _KINDS[shot.kind]
        return {**self._detector(taken), **_telescope(taken), "OBJECT": name, "IMGTYPE": kind,
                "OBJTYPE": "Calibration" if words else "Transient", "NAME": words or taken.name}, {}  # fmt: skip

    def _detector(self, taken: Taken) -> Cards:
        return {
            "EXPTIME": taken.shot.exptime,
            "ADCSPEED": 0.1,
            "TEMP": -50.0,
            "GAIN_SET": 2,
            "ADC": 1,
            "MODEL": 22,
            "SNSR_NM": "E2V 2048 x 2048 (CCD 42-40)(B)",
            "SER_NO": "04001312",
            "TELESCOP": "60",
            "GAIN": taken.camera.header_gain or 1.77,
            "CAM_NAME": "RC Cam",
            "INSTRUME": "SEDM-P60",
            "UTC": stamp(taken, 6),
            "OBSDATE": stamp(taken)[:10],
            "OBSTIME": stamp(taken, 6)[11:],
            "FILTER": "RC",
        }


def _telescope(taken: Taken) -> Cards:
    shot, (ra, dec) = taken.shot, taken.commanded
    where: Cards = {}
    if not taken.lost:
        hours, degrees = sexagesimal(ra, hours=True), sexagesimal(dec, plus=True, digits=1)
        where = {"RA": hours, "TEL_RA": hours, "DEC": degrees, "TEL_DEC": degrees}
        where |= {"OBJRA": sexagesimal(shot.ra, hours=True), "OBJDEC": sexagesimal(shot.dec, plus=True)}
    return {
        "LST": sexagesimal(shot.sidereal, hours=True, digits=1),
        "MJD_OBS": shot.mjd,
        "JD": shot.mjd + 2400000.5,
        "EQUINOX": 2000.0,
        "TEL_AZ": round(shot.azimuth, 2),
        "TEL_EL": round(shot.altitude, 2),
        "AIRMASS": round(shot.airmass, 3),
        "TEL_PA": round(shot.parallactic, 1),
        "RA_RATE": 0.0,
        "DEC_RATE": 0.0,
        "RA_OFF": round(shot.offset[0] - 94.9, 2),
        "DEC_OFF": round(shot.offset[1] - 118.5, 2),
        "DOMEST": "open" if shot.kind in ("science", "skyflat") else "closed",
        "LAMPSTAT": "on" if shot.kind == "domeflat" else "off",
        "LAMPCUR": 1.0 if shot.kind == "domeflat" else 0.0,
        "IN_AIR": 12.0,
        "IN_HUM": 35.0,
        "BARPRESS": 1015.0,
        "ENDAIR": round(shot.airmass + 0.01, 3),
        **where,
    }
