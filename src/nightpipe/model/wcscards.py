"""A `Wcs` as FITS cards and back: TAN, TAN-SIP, TPV; CD, PC and CDELT, CROTA."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import MissingCardError
from nightpipe.maths.sip import RADIAL, inverse, sip_of_tpv, tpv_of_sip
from nightpipe.model.exposure import Header
from nightpipe.model.wcs import Wcs

FloatArray = NDArray[np.float64]
OURS = re.compile(
    r"^(WCSAXES|CTYPE[12]|CUNIT[12]|CRVAL[12]|CRPIX[12]|CD[12]_[12]|PC[12]_[12]|CDELT[12]|CROTA[12]|PV[12]_\d+"
    r"|(A|B|AP|BP)_(ORDER|\d+_\d+|DMAX)|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|EPOCH)$"
)
"""Cards that say where pixels lie: all of them go before new ones are written, so that no old one contradicts."""


def without_wcs(header: Header) -> Header:
    """Return a header without any card of a world coordinate system."""
    return {key: value for key, value in header.items() if not OURS.match(key)}


def sip_cards(wcs: Wcs, shape: tuple[int, int]) -> Header:
    """Return the cards of a TAN-SIP header (plain TAN without distortion) of an image of `shape` (ny, nx).

    SIP's inverse AP, BP, which some readers need, is fitted over the image (Shupe et al. 2005, ASP 347, 491).
    """
    cards = _linear(wcs, "TAN-SIP" if wcs.a.size else "TAN")
    if not wcs.a.size:
        return cards
    low = (-0.5 - wcs.crpix[0], -0.5 - wcs.crpix[1])
    high = (shape[1] - 0.5 - wcs.crpix[0], shape[0] - 0.5 - wcs.crpix[1])
    ap, bp, _ = inverse(wcs.a, wcs.b, low, high)
    for name, part in (("A", wcs.a), ("B", wcs.b), ("AP", ap), ("BP", bp)):
        order = part.shape[0] - 1
        cards[f"{name}_ORDER"] = order
        some = ((p, q) for p in range(order + 1) for q in range(order + 1 - p))
        cards |= {f"{name}_{p}_{q}": float(part[p, q]) for p, q in some if part[p, q]}
    return cards


def tpv_cards(wcs: Wcs) -> Header:
    """Return the cards of a TPV header, which SCAMP and SWarp read: the same distortion, exactly."""
    if not wcs.a.size:
        return _linear(wcs, "TAN")
    cards = _linear(wcs, "TPV")
    for axis, values in enumerate(tpv_of_sip(wcs.a, wcs.b, np.array(wcs.cd)), 1):
        cards |= {f"PV{axis}_{number}": value for number, value in values.items() if value or number == 1}
    return cards


def _linear(wcs: Wcs, projection: str) -> Header:
    cards: Header = {
        "WCSAXES": 2,
        "CTYPE1": {"TAN": "RA---TAN", "TAN-SIP": "RA---TAN-SIP", "TPV": "RA---TPV"}[projection],
        "CTYPE2": {"TAN": "DEC--TAN", "TAN-SIP": "DEC--TAN-SIP", "TPV": "DEC--TPV"}[projection],
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "RADESYS": "ICRS",
    }
    for axis in (1, 2):
        cards[f"CRVAL{axis}"] = wcs.crval[axis - 1]
        cards[f"CRPIX{axis}"] = wcs.crpix[axis - 1] + 1.0
        for column in (1, 2):
            cards[f"CD{axis}_{column}"] = wcs.cd[axis - 1][column - 1]
    return cards


def wcs_of(header: Header) -> Wcs:
    """Return the `Wcs` that a header tells; header keys are upper case.

    Raises
    ------
    MissingCardError
        There is none, or it is of a kind that is not understood: another projection, other axes, radial terms.
    """
    kinds = [str(header.get(f"CTYPE{axis}", "")).strip().upper() for axis in (1, 2)]
    if kinds[0].startswith("DEC-") and kinds[1].startswith("RA--"):
        return wcs_of(_swapped(header))
    projection = kinds[0][5:].strip("-")
    if not (kinds[0].startswith("RA--") and kinds[1].startswith("DEC-")) or projection not in ("TAN", "TAN-SIP", "TPV"):
        found = f"CTYPE1 = {kinds[0]!r}, CTYPE2 = {kinds[1]!r}"
        raise MissingCardError("a TAN, TAN-SIP or TPV solution in the header", found, "solve the image anew")
    crval = (_number(header, "CRVAL1") % 360.0, _number(header, "CRVAL2"))
    crpix = (_number(header, "CRPIX1") - 1.0, _number(header, "CRPIX2") - 1.0)
    cd = _matrix(header)
    a, b = _distortion(header, cd)
    (c11, c12), (c21, c22) = cd.tolist()
    return Wcs(crval, crpix, ((c11, c12), (c21, c22)), a, b)


def _number(header: Header, key: str) -> float:
    try:
        value = float(header[key])
    except (KeyError, ValueError) as error:
        raise MissingCardError(f"a number in {key}", repr(header.get(key)), "solve the image anew") from error
    if not np.isfinite(value):
        raise MissingCardError(f"a number in {key}", f"{value}", "solve the image anew")
    return value


def _matrix(header: Header) -> FloatArray:
    """Return the matrix [deg/pixel] of CD cards, else of PC and CDELT, else of CDELT and CROTA2."""
    if any(f"CD{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
        cd = np.array([[float(header.get(f"CD{i}_{j}", 0.0)) for j in (1, 2)] for i in (1, 2)])
    else:
        steps = np.array([_number(header, "CDELT1"), _number(header, "CDELT2")])
        if any(f"PC{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
            pc = [[float(header.get(f"PC{i}_{j}", float(i == j))) for j in (1, 2)] for i in (1, 2)]
            cd = steps[:, None] * np.array(pc)
        else:
            turn = np.radians(float(header.get("CROTA2", header.get("CROTA1", 0.0))))
            cd = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * steps[None, :]
    if not np.isfinite(cd).all() or np.linalg.det(cd) == 0:
        raise MissingCardError("a matrix that can be inverted (CD, PC, CDELT)", f"{cd.tolist()}", "solve it anew")
    return cd


def _distortion(header: Header, cd: FloatArray) -> tuple[FloatArray, FloatArray]:
    none = np.zeros((0, 0))
    if "SIP" in str(header["CTYPE1"]).upper():
        return _sip(header, "A"), _sip(header, "B")
    first, second = (_coefficients(header, axis) for axis in (1, 2))
    if not any(number > 2 or number == 0 for number in (*first, *second)) and (
        first.get(1, 1.0) == second.get(1, 1.0) == 1.0 and not first.get(2) and not second.get(2)
    ):
        return none, none
    if any(first.get(number) or second.get(number) for number in RADIAL):
        raise MissingCardError("a distortion that is a polynomial", "radial PV terms", "solve the image anew")
    return sip_of_tpv(first, second, cd)


def _coefficients(header: Header, axis: int) -> dict[int, float]:
    cards = ((re.fullmatch(rf"PV{axis}_(\d+)", key), value) for key, value in header.items())
    return {int(found.group(1)): float(value) for found, value in cards if found}


def _sip(header: Header, name: str) -> FloatArray:
    order = max(int(header.get(f"{part}_ORDER", 0)) for part in ("A", "B"))
    part = np.zeros((order + 1, order + 1))
    for key, value in header.items():
        found = re.fullmatch(rf"{name}_(\d+)_(\d+)", key)
        if found and int(found.group(1)) <= order and int(found.group(2)) <= order:
            part[int(found.group(1)), int(found.group(2))] = float(value)
    return part


def _swapped(header: Header) -> Header:
    """Return a header whose axes come as declination and right ascension with these two exchanged."""
    other = {"1": "2", "2": "1"}
    swapped = dict(header)
    for key, value in header.items():
        if re.fullmatch(r"(CTYPE|CRVAL|CUNIT|CDELT)[12]", key):
            swapped[key[:-1] + other[key[-1]]] = value
        elif re.fullmatch(r"(CD|PC)[12]_[12]", key):
            swapped[key[:2] + other[key[2]] + key[3:]] = value
    return swapped
