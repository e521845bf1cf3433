"""Header cards of products: the original ones that still hold, and our own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from nightpipe.base.caveat import Caveat
from nightpipe.model.exposure import Exposure, Header, Scalar
from nightpipe.model.flags import SENTENCES, Flag
from nightpipe.model.scene import words
from nightpipe.model.spectrum import Spectrum

STRUCTURE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|BSCALE|BZERO|BLANK|BUNIT|DATAMIN|DATAMAX"
    r"|CHECKSUM|DATASUM|EXTNAME|EXTVER|EXTLEVEL|INHERIT|NEXTEND|THEAP|END|COMMENT|HISTORY|CONTINUE"
    r"|T(?:TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|DIM|BCOL)\d+|LONGSTRN"
)
"""Cards that describe how the original array was stored."""
PLACE = re.compile(
    r"WCSAXES\w?|(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CNAME)\d+\w?|(?:CD|PC|PV|PS)\d+_\d+\w?|LT[VM]\d(?:_\d)?"
    r"|WAT\d_\d+|WCSDIM|(?:DATA|BIAS|TRIM|CCD|DET|AMP|ORIG)SEC\d*|RADECSYS"
)
"""Cards that describe where its pixels lay."""
UNPRINTED = re.compile(r"[^ -~]")
"""What no card may hold."""
OWN = {
    "snr_median": ("SNR", "median signal to noise ratio per bin"),
    "slit_arcsec": ("SLITPOS", "[arcsec] place along the slit from its centre"),
    "airmass": ("AIRMEFF", "effective airmass of the exposure"),
    "barycorr": ("BARYCORR", "[km/s] to the barycentre, not applied"),
    "bjd_tdb": ("BJD_TDB", "[d] barycentric Julian date, TDB, mid-exposure"),
    "extinction": ("EXTSITE", "site whose extinction was corrected"),
    "response": ("FLUXSTD", "standards of the response"),
    "response_error": ("FLUXERR", "relative error of the response"),
    "response_source": ("FLUXSRC", "response from this night or from the library"),
    "ncombine": ("NCOMBINE", "exposures combined"),
    "exposures": ("COMBINED", "exposures combined, the best first"),
    "scales": ("COMBSCAL", "factors they were multiplied with"),
    "coadd_chi": ("COMBCHI", "scatter of the exposures over their errors"),
    "fwhm_arcsec": ("SPATFWHM", "[arcsec] width along the slit"),
    "limit_3sigma": ("LIMIT3S", "upper limit, 3 sigma, [electron] per bin"),
    "splice_wave": ("SPLICE", "[Angstrom] where the arms were joined"),
    "splice_ratio": ("SPLRATIO", "flux of blue over red arm where they overlap"),
}
"""What of a spectrum's meta is written as a card: keyword and comment."""


def original(header: Mapping[str, Scalar]) -> list[tuple[str, Scalar]]:
    """Return the cards of a raw header that may stand in a product: no structure, no pixel coordinates, plain ASCII."""
    cards = []
    for keyword, value in header.items():
        name = keyword.strip().upper().removeprefix("HIERARCH ")
        if not name or STRUCTURE.fullmatch(name) or PLACE.fullmatch(name):
            continue
        clean = plain(value)
        if clean is not None:
            cards.append((name if _short(name) else f"HIERARCH {name}", clean))
    return cards


def plain(value: Scalar) -> Scalar | None:
    """Return a value that a FITS card can hold, or None."""
    if isinstance(value, str):
        return UNPRINTED.sub("?", value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(name: str) -> bool:
    return len(name) <= 8 and re.fullmatch(r"[A-Z0-9_-]+", name) is not None


def fill(header: Any, cards: list[tuple[str, Scalar]]) -> None:
    """Put original cards into an astropy header; one that cannot be written is left out."""
    for name, value in cards:
        key = name.removeprefix("HIERARCH ")
        try:
            room = 66 - len(key) if name.startswith("HIERARCH") else None
            header[name] = value[:room] if isinstance(value, str) and room else value
        except (ValueError, TypeError):
            continue


def exposure_cards(exposure: Exposure | None) -> Header:
    """Return what programs ask of every product, whatever the dialect of the original header."""
    if exposure is None:
        return {}
    cards: Header = {
        "OBJECT": exposure.target,
        "INSTRUME": exposure.instrument,
        "DATE-OBS": exposure.start,
        "EXPTIME": exposure.exptime,
        "RAWFILE": exposure.path.rsplit("/", 1)[-1],
        "SETUP": exposure.setup.label(),
    }
    if exposure.mjd > 0:
        cards |= {"MJD-MID": exposure.mjd}
    if exposure.ra is not None and exposure.dec is not None:
        cards |= {"RA": exposure.ra, "DEC": exposure.dec, "RADESYS": "ICRS"}
    return {name: value for name, value in cards.items() if plain(value) not in (None, "")}


def spectrum_cards(spectrum: Spectrum) -> list[tuple[str, Scalar, str]]:
    """Return our own cards of one spectrum with their comments."""
    cards: list[tuple[str, Scalar, str]] = [
        ("OBJNAME", spectrum.name, "object in the slit"),
        ("SPECSYS", str(spectrum.meta.get("specsys", "TOPOCENT")), "wavelengths as measured on Earth"),
        ("VACUUM", True, "wavelengths are in vacuum"),
        ("FLUXCAL", "ABSOLUTE" if spectrum.unit.startswith("erg") else "UNCALIBRATED", "flux calibration"),
        ("WAVELMIN", float(spectrum.wave[0]), "[Angstrom]"),
        ("WAVELMAX", float(spectrum.wave[-1]), "[Angstrom]"),
    ]
    for key, (keyword, comment) in OWN.items():
        value = plain(spectrum.meta[key]) if key in spectrum.meta else None
        if value is not None:
            cards.append((keyword, value, comment))
    return cards + [(keyword, value, "") for keyword, value in graded(spectrum.meta).items()]


def graded(meta: Mapping[str, Any]) -> Header:
    """Return the cards of a graded spectrum, from its facts: quality, why, how it was placed and extracted."""
    if "quality" not in meta:
        return {}
    reasons = int(meta.get("reasons", 0))
    known: Header = {"QUALITY": int(meta["quality"]), "QREASON": reasons, "QWHY": ",".join(words(reasons))}
    names = {"VERDICT": "verdict", "PLACED": "placed", "EXTRHOW": "extraction", "EXTRWHY": "chosen"}
    return known | {card: str(plain(str(meta[name]))) for card, name in names.items() if meta.get(name)}


def caveat_cards(caveats: tuple[Caveat, ...]) -> list[tuple[str, Scalar, str]]:
    """Return CAVEAT1 ...; the number of them comes first."""
    cards: list[tuple[str, Scalar, str]] = [("NCAVEATS", len(caveats), "caveats of this product")]
    for number, caveat in enumerate(caveats, start=1):
        cards.append((f"CAVEAT{number}", str(plain(str(caveat))), ""))
    return cards


def flag_cards() -> list[tuple[str, Scalar, str]]:
    """Return the meaning of the mask's bits: MASKBIT0 = 'BAD' ..."""
    return [(f"MBIT{flag.value.bit_length() - 1}", str(flag.name), SENTENCES[flag][:45]) for flag in Flag]


def software_cards(reducer: str) -> list[tuple[str, Scalar, str]]:
    """Return who made the product."""
    cards: list[tuple[str, Scalar, str]] = [("PROCSOFT", f"nightpipe {version('nightpipe')}", "reduction software")]
    if reducer:
        cards.append(("REDUCER", str(plain(reducer)), "who reduced it"))
    return cards
