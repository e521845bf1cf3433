"""Images of the sky with their plate solution, star lists and coverage maps, as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import MissingCardError, UnreadableFileError
from nightpipe.io.catalogues.columns import guessed, standard
from nightpipe.io.catalogues.store import Info, as_catalogue, epoch_of, read_table
from nightpipe.model.flags import Flag
from nightpipe.model.moc import Moc
from nightpipe.model.stack import Stack
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Wcs
from nightpipe.model.wcscards import wcs_of

FloatArray = NDArray[np.float64]
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


def band_of(path: Path) -> str:
    """Return the band that an image's header tells, as the zero point's or the filter's name; empty where none does."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        for header in (hdu.header for hdu in hdus):
            for card in ("BAND", "NPBAND"):
                if card in header:
                    return str(header[card]).strip()
    return ""


def _plane(images: dict[str, Any], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((np.asarray(images[name].data) for name in names if name in images), None)


def _stack(data: NDArray[np.float32], planes: list[NDArray[Any] | None], header: Any, path: Path) -> Stack:
    var, error, flags = planes
    bad = ~np.isfinite(data) | (False if flags is None else np.asarray(flags) != 0)
    data = np.where(np.isfinite(data), data, 0).astype(np.float32)
    if var is None:
        noise = _noise(data, bad) if error is None else None
        var = np.full(data.shape, noise**2) if noise is not None else np.square(np.asarray(error, float))
    exptime = float(header.get("EXPTIME", 0.0) or 0.0)
    mask = np.where(bad, np.uint32(Flag.BAD), np.uint32(0))
    var = np.where(np.isfinite(var), var, 0).astype(np.float32)
    zp = next((float(header[key]) for key in ("NPZP", "MAGZP", "MAGZPT", "ABSZPT", "ZP") if key in header), np.nan)
    return Stack(
        data, var, mask, np.ones(data.shape, np.float32), np.ones(data.shape, np.uint8), _solution(header, path),
        exptime or 1.0, zp, np.ones((1, 1)), _covariance(header), (path.name,), header={"MJD": _date(header)},
        caveats=_guesses(path, noise=planes[0] is None and planes[1] is None, exptime=exptime),
    )  # fmt: skip


def _covariance(header: Any) -> float:
    """Return what sums over pixels of one of our stacks have more of variance; 1 for other images."""
    return max(float(header.get("COVAR", 1.0)), 1.0)


def _date(header: Any) -> float:
    """Return when an image was taken [MJD], its middle where a card tells that; nan where none does."""
    found = next((header[key] for key in ("MJD-MID", "MJD-AVG", "MJD-OBS", "MJD_OBS", "MJD") if key in header), np.nan)
    return float(found)


def _solution(header: Any, path: Path) -> Wcs:
    """Return the plate solution of a FITS header. Raises MissingCardError, with the file's name: none, or not known."""
    try:
        return wcs_of(dict(header))
    except MissingCardError as error:
        raise MissingCardError(f"{error.wanted} of {path}", error.found, error.remedy) from error


def _guesses(path: Path, *, noise: bool, exptime: float) -> tuple[Caveat, ...]:
    """Return what had to be guessed of an image that does not say it."""
    told = []
    if noise:
        text = f"{path.name} has no variance: its noise was taken from the scatter of neighbouring pixels"
        told.append(Caveat("image.noise", text))
    if exptime <= 0:
        text = f"{path.name} tells no EXPTIME: one second was taken"
        told.append(Caveat("image.exptime", text))
    return tuple(told)


def _noise(data: NDArray[np.float32], bad: NDArray[np.bool_]) -> float:
    """Return the noise of a pixel from differences of neighbours."""
    step = (data[:, 1:] - data[:, :-1])[~(bad[:, 1:] | bad[:, :-1])]
    step = step[:: max(1, step.size // 500_000)]
    return float(1.4826 * np.median(np.abs(step - np.median(step))) / np.sqrt(2)) if step.size else 1.0


def read_star_list(path: Path) -> StarCatalogue:
    """Return a table of stars as the store of catalogues would read it: places, motions, magnitudes, depth.

    Raises UnreadableFileError where it is no table, ConfigError where no column looks like a place on the sky.
    """
    table = read_table(path)
    mapping = guessed(list(table.colnames))
    stars = standard(table, mapping, path.name)
    centre = (float(np.median(stars["ra"])), float(np.median(stars["dec"])))
    epoch = epoch_of(table, mapping)
    info = Info(path.name, source=str(path)) if epoch is None else Info(path.name, epoch, source=str(path))
    return as_catalogue(stars, info, centre, 0.0)


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
