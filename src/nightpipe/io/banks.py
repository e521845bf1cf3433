"""Banks of templates: read from the formats that people have, kept as one compact memory-mapped file."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import ReferenceMissingError, UnreadableFileError
from nightpipe.io.atomic import written
from nightpipe.io.download import cache, local, present
from nightpipe.io.tables import folder as data_folder
from nightpipe.maths.logflux import BINS, LEAST_BINS, STEP, flatten, to_log
from nightpipe.model.templates import Bank, joined

SET = "templates"
MAGIC = b"NIGHTPIPE BANK 1\n"
PAGE = 4096
SAGE = "SNID-SAGE 0.9.0"
OWN = "k-correct populations"
"""Source of the galaxies that come with the package."""
GALAXIES = "galaxies.npb"
LISTED = "bank.csv"
NOT_THEMSELVES = "not_themselves.csv"
SNID_TYPES = MappingProxyType({"1": "Ia", "2": "Ib", "3": "Ic", "4": "II", "5": "NotSN"})
"""What SNID's numbers of types mean."""

FloatArray = NDArray[np.float64]


def write_bank(path: Path, bank: Bank) -> None:
    """Write a bank: a line, the length of a JSON header, the header, and from the next page on the numbers."""
    facts = {
        "rows": len(bank),
        "bins": BINS,
        "level": bank.level is not None,
        "objects": bank.objects,
        "types": bank.types,
        "subtypes": bank.subtypes,
        "sources": bank.sources,
        "spans": bank.spans.tolist(),
        "phases": [None if np.isnan(phase) else float(phase) for phase in bank.phases],
    }
    text = json.dumps(facts).encode()
    head = MAGIC + f"{len(text):012d}\n".encode() + text
    with written(path) as stream:
        stream.write(head + b" " * (-len(head) % PAGE))
        stream.write(bank.flat.astype("<f2").tobytes())
        if bank.level is not None:
            stream.write(bank.level.astype("<f4").tobytes())


def read_bank(path: Path) -> Bank:
    """Return a bank of `write_bank`, its numbers mapped, not read.

    Raises `ReferenceMissingError` where it is absent, and `UnreadableFileError` where it is damaged; both name the
    command that makes it anew.
    """
    remedy = f"`nightpipe data get {SET}`, or `nightpipe data import` for a bank of your own"
    if not path.is_file():
        raise ReferenceMissingError("a bank of templates", f"{path} is absent", remedy)
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:  # of whatever it is: nothing to be removed
            raise UnreadableFileError(f"a bank of templates: {path}", "another kind of file, or a damaged one", remedy)
    remedy = f"rm {path} and run {remedy}"
    try:
        facts, offset = _head(path)
        shape = (int(facts["rows"]), int(facts["bins"]))
        size = int(np.prod(shape)) * (6 if facts["level"] else 2)
        _whole(path, offset + size)
        flat = np.memmap(path, "<f2", "r", offset, shape)
        level = np.memmap(path, "<f4", "r", offset + flat.nbytes, shape) if facts["level"] else None
        phases = np.array([np.nan if phase is None else phase for phase in facts["phases"]])
        objects, types, subtypes, sources = (
            tuple(str(one) for one in facts[name]) for name in ("objects", "types", "subtypes", "sources")
        )
        spans = np.array(facts["spans"], dtype=np.int64)
        return Bank(flat, spans, objects, types, subtypes, phases, sources, level)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFileError(f"a bank of templates in {path}", f"truncated or damaged: {error}", remedy) from error


def _whole(path: Path, size: int) -> None:
    if path.stat().st_size != size:
        raise ValueError(f"{path.stat().st_size} bytes where {size} are due")


def _head(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as stream:
        stream.seek(len(MAGIC))
        size = int(stream.read(13))
        facts = json.loads(stream.read(size))
        return facts, -(-stream.tell() // PAGE) * PAGE


def installed() -> tuple[Path, ...]:
    """Return the banks at hand: the published one, then those imported, by name."""
    published = (cache() / SET / "bank.npb",) if present(SET) else ()
    return (*published, *sorted((cache() / "banks").glob("*.npb")))


def content() -> str:
    """Return what enters the keys of products that were matched with the installed banks: the content of each file."""
    return ",".join(_digest((path, path.stat().st_size, path.stat().st_mtime_ns)) for path in installed())


@lru_cache(maxsize=32)
def _digest(file: tuple[Path, int, int]) -> str:
    """Return the hash of a file; its size and time are given so that one which changed is read again."""
    return hashlib.sha256(file[0].read_bytes()).hexdigest()[:16]


def load_banks(paths: Iterable[Path] = ()) -> tuple[Bank, ...]:
    """Return the banks named, else all that are installed; raises `ReferenceMissingError` where there is none."""
    found = tuple(paths) or installed()
    if not found:
        local(SET)
    return tuple(read_bank(path) for path in found)


def whole_bank(paths: Iterable[Path] = ()) -> Bank:
    """Return the banks of `load_banks`, and the galaxies that come with the package, as one."""
    return joined((*load_banks(paths), galaxies()))


def galaxies() -> Bank:
    """Return the galaxies that come with the package, their continua known.

    They are sums of the five spectra of k-correct (Blanton & Roweis 2007, AJ 133, 734) in the shares in which 229
    galaxies beside supernovae of SDSS-II (Sako et al. 2018, PASP 130, 064002) show them; see
    ``bench/classifier_galaxies.py``.
    """
    return read_bank(data_folder("classifier") / GALAXIES)


def compact(unpacked: Path, folder: Path) -> None:
    """Convert the unpacked bank of SNID-SAGE into ``bank.npb``."""
    write_bank(folder / "bank.npb", from_sage(unpacked))


def not_themselves(bank: Bank) -> NDArray[np.bool_]:
    """Return which templates (n,) of SNID-SAGE show their host or another star instead of what they are called.

    They are listed by object and range of phases [days], each with what it shows: of the supernovae that look most like
    a galaxy or a star of the same bank (``bench/classifier_bank.py``) those in which nothing else was seen by eye.
    Supernovae with narrow lines of their own are not, nor those to which the host only adds.
    """
    with (data_folder("classifier") / NOT_THEMSELVES).open(encoding="utf-8", newline="") as stream:
        listed = [(row["object"], float(row["first"]), float(row["last"])) for row in csv.DictReader(stream)]
    objects, found = np.array(bank.objects), np.zeros(len(bank), dtype=bool)
    for name, first, last in listed:
        found |= (objects == name) & (bank.phases >= first - 0.5) & (bank.phases <= last + 0.5)
    return found & np.array([source == SAGE for source in bank.sources])


def import_bank(source: Path, name: str = "") -> Path:
    """Import a folder of templates into the cache and return its file.

    A folder with ``*.lnw`` is SNID's, one with ``*.hdf5`` SNID-SAGE's, one with ``bank.csv`` holds flux spectra. Raises
    `UnreadableFileError` for anything else.
    """
    if any(source.glob("*.lnw")):
        bank = from_lnw(source)
    elif any(source.glob("*.hdf5")):
        bank = from_sage(source)
    elif (source / LISTED).is_file():
        bank = from_table(source)
    else:
        remedy = f"name a folder with *.lnw (SNID), *.hdf5 (SNID-SAGE), or {LISTED} and the flux spectra it lists"
        raise UnreadableFileError(f"a folder of templates: {source}", "none of the known formats", remedy)
    path = cache() / "banks" / f"{name or source.resolve().name}.npb"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bank(path, bank)
    return path


def from_sage(folder: Path) -> Bank:
    """Return the bank in the HDF5 files of SNID-SAGE: rest frame, flattened, on our grid.

    Groups ``templates/<object>`` have attributes type and subtype, their ``epochs/<n>`` the attribute age and the
    dataset flux (1024,). Raises `UnreadableFileError`.
    """
    import h5py

    rows = []
    for path in sorted(folder.glob("*.hdf5")):
        try:
            with h5py.File(path) as file:
                for name, group in file["templates"].items():
                    epochs = group["epochs"].values() if "epochs" in group else [group]
                    rows += [_row(name, group.attrs, epoch.attrs, epoch["flux"][()], SAGE) for epoch in epochs]
        except (OSError, KeyError) as error:
            raise UnreadableFileError(f"templates of SNID-SAGE in {path}", str(error), "fetch the file anew") from error
    return _bank(rows)


def _row(name: str, about: Any, epoch: Any, flat: FloatArray, source: str) -> dict[str, Any]:
    age = float(epoch.get("age", np.nan))
    return {
        "object": name,
        "type": str(about.get("type", "")),
        "subtype": str(about.get("subtype", "")),
        "phase": age if -90.0 < age < 2000.0 else np.nan,
        "flat": flat,
        "level": None,
        "source": source,
    }


def from_lnw(folder: Path) -> Bank:
    """Return the templates of SNID's ``.lnw`` files: flattened, with the continuum of each epoch from its knots.

    The first line gives the number of epochs and of bins, the range, knots, name, dm15, type and subtype, the numbers
    of type and subtype; then come the knots (count and mean log10 flux of each epoch, then knot by knot log10 of their
    bin and log10 flux less the mean, for every epoch), the ages behind a flag that is 0 where they count from maximum
    light, and bin by bin the wavelength and the flux of every epoch (Blondin & Tonry 2007, the ``templates`` page of
    SNID 5.0, and its files). Raises `UnreadableFileError`.
    """
    rows = []
    for path in sorted(folder.glob("*.lnw")):
        try:
            rows += _epochs(path)
        except (OSError, ValueError, IndexError) as error:
            raise UnreadableFileError(f"a template of SNID in {path}", str(error), "take the file away") from error
    return _bank(rows)


def _epochs(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    head = lines[0].split()
    epochs, bins, knots = int(head[0]), int(head[1]), int(head[4])
    name, subtype = head[5], head[7]
    type_ = SNID_TYPES.get(head[8] if len(head) > 8 else "", subtype.split("-")[0])
    counts = np.array(lines[1].split(), dtype=float).reshape(epochs, 2)
    knot = np.array([line.split() for line in lines[2 : 2 + knots]], dtype=float)[:, 1:].reshape(knots, epochs, 2)
    flag, *ages = (float(word) for word in lines[2 + knots].split())
    if len(ages) != epochs:
        raise ValueError(f"{len(ages)} ages of {epochs} epochs")
    table = np.array([line.split() for line in lines[3 + knots : 3 + knots + bins]], dtype=float)
    centres, low = table[:, 0], float(head[2])
    own = np.log(centres / low) / np.log(float(head[3]) / low) * bins
    index = np.log(np.exp(STEP * (np.arange(BINS) + 0.5)) * 2500.0 / low) / np.log(float(head[3]) / low) * bins
    rows = []
    for epoch in range(epochs):
        flat = np.interp(index, own, table[:, epoch + 1], left=0.0, right=0.0)
        used = knot[: int(counts[epoch, 0]), epoch]
        level = np.interp(index, 10.0 ** used[:, 0], used[:, 1] + counts[epoch, 1])
        age = ages[epoch] if flag == 0 else np.nan
        about = {"type": type_, "subtype": subtype}
        rows.append(_row(name, about, {"age": age}, flat, f"SNID {path.name}") | {"level": level})
    return rows


def from_table(folder: Path) -> Bank:
    """Return a bank of flux spectra listed in ``bank.csv``: columns file, object, type, subtype, z, phase, source.

    Each file is any spectrum that `nightpipe classify` reads, in the observer's frame at redshift `z`. Raises
    `UnreadableFileError`.
    """
    from nightpipe.io.anyspectrum import read_any

    rows = []
    with (folder / LISTED).open(encoding="utf-8", newline="") as stream:
        listed = sorted(csv.DictReader(stream), key=lambda row: row["object"])
    for about in listed:
        given = read_any(folder / about["file"])
        rest = 1.0 + float(about.get("z") or 0.0)
        spectrum = to_log(given.wave / rest, given.flux, given.var if given.measured else None, given.good)
        flat = flatten(spectrum)
        first, last = flat.span
        level = np.where((np.arange(BINS) >= first) & (np.arange(BINS) < last), flat.level, np.nan)
        row = _row(about["object"], about, {}, flat.value, about.get("source") or folder.name)
        rows.append(row | {"level": level, "phase": float(about.get("phase") or "nan")})
    return _bank(rows)


def _bank(rows: list[dict[str, Any]]) -> Bank:
    """Gather rows; those without enough bins are left out."""
    kept = [(row, *_span(np.asarray(row["flat"]))) for row in rows]
    kept = [(row, first, last) for row, first, last in kept if last - first >= LEAST_BINS]
    if not kept:
        raise UnreadableFileError("templates", "none with enough data", "check the files")
    levels = [row["level"] for row, _, _ in kept]
    none = np.full(BINS, np.nan)
    level = None if all(one is None for one in levels) else np.array([none if one is None else one for one in levels])
    return Bank(
        np.clip(np.array([row["flat"] for row, _, _ in kept], dtype=np.float32), -2.0, 20.0),
        np.array([(first, last) for _, first, last in kept], dtype=np.int64),
        tuple(str(row["object"]) for row, _, _ in kept),
        tuple(str(row["type"]) for row, _, _ in kept),
        tuple(str(row["subtype"]) for row, _, _ in kept),
        np.array([row["phase"] for row, _, _ in kept], dtype=np.float64),
        tuple(str(row["source"]) for row, _, _ in kept),
        None if level is None else level.astype(np.float32),
    )


def _span(flat: FloatArray) -> tuple[int, int]:
    found = np.flatnonzero(flat != 0.0)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
