"""Raw frames: headers without pixels, pixels as float32, and clear words about files that are neither."""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from nightpipe.base.errors import UnreadableFileError
from nightpipe.io.headers import NotPlainError, plain_headers, plain_image
from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser
from nightpipe.model.exposure import Exposure, Header, Scalar
from nightpipe.model.frame import RawFrame

ENDINGS = tuple(f"{end}{pack}" for end in (".fits", ".fit", ".fts") for pack in ("", ".gz", ".fz", ".bz2"))
"""Names under which raw frames are looked for."""

_STRUCTURE = {"SIMPLE", "XTENSION", "EXTEND", "PCOUNT", "GCOUNT", "INHERIT", "BSCALE", "BZERO", "CHECKSUM", "DATASUM"}
_PROSE = {"COMMENT", "HISTORY", "", "CONTINUE"}


def is_fits_name(path: Path) -> bool:
    """Tell whether a file is called as FITS files are."""
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def checksum(path: str | Path) -> str:
    """Return the sha256 of a file as it lies, in hexadecimal."""
    with _readable(path), Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_headers(path: str | Path) -> tuple[Header, ...]:
    """Return the header of each HDU as plain scalars, without touching pixels.

    Of duplicate cards the first counts. Raises `UnreadableFileError` for what is empty, truncated or not FITS.
    """
    with _readable(path):
        try:
            return plain_headers(Path(path))
        except NotPlainError:
            pass
    with _opened(path) as hdus:
        return tuple(_plain(hdu.header) for hdu in hdus)


def read_raw(path: str | Path, exposure: Exposure, detector: Detector, disperser: Disperser | None) -> RawFrame:
    """Return the array [adu] as float32 (ny, nx), with the merged header of primary and image extension.

    Raises `UnreadableFileError` when the pixels cannot be read.
    """
    headers, stored = _read(path)
    image = next((header for header in headers if header.get("NAXIS") == 2), {})
    merged = {name: value for name, value in {**image, **headers[0]}.items() if name not in _STRUCTURE}
    return RawFrame(stored, exposure, detector, disperser, merged)


def read_image(path: str | Path) -> NDArray[np.float32]:
    """Return the first image of a file [adu] as float32 (ny, nx), whatever its header says."""
    return _read(path)[1]


def _read(path: str | Path) -> tuple[tuple[Header, ...], NDArray[np.float32]]:
    """Return headers and first image [adu]: at one stroke where the file is plain, else by astropy."""
    try:
        with _readable(path):
            headers, header, stored = plain_image(Path(path))
            return headers, _float32(stored, header)
    except LookupError:
        raise _imageless(path) from None
    except NotPlainError:
        pass
    with _opened(path) as hdus:
        return tuple(_plain(hdu.header) for hdu in hdus), _image(hdus, path)


def _image(hdus: Any, path: str | Path) -> NDArray[np.float32]:
    for hdu in hdus:
        if hdu.header.get("NAXIS", 0) == 2:
            return _float32(hdu.data, hdu.header)
    raise _imageless(path)


def _imageless(path: str | Path) -> UnreadableFileError:
    return UnreadableFileError(f"an image in {path}", "no HDU with two axes", "leave the file out")


def _float32(stored: NDArray[Any], header: Any) -> NDArray[np.float32]:
    """Return the physical values as float32.

    Unsigned integers are undone in integers: 2^31 added in float32 would cost the last eight bits.
    """
    scale, zero, blank = header.get("BSCALE", 1), header.get("BZERO", 0), header.get("BLANK")
    if scale == 1 and zero == 2**31 and stored.dtype.itemsize == 4:
        unsigned = stored.astype(np.int32).view(np.uint32) ^ np.uint32(2**31)
        values = unsigned.view(np.int32).astype(np.float32)  # a counter that ran below zero wraps: ALFOSC's first pixel
    elif stored.dtype.itemsize <= 2 or (scale == 1 and zero == 0):
        values = stored.astype(np.float32) * np.float32(scale) + np.float32(zero)
    else:
        values = (stored.astype(np.float64) * scale + zero).astype(np.float32)
    if blank is not None and stored.dtype.kind in "iu":
        values[stored == blank] = np.nan
    return np.ascontiguousarray(values)


def _plain(header: Any) -> Header:
    """Return a header as plain scalars; a card that breaks the standard is kept as its raw text."""
    plain: Header = {}
    for card in header.cards:
        name = card.keyword
        if name not in _PROSE and name not in plain and (value := _value(card)) is not None:
            plain[name] = value
    return plain


def _value(card: Any) -> Scalar | None:
    try:
        value = card.value
    except VerifyError:
        return str(card.image[10:]).split("/")[0].strip(" '")
    if isinstance(value, (bool, int, float)):
        return value
    return value.strip() if isinstance(value, str) else None


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Turn all that can go wrong with a file into `UnreadableFileError`."""
    remedy = "fetch the file again, or leave it out"
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableFileError(f"a FITS file: {path}", "no such file", "check the name") from error
    except (OSError, EOFError, zlib.error, VerifyError, ValueError, TypeError, IndexError, KeyError) as error:
        empty = Path(path).is_file() and Path(path).stat().st_size == 0
        found = "an empty file" if empty else f"a truncated or damaged file, or not FITS ({error})"
        raise UnreadableFileError(f"a FITS file: {path}", found, remedy) from error


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    with _readable(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # what they say of truncation is checked here, as an error
        with fits.open(path, uint=False, do_not_scale_image_data=True, memmap=False) as hdus:
            yield hdus
