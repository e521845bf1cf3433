"""The package's small reference tables: text, with facts in a header of ``# key: value`` lines."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import ReferenceMissingError

FloatArray = NDArray[np.float64]


def folder(name: str) -> Path:
    """Return a folder of packaged reference data; raises ReferenceMissingError where the installation lacks it."""
    path = Path(str(files("nightpipe"))) / "data" / name
    if not path.is_dir():
        raise ReferenceMissingError(f"packaged data {name!r}", str(path), "install the package again")
    return path


@lru_cache(maxsize=1024)
def _facts(path: Path) -> tuple[tuple[str, str], ...]:
    found = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                break
            key, colon, value = line[1:].partition(":")
            if colon:
                found.append((key.strip().lower(), value.strip()))
    return tuple(found)


def facts(path: Path) -> dict[str, str]:
    """Return the header of a table; keys are lower case."""
    return dict(_facts(path))


def columns(path: Path) -> FloatArray:
    """Return the numbers of a table, shape (columns, rows)."""
    return np.loadtxt(path, comments="#", ndmin=2, dtype=np.float64).T


def rows(path: Path) -> tuple[tuple[str, ...], ...]:
    """Return the words of a table, line by line, comments left out."""
    text = path.read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split()) for line in text if line.strip() and not line.startswith("#"))


def named_columns(path: Path) -> dict[str, FloatArray]:
    """Return the numbers of a user's table (ECSV, CSV, FITS or words in columns with a line of names), by column name.

    Raises `ReferenceMissingError` where there is no such file.
    """
    from astropy.table import Table

    if not path.is_file():
        raise ReferenceMissingError("a table with named columns", str(path), "give the path of one")
    table = Table.read(path, format="fits" if path.suffix in (".fits", ".fit") else "ascii")
    numbers = [name for name in table.colnames if table[name].dtype.kind in "fiu"]
    return {name: np.asarray(table[name], dtype=np.float64) for name in numbers}
