"""NOT/ALFOSC: an empty primary, one image extension of unsigned 32 bits, catalogue positions in hours and of B1950."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from nightpipe.model.exposure import FrameType
from nightpipe.simulate.bench import Bench
from nightpipe.simulate.dialects.base import Cards, Dialect, Layout, alias, precessed
from nightpipe.simulate.schedule import NightOptions, Shot

_WORDS = {
    FrameType.BIAS: ("BIAS", "CALIB", "IMAGING"),
    FrameType.DARK: ("DARK", "CALIB", "IMAGING"),
    FrameType.FLAT: ("FLAT,LAMP", "CALIB", "SPECTROSCOPY"),
    FrameType.ARC: ("WAVE,LAMP", "CALIB_ON_OBJECT", "SPECTROSCOPY"),
    FrameType.STANDARD: ("OBJECT", "SCIENCE", "SPECTROSCOPY"),
    FrameType.SCIENCE: ("OBJECT", "SCIENCE", "SPECTROSCOPY"),
}
_LAMPS = (("He", "OSRAM He/10"), ("Ne", "OSRAM Ne/10"), ("Halogen", "OSRAM 64415"), ("ThAr", "Cathodeon 3UAXTh"))


class Alfosc(Dialect):
    """ALFOSC with CCD14, windowed along the slit or whole."""

    bits = 32
    extension = True

    def layout(self, shot: Shot, options: NightOptions) -> Layout:
        """Return 400 columns for a small night with a horizontal slit, else the whole detector."""
        whole = options.size == "full" or options.vertical
        window = (1, 2148, 1, 2102) if whole else (851, 1250, 1, 2102)
        bin_x, bin_y = shot.binning
        return Layout((2102 // bin_y, (window[1] - window[0] + 1) // bin_x), window)

    def file_name(self, shot: Shot) -> str:
        """Return ``ALyMMDDnnnn`` as the archive does: letters for year and month, the day of the evening."""
        return f"AL{_night_letters(shot.start)}{shot.number:04d}.fits"

    def quirks(self, raw: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the array with its first pixel below zero, which unsigned integers wrap to the top."""
        wrapped = raw.copy()
        wrapped[0, 0] = 2**32 - 17000
        return wrapped

    def cards(self, shot: Shot, layout: Layout, known: Bench, options: NightOptions) -> tuple[Cards, Cards]:
        """Return the primary's cards and those of the extension ``im1``."""
        cards = {**_time(shot), **_wheels(shot, known, options), **_lamps(shot), **_telescope(shot)}
        x1, x2, y1, y2 = layout.window
        cards |= {
            "FILENAME": self.file_name(shot),
            "EXPTIME": (shot.exptime or 0.002, "exposure time"),
            "AMPLMODE": "D",
            "DETWIN1": f"[{x1}:{x2}, {y1}:{y2}]",
            "CCDTEMP": -120.04,
            "SHSTAT": ("CLOSED" if shot.type in (FrameType.BIAS, FrameType.DARK) else "OPEN", "Shutter status"),
            "DETXBIN": (shot.binning[0], "X binning"),
            "DETYBIN": (shot.binning[1], "Y binning"),
            "NWINDOWS": 1,
            "FPIX": (200, "Readout speed"),
        }
        return cards, _extension(shot, layout)


def _night_letters(start: datetime) -> str:
    return f"{chr(ord('A') + (start.year - 2017) % 26)}{chr(ord('a') + start.month - 1)}{start.day:02d}"


def _time(shot: Shot) -> Cards:
    begin = shot.start.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    return {
        "BZERO": 2147483648,
        "DATE-OBS": (begin, "Start of exposure"),
        "DATE_OBS": (begin, "Start of exposure"),
        "ORIGIN": "NOTSA",
        "OBSERVAT": "LaPalma",
        "TELESCOP": "NOT",
        "INSTRUME": "ALFOSC_FASU",
        "DETNAME": "E2V CCD 231-42 2kx2k",
        "XOVERSC": "50",
        "YOVERSC": "50",
        "DATE-AVG": (shot.middle.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3], "Mid-point of exposure"),
    }


def _wheels(shot: Shot, known: Bench, options: NightOptions) -> Cards:
    closed = shot.type in (FrameType.BIAS, FrameType.DARK)
    slit = f"{'Vert' if options.vertical else 'Slit'}_{shot.slit:.1f}"
    disperser = options.disperser or known.night.disperser
    blocker = "WG345 356_LP" if disperser == "Grism_#4" else "Open"
    return {
        "ALAPRTNM": "Open" if closed else slit,
        "ALAPRORI": "Vertical" if options.vertical else "Horizontal",
        "ALFLTNM": ("Open", "ALFOSC filter wheel. Name"),
        "ALGRNM": ("Open_(Lyot)" if closed else disperser, "ALFOSC grism wheel. Name"),
        "FAFLTNM": "Open",
        "FBFLTNM": blocker,
    }


def _lamps(shot: Shot) -> Cards:
    lit = {"flat": ("Halogen",), "HeNe": ("He", "Ne"), "ThAr": ("ThAr",)}.get(shot.lamp, ())
    cards: dict[str, str | int] = {}
    for number, (name, maker) in enumerate(_LAMPS, start=1):
        cards |= {f"CLAMP{number}": int(name in lit), f"CLAMPNM{number}": f" {name}", f"CLAMPID{number}": maker}
    return cards | {"CMIRROR": int(bool(shot.lamp))}


def _telescope(shot: Shot) -> Cards:
    kind, category, mode = _WORDS[shot.type]
    target = alias(shot, "SP")
    words = {FrameType.FLAT: f"Halogen {shot.number}", FrameType.ARC: f"{shot.lamp} {shot.name}"}
    old = precessed(shot.ra, shot.dec, -50.0) if shot.standard is not None else (shot.ra, shot.dec)
    return {
        "UT": shot.start.hour + shot.start.minute / 60 + shot.start.second / 3600,
        "ST": shot.sidereal / 15.0,
        "RA": (shot.ra, "degrees, at start"),
        "DEC": (shot.dec, "degrees, at start"),
        "EQUINOX": 2000.0,
        "RADECSYS": "FK5",
        "TELALT": shot.altitude,
        "AZIMUTH": shot.azimuth,
        "AIRMASS": (shot.airmass, "at start"),
        "FIELD": (shot.parallactic, "Field rotation at start"),
        "ROTPOS": 0.36,
        "TCSTGT": (target if shot.type is not FrameType.FLAT else "alfosc-calibs", "TCS Catalogue Entry"),
        "OBJRA": (old[0] / 15.0, "Catalogue RA in decimal hours"),
        "OBJDEC": (old[1], "Catalogue DEC in decimal deg."),
        "OBJEQUIN": 2000.0,
        "OBJECT": words.get(shot.type, target),
        "OBSERVER": "nightpipe simulator",
        "IMAGETYP": kind,
        "OBS_MODE": mode,
        "IMAGECAT": category,
        "PROPID": "00-000",
    }


def _extension(shot: Shot, layout: Layout) -> Cards:
    return {
        "BUNIT": "count",
        "CCDNAME": "CCD14",
        "CRVAL1": float(layout.window[0]),
        "CRVAL2": float(layout.window[2]),
        "CRPIX1": float(shot.binning[0]),
        "CRPIX2": float(shot.binning[1]),
        "CDELT1": shot.binning[0],
        "CDELT2": shot.binning[1],
        "BIASSEC": "[3:52,1:2102]",
        "DARK": 0.0,
        "RDNOISE": 4.3,
        "GAIN": 0.16,
        "EXTNAME": "im1",
        "CCDSUM": f"{shot.binning[0]} {shot.binning[1]}",
    }
