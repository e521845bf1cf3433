"""The local store of catalogues: Parquet by HEALPix tile, so that a cone of a whole survey reads a few small files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import ConfigError, ReferenceMissingError, StoreError, UnreadableFileError
from nightpipe.io.atomic import written
from nightpipe.io.catalogues.columns import guessed, standard
from nightpipe.io.download import cache
from nightpipe.maths.tan import separation
from nightpipe.model.stars import StarCatalogue

ORDER = 5
"""HEALPix order of the tiles: nside 32, 12,288 tiles of 3.4 square degrees."""
FINEST = 29
INFO = "catalogue.json"
KNOWN_EPOCHS = {"gaia": 2016.0, "refcat2": 2015.5, "2mass": 2000.0, "ps1": 2012.0, "sdss": 2005.0, "skymapper": 2016.0}
SYSTEMS = {"gaia": "Vega", "2mass": "Vega", "refcat2": "PS1", "ps1": "PS1", "sdss": "SDSS", "skymapper": "SkyMapper"}


@dataclass(frozen=True)
class Info:
    """What a catalogue of the store is: its `epoch` [Julian year], `rows`, `bands`, their `systems` and `depth`."""

    name: str
    epoch: float = 2016.0
    rows: int = 0
    bands: tuple[str, ...] = ()
    systems: Mapping[str, str] = field(default_factory=dict)
    depth: Mapping[str, float] = field(default_factory=dict)
    source: str = ""


def home() -> Path:
    """Return the folder of the catalogues: ``NIGHTPIPE_CATALOGUES``, else ``catalogues`` among the data sets."""
    if own := os.environ.get("NIGHTPIPE_CATALOGUES"):
        return Path(own).expanduser()
    return cache() / "catalogues"


def stored() -> tuple[Info, ...]:
    """Return the catalogues that the store holds, by name."""
    return tuple(info_of(path.parent.name) for path in sorted(home().glob(f"*/{INFO}")))


def info_of(name: str) -> Info:
    """Return what the store knows of a catalogue; raises ReferenceMissingError where it holds none of that name."""
    path = home() / name / INFO
    if not path.is_file():
        held = ", ".join(found.parent.name for found in sorted(home().glob(f"*/{INFO}"))) or "none"
        remedy = f"nightpipe catalogue import TABLE --name {name}"
        raise ReferenceMissingError(f"the catalogue {name}", f"in {home()}: {held}", remedy)
    fields = json.loads(path.read_text(encoding="utf-8"))
    return Info(**fields | {"bands": tuple(fields["bands"])})


def import_tables(
    paths: Iterable[Path], name: str, *, epoch: float | None = None, columns: Mapping[str, str] | None = None,
    systems: Mapping[str, str] | None = None,
) -> Info:  # fmt: skip
    """Add tables of stars (FITS, ECSV, CSV, Parquet, text) to the catalogue `name` and return what it holds then.

    `columns` says which column holds what where the names do not (``{"ra": "RA2", "g": "mag_auto"}``). A table that was
    imported before is replaced, not added twice. `epoch` [Julian year] is that of the positions; without, a column
    ``epoch`` or the known survey of that name says it, else 2016.

    Raises
    ------
    UnreadableFileError
        A file is no table.
    ConfigError
        A column is not there, or none looks like a place on the sky.
    StoreError
        The store cannot be written.
    """
    if not name or any(mark in name for mark in "/\\ ") or name.startswith("."):
        raise ConfigError("a name of letters, digits, dots and dashes", repr(name), "--name gaia")
    for path in paths:
        table = read_table(path)
        mapping = guessed(list(table.colnames), columns)
        stars = standard(table, mapping, path.name)
        when = epoch or epoch_of(table, mapping) or KNOWN_EPOCHS.get(name, 2016.0)
        add(name, stars, part=hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12], epoch=when,
            systems=systems, source=path.name)  # fmt: skip
    return info_of(name)


def add(
    name: str, stars: Mapping[str, NDArray[Any]], *, part: str, epoch: float, systems: Mapping[str, str] | None = None,
    source: str = "",
) -> Info:  # fmt: skip
    """Write stars, columns as of `standard`, into the tiles of a catalogue as the `part` of that name.

    Raises
    ------
    ConfigError
        The catalogue is of another epoch.
    StoreError
        The store cannot be written.
    """
    folder = home() / name
    before = info_of(name) if (folder / INFO).is_file() else None
    if before is not None and abs(before.epoch - epoch) > 0.01:
        raise ConfigError(f"positions at {before.epoch}, as {name} has", f"{epoch}", "import it under another name")
    for old in folder.glob(f"*/{part}.parquet"):
        old.unlink()
    finest = healpix(stars["ra"], stars["dec"])
    order = np.argsort(finest, kind="stable")
    tile = finest[order] >> (2 * (FINEST - ORDER))
    edges = np.flatnonzero(np.diff(tile, prepend=-1))
    for start, stop in zip(edges, [*edges[1:], tile.size], strict=True):
        rows = order[start:stop]
        _write(folder / f"{tile[start]:05d}" / f"{part}.parquet", {key: value[rows] for key, value in stars.items()})
    return _describe(folder, name, epoch, before, systems, source)


def _describe(
    folder: Path, name: str, epoch: float, before: Info | None, systems: Mapping[str, str] | None, source: str
) -> Info:
    from pyarrow import parquet

    files = sorted(folder.glob("*/*.parquet"))
    heads = [parquet.read_metadata(path) for path in files]
    keys = {column for head in heads for column in head.schema.names}
    bands = tuple(sorted(key.removeprefix("mag_") for key in keys if key.startswith("mag_") and "error" not in key))
    known = {band: SYSTEMS.get(name, "unknown") for band in bands}
    known |= {band: "Vega" for band in bands if band in ("J", "H", "K")}
    known |= {**(before.systems if before else {}), **(systems or {})}
    info = Info(name, epoch, sum(head.num_rows for head in heads), bands, known, {}, source)
    with written(folder / INFO) as stream:
        stream.write(json.dumps(asdict(info), indent=1).encode())
    return info


def _write(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"a folder for {path}", str(error), "set NIGHTPIPE_CATALOGUES to one that can be written"
        ) from error
    single = {key: value.astype(np.float32) if key.startswith("mag") else value for key, value in columns.items()}
    with written(path) as stream:
        parquet.write_table(pa.table(single), stream, compression="zstd")


def remove(name: str) -> None:
    """Delete a catalogue from the store."""
    info_of(name)
    shutil.rmtree(home() / name)


def healpix(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the nested HEALPix pixels (n,) of the finest order that hold places [deg]."""
    from astropy import units
    from astropy_healpix import lonlat_to_healpix

    found = lonlat_to_healpix(ra * units.deg, dec * units.deg, 2**FINEST, order="nested")
    return np.asarray(found, np.int64)


def tiles(ra: float, dec: float, radius: float) -> NDArray[np.int64]:
    """Return the tiles that a cone [deg] touches."""
    from astropy import units
    from astropy_healpix import HEALPix

    if radius >= 180:
        return np.arange(12 * 4**ORDER)
    grid = HEALPix(nside=2**ORDER, order="nested")
    return np.sort(grid.cone_search_lonlat(ra * units.deg, dec * units.deg, radius * units.deg))


def local_cone(name: str, ra: float, dec: float, radius: float, bands: tuple[str, ...] = ()) -> StarCatalogue:
    """Return a catalogue's stars within `radius` [deg] of a place; of the magnitudes only `bands`, all if empty.

    Raises ReferenceMissingError where the store does not hold the catalogue.
    """
    info = info_of(name)
    wanted = [band for band in info.bands if band in bands or not bands]
    files = [
        path for tile in tiles(ra, dec, radius) for path in sorted((home() / name / f"{tile:05d}").glob("*.parquet"))
    ]
    columns = gathered([_read(path, wanted) for path in files], wanted)
    near = separation(columns["ra"], columns["dec"], ra, dec) <= radius
    columns = {key: value[near] for key, value in columns.items()}
    return as_catalogue(columns, info, (ra, dec), radius)


def _read(path: Path, bands: list[str]) -> dict[str, NDArray[Any]]:
    from pyarrow import parquet

    names = set(parquet.read_schema(path).names)
    wanted = ["ra", "dec", "pm_ra", "pm_dec", "error", "extended"]
    wanted += [f"{kind}{band}" for band in bands for kind in ("mag_", "mag_error_")]
    table = parquet.read_table(path, columns=[name for name in wanted if name in names])
    return {name: table[name].to_numpy() for name in table.column_names}


def gathered(parts: list[dict[str, NDArray[Any]]], bands: list[str]) -> dict[str, NDArray[Any]]:
    """Return the columns of many parts in one; what a part lacks is nan (a magnitude) or False (extended)."""
    names = [
        "ra",
        "dec",
        "pm_ra",
        "pm_dec",
        "error",
        *(f"{kind}{band}" for band in bands for kind in ("mag_", "mag_error_")),
    ]
    whole = {
        name: np.concatenate([np.zeros(0), *(part.get(name, np.full(len(part["ra"]), np.nan)) for part in parts)])
        for name in names
    }
    if any("extended" in part for part in parts):
        flags = [part.get("extended", np.zeros(len(part["ra"]), np.bool_)) for part in parts]
        whole["extended"] = np.concatenate(flags).astype(np.bool_)
    return {name: values if name == "extended" else values.astype(np.float64) for name, values in whole.items()}


def as_catalogue(
    columns: Mapping[str, NDArray[Any]], info: Info, centre: tuple[float, float], radius: float
) -> StarCatalogue:
    """Return the store's columns as a catalogue; where nobody says how deep it goes, its own counts do."""
    mags = {key[4:]: value for key, value in columns.items() if key.startswith("mag_") and "error" not in key}
    errors = {key[10:]: value for key, value in columns.items() if key.startswith("mag_error_")}
    depth = {band: info.depth.get(band, completeness(values)) for band, values in mags.items()}
    return StarCatalogue(
        info.name, columns["ra"], columns["dec"], info.epoch, centre, radius, columns["pm_ra"], columns["pm_dec"],
        columns["error"], mags, errors, {band: info.systems.get(band, "unknown") for band in mags},
        {band: value for band, value in depth.items() if np.isfinite(value)}, columns.get("extended"), info.source,
    )  # fmt: skip


def completeness(mags: NDArray[np.float64]) -> float:
    """Return the magnitude to which a list is complete: where its counts are highest; nan for fewer than 30 stars."""
    values = mags[np.isfinite(mags)]
    if values.size < 30:
        return float("nan")
    counts, edges = np.histogram(values, bins=np.arange(values.min(), values.max() + 0.5, 0.5))
    return float(edges[int(np.argmax(counts))] + 0.25) if counts.size else float("nan")


def read_table(path: Path) -> Any:
    """Return an astropy table of a FITS, VOTable, ECSV, CSV, Parquet or text file, else raise UnreadableFileError."""
    from astropy.table import Table

    try:
        if path.suffix.lower() in (".parquet", ".parq", ".pq"):
            from pyarrow import parquet

            table = parquet.read_table(path)
            return Table({name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names})
        if ".fit" in path.name.lower():
            return Table.read(path, format="fits", hdu=1)
        if path.suffix.lower() in (".vot", ".votable", ".xml"):
            return Table.read(path, format="votable")
        return Table.read(path, format="ascii.ecsv" if path.suffix.lower() == ".ecsv" else "ascii")
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        raise UnreadableFileError(
            f"a table of stars in {path}", str(error).splitlines()[0], "FITS, ECSV, CSV ..."
        ) from error


def epoch_of(table: Any, mapping: Mapping[str, str]) -> float | None:
    """Return the epoch [Julian year] of a table's places, where a column tells it."""
    if "epoch" not in mapping:
        return None
    values = np.ma.filled(np.ma.asarray(table[mapping["epoch"]]).astype(np.float64), np.nan)
    middle = float(np.nanmedian(values))
    return middle if 1900 < middle < 2100 else None
