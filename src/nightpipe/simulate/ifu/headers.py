"""SEDM's headers, card by card as the P60's robot writes them."""

from __future__ import annotations

from datetime import timedelta

from nightpipe.simulate.dialects.base import Cards, sexagesimal
from nightpipe.simulate.ifu.instrument import Epoch
from nightpipe.simulate.ifu.schedule import IfuOptions, Shot
from nightpipe.simulate.ifu.weather import cards as weather_cards

_TYPES = {
    "bias": "bias", "dome": "dome", "lamp": "lamp", "standard": "Standard", "science": "Science", "focus": "Focus",
}  # fmt: skip
SKY = ("standard", "science", "focus")


def file_name(shot: Shot, prefix: str = "ifu") -> str:
    """Return ``ifu20190912_04_20_11.fits``."""
    return f"{prefix}{shot.start:%Y%m%d_%H_%M_%S}.fits"


def cards(shot: Shot, epoch: Epoch, options: IfuOptions) -> Cards:
    """Return the cards of a spectrum; pointing is the telescope's, some 200 arcsec from the object as it is always."""
    place = {**_telescope(shot), **_rates(shot, options)}
    return {**_detector(shot, epoch), **place, **_lamps(shot), **_names(shot, options), **weather_cards(shot.weather)}


def _detector(shot: Shot, epoch: Epoch) -> Cards:
    end = shot.start + timedelta(seconds=shot.exptime + 19.99)
    sections: Cards = {}
    if epoch.first:
        sections = {"PSCANX0": 1, "PSCANX1": 20, "OSCANX0": 2069, "OSCANX1": 2088}
    return {
        "EXPTIME": shot.exptime,
        "ADCSPEED": shot.speed,
        "TEMP": epoch.temperature,
        "GAIN_SET": 2,
        "ADC": 1,
        "MODEL": 22,
        "INTERFC": "USB",
        "SNSR_NM": "E2V 2048 x 2048 (CCD 42-40)(B)",
        "SER_NO": epoch.serial,
        "TELESCOP": "60",
        "GAIN": epoch.header_gain,
        "CAM_NAME": "IFU Cam",
        "INSTRUME": "SEDM-P60",
        "UTC": shot.start.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "END_SHUT": end.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "OBSDATE": shot.start.strftime("%Y-%m-%d"),
        "OBSTIME": shot.start.strftime("%H:%M:%S.%f"),
        "CRPIX1": 1293,
        "CRPIX2": 1280,
        "CDELT1": -0.00010944,
        "CDELT2": -0.00010944,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "FILTER": "ifu",
        **sections,
    }


def _telescope(shot: Shot) -> Cards:
    ra, dec = shot.ra - 94.9 / 3600.0, shot.dec - 118.5 / 3600.0
    hours, degrees = sexagesimal(ra % 360.0, hours=True), sexagesimal(dec, plus=True, digits=1)
    hour = (shot.sidereal - shot.ra + 180.0) % 360.0 - 180.0
    sky = shot.kind in SKY
    return {
        "LST": sexagesimal(shot.sidereal, hours=True, digits=1),
        "MJD_OBS": shot.mjd,
        "JD": round(shot.mjd + 2400000.5, 7),
        "APPEQX": round(2000.0 + (shot.mjd - 51544.5) / 365.25, 2),
        "EQUINOX": 2000.0,
        "TEL_HA": f"{'e' if hour < 0 else 'w'}{sexagesimal(abs(hour), hours=True)}",
        "RA": hours,
        "TEL_RA": hours,
        "DEC": degrees,
        "TEL_DEC": degrees,
        "TEL_AZ": round((180.0 + hour) % 360.0, 2),
        "TEL_EL": round(shot.altitude, 2),
        "AIRMASS": round(shot.airmass, 3),
        "TEL_PA": round(shot.parallactic, 0),
        "RA_OFF": -94.9,
        "DEC_OFF": -118.5,
        "FOCPOS": 16.6,
        "IFUFOCUS": 0.00046,
        "IFUFOC2": 0.0,
        "DOMEST": "open" if sky else "closed",
        "DOMEMO": "anticipate",
        "TELCONT": "remote",
        "TELPOWST": "ready",
        "TELRDST": "ready",
        "TEL_MO": "tracking" if sky else "off",
        "CRVAL1": ra % 360.0,
        "CRVAL2": dec,
        "ENDAIR": round(shot.end_airmass, 3),
        "ENDDOME": "open" if sky else "closed",
        "END_RA": hours,
        "END_DEC": degrees,
        "END_PA": round(shot.end_parallactic, 0),
        "ELAPTIME": shot.exptime + {0.1: 116.9, 1.0: 20.0, 2.0: 12.0}[shot.speed],
    }


def _rates(shot: Shot, options: IfuOptions) -> Cards:
    """Return how fast [arcsec/h] object and telescope move: SEDM follows."""
    moving = options.rate if shot.kind == "science" else 0.0
    return {"RA_RATE": moving, "DEC_RATE": 0.0, "ORA_RAT": moving, "ODEC_RAT": 0.0}


def _lamps(shot: Shot) -> Cards:
    lit = {lamp: "on" if shot.lamp == lamp else "off" for lamp in ("Hg", "Xe", "Cd")}
    dome = shot.kind == "dome"
    return {
        "LAMPSTAT": "on" if dome else "off",
        "LAMPCUR": 1.0 if dome else 0.0,
        "HG_LAMP": lit["Hg"],
        "XE_LAMP": lit["Xe"],
        "CD_LAMP": lit["Cd"],
    }


def _names(shot: Shot, options: IfuOptions) -> Cards:
    calibration = shot.kind in ("bias", "dome", "lamp")
    if calibration:
        name = f"Calib: {shot.name}"
        words = f"{name} {shot.of[0]} of {shot.of[1]}"
    else:
        name = f"STD-{shot.name.replace(' ', '').replace('+', '+')}" if shot.kind == "standard" else shot.name
        words = f"Focus: {name}" if shot.kind == "focus" else f"{name} [{shot.letter}]"
    return {
        "OBJECT": words,
        "OBJTYPE": "Calibration" if calibration else "Standard" if shot.kind == "standard" else "Transient",
        "IMGTYPE": _TYPES[shot.kind],
        "OBJNAME": f'"{name.lower()}"',
        "OBJEQX": "j2000.0",
        "OBJRA": sexagesimal(shot.ra, hours=True, digits=4),
        "OBJDEC": sexagesimal(shot.dec, plus=True, digits=4),
        "ABPAIR": options.pair and shot.kind == "science",
        "IMGSET": shot.letter,
        "NAME": name,
        "P60PRID": "2026A-SIM",
        "P60PRNM": "Simulated transients",
        "P60PRPI": "nightpipe simulator",
        "EMAIL": "",
        "REQ_ID": shot.number,
        "OBJ_ID": shot.number,
    }
