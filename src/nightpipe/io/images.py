"""Stacks and source catalogues as other programs read them: FITS with a celestial system, tables as FITS and ECSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nightpipe.io import cards
from nightpipe.io.recorded import record_hdus, write_fits, write_with_ecsv
from nightpipe.model.exposure import Scalar
from nightpipe.model.segments import Segments
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Wcs

UNITS = {
    "flux": "electron/s", "flux_error": "electron/s", "x": "pix", "y": "pix", "ra": "deg", "dec": "deg",
    "mag": "mag", "mag_error": "mag",
}  # fmt: skip


def write_stack(path: str | Path, stack: Stack, *, record: str = "", reducer: str = "", durable: bool = True) -> None:
    """Write a stack: extensions SCI [electron/s], VAR, WEIGHT, COUNT, MASK, each with the celestial system.

    The primary header tells exposure time, number of frames, their names, zero point, covariance and caveats. Raises
    StoreError.
    """
    from astropy.io import fits

    head = fits.PrimaryHDU()
    cards.fill(head.header, list(cards.exposure_cards(stack.exposure).items()))
    for name, value, comment in (
        *_stack_cards(stack),
        *cards.software_cards(reducer),
        *cards.caveat_cards(stack.caveats),
    ):
        room = 80 - 10 - max(len(str(value)) + 2, 20) - 3
        head.header[name] = (value, comment) if len(comment) <= room else value
    images = {"SCI": stack.data, "VAR": stack.var, "WEIGHT": stack.weight, "COUNT": stack.count, "MASK": stack.mask}
    hdus: list[Any] = [head]
    for name, image in images.items():
        hdu = fits.ImageHDU(image, name=name)
        hdu.header.update(wcs_cards(stack.wcs))
        hdus.append(hdu)
    hdus[1].header["BUNIT"], hdus[2].header["BUNIT"] = "electron/s", "electron2/s2"
    write_fits(Path(path), [*hdus, *record_hdus(record)], durable=durable)


def write_segments(path: str | Path, segments: Segments, *, record: str = "", durable: bool = True) -> None:
    """Write which pixels belong to which row of a catalogue: one image of integers with the celestial system.

    Raises StoreError.
    """
    from astropy.io import fits

    image = fits.ImageHDU(segments.labels, name="SEGMENTS")
    image.header.update(wcs_cards(segments.wcs))
    head = fits.PrimaryHDU()
    head.header["COMMENT"] = "Pixels hold the row of the catalogue (from 1) that they belong to; 0: none."
    write_fits(Path(path), [head, image, *record_hdus(record)], durable=durable)


def _stack_cards(stack: Stack) -> list[tuple[str, Scalar, str]]:
    found: list[tuple[str, Scalar, str]] = [
        ("EXPTIME", stack.exptime, "[s] all frames together"),
        ("NCOMBINE", len(stack.frames), "frames in the stack"),
        ("NLEFTOUT", len(stack.left_out), "frames left out"),
        ("COVAR", stack.covariance, "variance of sums over sum of VAR"),
    ]
    if stack.exposure is not None and stack.exposure.band:
        found.append(("BAND", stack.exposure.band, "band of catalogues"))
    if np.isfinite(stack.zp):
        found.append(("MAGZP", stack.zp, "zero point of electron/s"))
    found += [(f"FRAME{k}", name, "") for k, name in enumerate(stack.frames, start=1)]
    return found + [(f"LEFT{k}", f"{name}: {why}"[:66], "") for k, (name, why) in enumerate(stack.left_out, start=1)]


def wcs_cards(wcs: Wcs) -> dict[str, Scalar]:
    """Return the cards of a tangent plane, with SIP where there is distortion."""
    kind = "-SIP" if wcs.a.size else ""
    (c11, c12), (c21, c22) = wcs.cd
    found: dict[str, Scalar] = {
        "CTYPE1": f"RA---TAN{kind}", "CTYPE2": f"DEC--TAN{kind}", "CUNIT1": "deg", "CUNIT2": "deg", "RADESYS": "ICRS",
        "CRVAL1": wcs.crval[0], "CRVAL2": wcs.crval[1], "CRPIX1": wcs.crpix[0] + 1, "CRPIX2": wcs.crpix[1] + 1,
        "CD1_1": c11, "CD1_2": c12, "CD2_1": c21, "CD2_2": c22,
    }  # fmt: skip
    for letter, terms in (("A", wcs.a), ("B", wcs.b)):
        if terms.size:
            found[f"{letter}_ORDER"] = terms.shape[0] - 1
            found |= {f"{letter}_{p}_{q}": float(terms[p, q]) for p, q in np.argwhere(terms != 0)}
    return found


def write_sources(path: str | Path, sources: Sources, *, record: str = "", durable: bool = True) -> None:
    """Write a source catalogue as FITS (extension SOURCES), and beside it as ECSV; positions count from 1 as in FITS.

    Raises StoreError.
    """
    from astropy.io import fits

    table = sources_table(sources)
    hdus: list[Any] = [fits.PrimaryHDU(), _binary(fits, table), *record_hdus(record)]
    write_with_ecsv(Path(path), hdus, table, durable=durable)


def _binary(fits: Any, table: Any) -> Any:
    """Return the table as an extension; astropy does not write electron/s by itself, though FITS has it."""
    codes = {"i": "K", "u": "K", "f": "D"}
    columns = [
        fits.Column(name, codes[table[name].dtype.kind], array=table[name].data, unit=_unit(name) or None)
        for name in table.colnames
    ]
    return fits.BinTableHDU.from_columns(columns, name="SOURCES")


def _unit(name: str) -> str:
    return UNITS.get(name, "pix" if name in ("x_error", "y_error", "fwhm") else "")


def sources_table(sources: Sources) -> Any:
    """Return the sources as an astropy table with units; x and y count from 1."""
    from astropy.table import Table

    table = Table()
    for name in ("x", "y"):
        table[name] = getattr(sources, name) + 1.0
    own = {name: getattr(sources, name) for name in ("x_error", "y_error", "flux", "flux_error", "mask", "quality")}
    for name, values in (own | sources.columns).items():
        table[name] = values.astype(np.int64) if values.dtype.kind in "iu" else values
    for name in table.colnames:
        if _unit(name):
            table[name].unit = _unit(name)
    return table
