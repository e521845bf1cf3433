"""Images of the sky with their plate solution, star lists and coverage maps, as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import MissingCardError, UnreadableFileError
from nightpipe.model.flags import Flag
from nightpipe.model.moc import Moc
from nightpipe.model.stack import Stack
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Wcs

FloatArray = NDArray[np.float64]
_RA = ("ra", "raj2000", "ra_icrs", "ra_j2000", "alpha_j2000", "ramean", "_ra")
_DEC = ("dec", "dej2000", "de_icrs", "decj2000", "delta_j2000", "decmean", "_de")
_VAR, _ERR, _MASK = ("VAR", "VARIANCE"), ("ERR", "ERROR", "SIGMA"), ("MASK", "DQ", "FLAGS")


def read_sky_image(path: Path) -> Stack:
    """Return the first image of a FITS file that has a plate solution, with variance and mask where the file has them.

    Extensions VAR or ERR and MASK or DQ are taken for the image's own. Without a variance the noise is taken from the
    image. Raises UnreadableFileError: no image; MissingCardError: no plate solution.
    """
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            images = {hdu.name.upper(): hdu for hdu in hdus if hdu.is_image and hdu.data is not None}
            first = next((hdu for hdu in images.values() if hdu.data.ndim == 2), None)
            if first is None:
                raise UnreadableFileError(f"an image in {path}", "no two-dimensional array", "name another file")
            header = hdus[0].header.copy()
            header.update(first.header)
            planes = [_plane(images, names) for names in (_VAR, _ERR, _MASK)]
            data = np.asarray(first.data, np.float32)
    except OSError as error:
        raise UnreadableFileError(f"a FITS image in {path}", str(error), "name another file") from error
    return _stack(data, planes, header, path)


def _plane(images: dict[str, Any], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((np.asarray(images[name].data) for name in names if name in images), None)


def _stack(data: NDArray[np.float32], planes: list[NDArray[Any] | None], header: Any, path: Path) -> Stack:
    var, error, flags = planes
    bad = ~np.isfinite(data) | (False if flags is None else np.asarray(flags) != 0)
    data = np.where(np.isfinite(data), data, 0).astype(np.float32)
    if var is None:
        noise = _noise(data, bad) if error is None else None
        var = np.full(data.shape, noise**2) if noise is not None else np.square(np.asarray(error, float))
    exptime = float(header.get("EXPTIME", 1.0) or 1.0)
    mask = np.where(bad, np.uint32(Flag.BAD), np.uint32(0))
    var = np.where(np.isfinite(var), var, 0).astype(np.float32)
    zp = next((float(header[key]) for key in ("NPZP", "MAGZP", "MAGZPT", "ABSZPT", "ZP") if key in header), np.nan)
    return Stack(
        data, var, mask, np.ones(data.shape, np.float32), np.ones(data.shape, np.uint8), wcs_of(header, path), exptime,
        zp, np.ones((1, 1)), 1.0, (path.name,), header={"MJD": float(header.get("MJD-OBS", np.nan))},
    )  # fmt: skip


def _noise(data: NDArray[np.float32], bad: NDArray[np.bool_]) -> float:
    """Return the noise of a pixel from differences of neighbours."""
    step = (data[:, 1:] - data[:, :-1])[~(bad[:, 1:] | bad[:, :-1])]
    step = step[:: max(1, step.size // 500_000)]
    return float(1.4826 * np.median(np.abs(step - np.median(step))) / np.sqrt(2)) if step.size else 1.0


def wcs_of(header: Any, path: Path) -> Wcs:
    """Return the plate solution of a FITS header, TAN or TAN-SIP. Raises MissingCardError: none, or another kind."""
    from astropy.wcs import WCS

    if not str(header.get("CTYPE1", "")).startswith("RA---TAN"):
        found = str(header.get("CTYPE1", "no CTYPE1"))
        raise MissingCardError(f"a TAN or TAN-SIP plate solution in {path}", found, "solve the image first")
    known = WCS(header, naxis=2, fix=False)
    cd = known.pixel_scale_matrix
    sip = known.sip
    none = np.zeros((0, 0))
    crpix, crval = known.wcs.crpix, known.wcs.crval
    return Wcs(
        (float(crval[0]), float(crval[1])), (float(crpix[0]) - 1, float(crpix[1]) - 1),
        ((float(cd[0, 0]), float(cd[0, 1])), (float(cd[1, 0]), float(cd[1, 1]))),
        np.asarray(sip.a, float) if sip is not None and sip.a is not None else none,
        np.asarray(sip.b, float) if sip is not None and sip.b is not None else none,
    )  # fmt: skip


def read_star_list(path: Path) -> StarCatalogue:
    """Return a table of stars, FITS, ECSV, VOTable, CSV or plain text, with columns ra, dec [deg] and magnitudes.

    Columns named like ``g``, ``gmag``, ``mag_g``, ``phot_g_mean_mag`` hold magnitudes. Raises UnreadableFileError: no
    table, or none with places.
    """
    table = _table(path)
    names = {str(name).lower(): str(name) for name in table.colnames}
    places = [next((names[one] for one in known if one in names), "") for known in (_RA, _DEC)]
    if not all(places):
        raise UnreadableFileError(f"columns ra and dec in {path}", ", ".join(table.colnames), "rename the columns")
    ra, dec = (_numbers(table[name]) for name in places)
    mags = {band: _numbers(table[names[name]]) for name in names if (band := _band(name))}
    good = np.isfinite(ra) & np.isfinite(dec)
    zero = np.zeros(int(good.sum()))
    return StarCatalogue(
        path.name, ra[good], dec[good], 2000.0, (float(np.median(ra[good])), float(np.median(dec[good]))), 0.0, zero,
        zero, zero, {band: values[good] for band, values in mags.items()}, source=str(path),
    )  # fmt: skip


def _table(path: Path) -> Any:
    from astropy.io.registry import IORegistryError
    from astropy.table import Table

    try:
        return Table.read(path)
    except (OSError, ValueError, IORegistryError) as first:
        try:
            return Table.read(path, format="ascii")
        except (OSError, ValueError) as error:
            raise UnreadableFileError(f"a table in {path}", f"{first}; {error}", "give FITS, ECSV or CSV") from error


def _numbers(column: Any) -> FloatArray:
    return np.asarray(np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan), np.float64)


def _band(name: str) -> str:
    """Return the band of a column of magnitudes, or nothing."""
    if name in ("phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag"):
        return {"g": "G", "bp": "BP", "rp": "RP"}[name.split("_")[1]]
    for form in ("{}", "{}mag", "mag_{}", "{}_mag", "{}meanpsfmag"):
        for band in "ugrizyjhk":
            if name == form.format(band):
                return band.upper() if band in "jhk" else band
    return ""


def read_moc(path: Path) -> Moc:
    """Return a coverage map from a FITS table of UNIQ cells. Raises UnreadableFileError where there is none."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus:
                if isinstance(hdu, fits.BinTableHDU) and hdu.columns.names[0].upper() in (
                    "UNIQ",
                    "NUNIQ",
                    "PIXEL",
                    "NPIX",
                ):
                    return Moc(path.name, np.asarray(hdu.data.field(0), np.int64).ravel())
    except OSError as error:
        raise UnreadableFileError(f"a MOC in {path}", str(error), "give a FITS file of UNIQ cells") from error
    raise UnreadableFileError(f"a table of UNIQ cells in {path}", "none", "give a multi-order coverage map in FITS")
