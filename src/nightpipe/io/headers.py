"""Headers alone, and fast: a night is planned from hundreds of them before a pixel is read.

Astropy parses a header in ten milliseconds, and unpacks all pixels of a compressed file on the way to the next header.
Plain cards need neither; what is not plain (long strings, HIERARCH, tile compression) is left to astropy.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nightpipe.io import blocks
from nightpipe.model.exposure import Header, Scalar

BLOCK = 2880
_CARD = 80
_GZIP = b"\x1f\x8b"
_END = b"END".ljust(_CARD)
_NUMBER = r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?)"
_VALUE = re.compile(rf"\s*(?:'(?P<text>(?:[^']|'')*)'|(?P<truth>[TF])|{_NUMBER})\s*(?:/.*)?$")
_PROSE = {"COMMENT", "HISTORY", "CONTINUE", "HIERARCH", "END", ""}


class NotPlainError(Exception):
    """A header with more than plain cards, to be read by astropy."""


def plain_headers(path: Path) -> tuple[Header, ...]:
    """Return the header of each HDU, and make sure that the file is as long as they promise.

    Raises `NotPlainError` where astropy must read them, EOFError, OSError or ValueError where the file is broken.
    """
    told = told_length(path)
    if not told:
        raise EOFError("not a byte")
    with _unpacked(path) as stream:
        return tuple(header for header, _ in _units(stream, told))


def plain_image(path: Path) -> tuple[tuple[Header, ...], Header, NDArray[Any]]:
    """Return the header of each HDU, that of the first image, and its stored values (ny, nx), big-endian.

    The file is read and unpacked once, at one stroke. Raises as `plain_headers` does, and LookupError without an image.
    """
    packed = path.read_bytes()
    content = gzip.decompress(packed) if packed.startswith(_GZIP) else packed
    if not content:
        raise EOFError("not a byte")
    units = _units(BytesIO(content), len(content))
    header, start = next(((header, start) for header, start in units if header.get("NAXIS") == 2), ({}, 0))
    if not header:
        raise LookupError("no HDU with two axes")
    if header.get("XTENSION", "IMAGE") != "IMAGE":
        raise NotPlainError(str(header["XTENSION"]))
    nx, ny = int(header["NAXIS1"]), int(header["NAXIS2"])
    stored = np.frombuffer(content, blocks.DTYPE[int(header["BITPIX"])], nx * ny, start).reshape(ny, nx)
    return tuple(header for header, _ in units), header, stored


def _units(stream: BinaryIO, told: int) -> list[tuple[Header, int]]:
    """Return the header of each HDU and the byte at which its data begin; `told` is the length of the file."""
    units: list[tuple[Header, int]] = []
    end = 0
    while end != told and (content := _header_block(stream, first=not units)):
        header, start = parsed(content), end + len(content)
        units.append((header, start))
        end = start + data_length(header)
        if end != told:
            _skip_to(stream, end)
    return units


def parsed(content: bytes) -> Header:
    """Return the cards of one header as scalars; of duplicates the first counts, and prose is left out.

    A value that breaks the standard is kept as its text. Raises `NotPlainError` for long strings, HIERARCH and tiles.
    """
    header: Header = {}
    for name, text in _cards(content):
        if name in ("CONTINUE", "HIERARCH", "ZIMAGE"):
            raise NotPlainError(name)
        if name not in _PROSE and name not in header and (value := scalar(text)) is not None:
            header[name] = value
    return header


def scalar(text: str) -> Scalar | None:
    """Return the value of a card from what follows ``= ``; None where there is none."""
    found = _VALUE.match(text)
    if found is None:
        return text.split("/", maxsplit=1)[0].strip(" '") or None
    if found["text"] is not None:
        return found["text"].replace("''", "'").strip()
    if found["truth"]:
        return found["truth"] == "T"
    number = found["number"].upper().replace("D", "E")
    return int(number) if number.lstrip("+-").isdigit() else float(number)


def data_length(header: Header) -> int:
    """Return the bytes of an HDU's data, padding included (FITS standard 4.0, eq. 2)."""
    axes = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header["NAXIS"]) + 1)]
    if not axes:
        return 0
    size = 1
    for axis in axes:
        size *= axis
    bits = abs(int(header["BITPIX"])) * int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + size)
    return -(-bits // 8 // BLOCK) * BLOCK


def told_length(path: Path) -> int:
    """Return the length that a file says to have once unpacked: the last four bytes of gzip.

    They are wrong for files of several members and for truncated ones, which are then read to their end.
    """
    with path.open("rb") as stream:
        if stream.read(2) != _GZIP:
            return path.stat().st_size
        stream.seek(-4, 2)
        (told,) = struct.unpack("<I", stream.read(4))
    return int(told)


def _unpacked(path: Path) -> Any:
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    return gzip.open(path) if packed else path.open("rb")


def _header_block(stream: BinaryIO, *, first: bool) -> bytes:
    """Return the bytes of one header, empty at the end of the file."""
    content = b""
    while True:
        block = stream.read(BLOCK)
        if not block and not content and not first:
            return b""
        if len(block) < BLOCK:
            raise EOFError(f"{len(content) + len(block)} bytes of a header without end")
        content += block
        if not content.startswith(b"SIMPLE  =" if first else b"XTENSION="):
            if first:
                raise ValueError("the first card is not SIMPLE")
            return b""  # bytes beyond the last HDU, which the standard tells to ignore
        if any(block[at : at + _CARD] == _END for at in range(0, BLOCK, _CARD)):
            return content


def _cards(content: bytes) -> Iterator[tuple[str, str]]:
    text = content.decode("latin-1")
    for at in range(0, len(text), _CARD):
        name = text[at : at + 8].rstrip()
        if name == "END":
            return
        if text[at + 8 : at + 10] == "= " or name in ("CONTINUE", "HIERARCH"):
            yield name, text[at + 10 : at + _CARD]


def _skip_to(stream: BinaryIO, end: int) -> None:
    """Move on to the next header; EOFError when the file ends before."""
    stream.seek(end - 1)
    if not stream.read(1):
        raise EOFError(f"fewer than the {end} bytes that its headers promise")
