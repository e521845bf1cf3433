"""What all files for people have in common: the record of where they come from, a table in two forms."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from nightpipe.io.atomic import written
from nightpipe.io.codec import RECORD


def record_hdus(record: str) -> list[Any]:
    """Return the extension that holds a product's record, for `codec.load_record`; none for an empty text."""
    from astropy.io import fits

    return [fits.ImageHDU(np.frombuffer(record.encode(), dtype=np.uint8).copy(), name=RECORD)] if record else []


def write_fits(path: Path, hdus: Sequence[Any], *, durable: bool) -> None:
    """Write HDUs with checksums under a temporary name and rename it; raises StoreError."""
    from astropy.io import fits

    with written(path, durable=durable) as stream:
        fits.HDUList(hdus).writeto(stream, checksum=True, output_verify="silentfix")


def write_with_ecsv(path: Path, hdus: Sequence[Any], table: Any, *, durable: bool) -> None:
    """Write HDUs as FITS, and beside them the astropy `table` as ECSV; raises StoreError."""
    write_fits(path, hdus, durable=durable)
    text = StringIO()
    table.write(text, format="ascii.ecsv")
    with written(path.with_suffix(".ecsv"), durable=durable) as stream:
        stream.write(text.getvalue().encode())
