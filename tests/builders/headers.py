"""Headers of the described instruments, as small as they may be, for tests without real frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

ALFOSC = (
    {
        "SIMPLE": True, "NAXIS": 0, "INSTRUME": "ALFOSC_FASU", "DATE-OBS": "2020-03-21T04:29:55.159",
        "EXPTIME": 1030.0, "OBJECT": "GQ125005+280041", "TCSTGT": "GQ125005+280041", "SHSTAT": "OPEN",
        "CLAMP1": 0, "CLAMP2": 0, "CLAMP3": 0, "CLAMP4": 0, "ALGRNM": "Grism_#4", "ALAPRTNM": "Slit_1.0",
        "FAFLTNM": "Open", "FBFLTNM": "WG345 356_LP", "ALFLTNM": "Open", "IMAGETYP": "OBJECT",
        "OBS_MODE": "SPECTROSCOPY", "RA": 192.51324, "DEC": 28.00935, "OBJRA": 12.8347, "OBJDEC": 28.01,
        "AIRMASS": 1.172, "DETXBIN": 1, "DETYBIN": 2, "DETWIN1": "[851:1250, 1:2102]", "FPIX": 200,
    },
    {"NAXIS": 2, "NAXIS1": 400, "NAXIS2": 1051, "CCDNAME": "CCD14", "GAIN": 0.16, "RDNOISE": 4.3, "EXTNAME": "im1"},
)  # fmt: skip

KAST = (
    {
        "NAXIS": 2, "NAXIS1": 2112, "NAXIS2": 350, "VERSION": "kastb", "OBSTYPE": "OBJECT", "OBJECT": "Arcs",
        "EXPTIME": 30, "DATE-BEG": "2015-05-20T01:35:27.67", "RA": "09:21:46.0", "DEC": " 37:25:56.0", "AIRMASS": 1,
        "GRISM_N": "600/4310", "GRATNG_N": "1200/5000", "SLIT_N": "0.5 arcsec", "BSPLIT_N": "d55", "BLFILT_N": "Open",
        "LAMPSTAF": "on", "LAMPSTAG": "on", "LAMPSTAE": "off", "LAMPNAME": "Dim_Neon", "LAMPSTA5": "off",
        "CRVAL1U": 0, "CDELT1U": 1, "CRVAL2U": 1260, "CDELT2U": -1, "COVER": 32, "AMPSROW": 2, "READ-SPD": 80,
    },
)  # fmt: skip

DBSP_RED = (
    {
        "NAXIS": 2, "NAXIS1": 4141, "NAXIS2": 440, "FPA": "DBSP_RED2", "IMGTYPE": "cal", "OBJECT": "arcs",
        "EXPTIME": 0.4, "UTSHUT": "2020-08-28T01:30:31.058", "LAMPS": "0001110", "TURRET": "LAMPS", "RFILTER": "OPEN",
        "RA": "16:09:10.13", "DEC": "+33:36:31.5", "AIRMASS": "1.000", "ANGLE": "24d38m00s", "GRATING": "316/7500",
        "APERTURE": "1.0", "DICHROIC": "D55", "CCDSUM": "1 1", "ROISEC": "[1:4114,790:1229]", "GAIN": 2.8, "RON": 8.5,
    },
)  # fmt: skip

SPRAT = (
    {
        "NAXIS": 2, "NAXIS1": 1024, "NAXIS2": 254, "BITPIX": 16, "INSTRUME": "SPRAT", "OBSTYPE": "EXPOSE",
        "OBJECT": "LHS6328", "CAT-NAME": "LHS6328", "EXPTIME": 120.0, "DATE-OBS": "2018-08-10T23:22:58.628",
        "RA": "18:1:54.231", "DEC": "62:54:0.59", "AIRMASS": 1.25, "GRATPOS": "IN", "GRATSET": "red", "SLITPOS": "IN",
        "LAMP1SET": False, "LAMP2SET": False, "FILTER1": "4020longpass", "FILTER2": "clear", "GAIN": 2.45,
        "CCDXBIN": 1, "CCDYBIN": 1,
    },
)  # fmt: skip


def but(headers: tuple[dict, ...], **changes: object) -> tuple[dict, ...]:
    """Return copies of headers with the first HDU's cards changed; None takes a card out (``_`` stands for ``-``)."""
    first = {**headers[0], **{name.replace("__", "-"): value for name, value in changes.items()}}
    return ({name: value for name, value in first.items() if value is not None}, *map(dict, headers[1:]))


def written(path: Path, headers: tuple[dict, ...], data: np.ndarray) -> Path:
    """Write headers and an image (into the last HDU) as FITS and return the path."""
    hdus: list[fits.PrimaryHDU | fits.ImageHDU] = []
    for number, header in enumerate(headers):
        image = data if number == len(headers) - 1 else None
        hdu = fits.PrimaryHDU(image) if number == 0 else fits.ImageHDU(image)
        for name, value in header.items():
            if not name.startswith(("NAXIS", "SIMPLE", "BITPIX")):
                hdu.header[name] = value
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path
