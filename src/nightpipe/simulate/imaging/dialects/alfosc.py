"""NOT/ALFOSC as a camera: the spectrograph's header with the grism out and a filter in FASU's wheel."""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from nightpipe.simulate.dialects.base import Cards
from nightpipe.simulate.imaging.dialects.base import ImagingDialect, Taken, middle, simple_wcs, stamp

WHOLE = 2148
"""Columns of the chip, 50 before and behind the light."""
_WORDS = {"bias": ("BIAS", "CALIB"), "skyflat": ("FLAT,SKY", "CALIB"), "science": ("OBJECT", "SCIENCE")}


def _window(taken: Taken) -> str:
    """Return the columns and rows of the chip that were read: all, or those about its middle."""
    ny, nx = taken.camera.shape
    first = 1 if nx == WHOLE else 1 + (WHOLE - nx) // 2
    return f"[{first}:{first + nx - 1}, 1:{ny}]"


class AlfoscImaging(ImagingDialect):
    """CCD14, unwindowed, 1 x 1."""

    bits = 32
    extension = True

    def file_name(self, taken: Taken) -> str:
        """Return ``ALyMMDDnnnn`` as the archive does."""
        start = taken.shot.start
        letters = f"{chr(ord('A') + (start.year - 2017) % 26)}{chr(ord('a') + start.month - 1)}{start.day:02d}"
        return f"AL{letters}{taken.shot.number:04d}.fits"

    def hdus(self, raw: NDArray[np.integer], taken: Taken) -> fits.HDUList:
        """Return the file; its first pixel lies below zero, which unsigned integers wrap to the top."""
        wrapped = raw.astype(np.int64)
        wrapped[0, 0] = 2**32 - 17000
        return super().hdus(wrapped, taken)

    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the primary's cards and those of the extension ``im1``."""
        shot, (ra, dec) = taken.shot, taken.commanded
        kind, category = _WORDS[shot.kind]
        primary: dict[str, object] = {
            "FILENAME": self.file_name(taken),
            "DATE-OBS": stamp(taken),
            "DATE_OBS": stamp(taken),
            "ORIGIN": "NOTSA",
            "OBSERVAT": "LaPalma",
            "TELESCOP": "NOT",
            "INSTRUME": "ALFOSC_FASU",
            "DETNAME": "E2V CCD 231-42 2kx2k",
            "XOVERSC": "50",
            "YOVERSC": "50",
            "ALAPRTNM": "Open",
            "ALFLTNM": "Open",
            "ALGRNM": "Open_(Lyot)",
            "FAFLTNM": taken.filter if shot.open else "Open",
            "FBFLTNM": "Open",
            "EXPTIME": shot.exptime or 0.002,
            "AMPLMODE": "D",
            "DETWIN1": _window(taken),
            "CCDTEMP": -120.04,
            "SHSTAT": "OPEN" if shot.open else "CLOSED",
            "DETXBIN": 1,
            "DETYBIN": 1,
            "NWINDOWS": 1,
            "FPIX": 200,
            "UT": shot.start.hour + shot.start.minute / 60 + shot.start.second / 3600,
            "ST": shot.sidereal / 15.0,
            "EQUINOX": 2000.0,
            "RADECSYS": "FK5",
            "TELALT": shot.altitude,
            "AZIMUTH": shot.azimuth,
            "AIRMASS": shot.airmass,
            "FIELD": shot.parallactic,
            "ROTPOS": 0.36,
            "TCSTGT": taken.name if shot.kind == "science" else "zenith",
            "OBJECT": taken.name if shot.kind == "science" else f"{kind} {shot.of[0]}",
            "OBSERVER": "nightpipe simulator",
            "IMAGETYP": kind,
            "OBS_MODE": "IMAGING",
            "IMAGECAT": category,
        }
        for number, name in enumerate(("He", "Ne", "Halogen", "ThAr"), start=1):
            primary |= {f"CLAMP{number}": 0, f"CLAMPNM{number}": f" {name}"}
        if not taken.lost:
            primary |= {"RA": ra, "DEC": dec, "OBJRA": shot.ra / 15.0, "OBJDEC": shot.dec, "OBJEQUIN": 2000.0}
        image: dict[str, object] = {
            "BUNIT": "count",
            "CCDNAME": "CCD14",
            "BIASSEC": "[3:52,1:2102]",
            "RDNOISE": taken.camera.header_noise or 4.3,
            "GAIN": taken.camera.header_gain or 0.16,
            "EXTNAME": "im1",
            "CCDSUM": "1 1",
            **({} if taken.lost else simple_wcs(taken, middle(taken.camera))),
        }
        return primary, image  # type: ignore[return-value]
