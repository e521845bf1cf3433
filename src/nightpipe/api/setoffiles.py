"""Sets of files, as ESO's tools take them: text lines with a path and a tag that says what the frame is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nightpipe.base.errors import ConfigError
from nightpipe.engine.builder import Book
from nightpipe.engine.config import near
from nightpipe.engine.decisions import Decision, make
from nightpipe.engine.night import Night
from nightpipe.engine.plan import Node
from nightpipe.io.masters import read
from nightpipe.io.raw import is_fits_name
from nightpipe.model.exposure import FrameType

ALIASES = {
    "STD": "standard",
    "OBJECT": "science",
    "SCI": "science",
    "LAMP_FLAT": "flat",
    "LAMP_ARC": "arc",
    "WAVE": "arc",
}
TYPES = ("standard", "science")
MASTERS = {"BIAS": "bias", "DARK": "dark", "FLAT": "flat", "SLIT": "slit", "WAVE": "wave", "ARC": "wave"}
"""What follows ``MASTER_`` in the tag of a product, and the recipe's output that it names."""


@dataclass(frozen=True)
class Listed:
    """What files, folders and sets of files name: frames, the types that tags give them, masters made before.

    `parts` are the cameras on shared detectors that were named, each ``path#camera``: the others are not meant.
    """

    raw: tuple[Path, ...]
    retyped: tuple[Decision, ...] = ()
    masters: tuple[Path, ...] = ()
    parts: tuple[str, ...] = ()


def read_frames(given: Iterable[Path]) -> Listed:
    """Return the frames that files, folders, sets of files and logs of a night name.

    A master is known by its tag or by the record that it carries. Raises ConfigError: a list that cannot be read.
    """
    raw: dict[Path, None] = {}
    retyped: list[Decision] = []
    masters: list[Path] = []
    parts: list[str] = []
    for path in given:
        for frame, tag, part in _rows(path):
            if is_master(frame, tag):
                masters.append(frame)
                continue
            raw[frame] = None
            name = frame.name.split(".fit")[0] + (f"_{part}" if part else "")
            if part:
                parts.append(f"{frame.absolute()}#{part}")
            if tag:
                retyped.append(make(name, "Frame.type", tag_type(tag).value, f"tag in {path.name}", "set of files"))
    return Listed(tuple(raw), tuple(retyped), tuple(masters), tuple(parts))


def _rows(path: Path) -> list[tuple[Path, str, str]]:
    """Return frame, tag and camera of each line of a list, or of one path that is no list."""
    if not path.is_file() or is_fits_name(path):
        return [(path, "", "")]
    if path.suffix.lower() == ".ecsv":
        return [(frame, "", part) for frame, part in (_parted(path.parent, text) for text in _logged(path))]
    return read_set(path)


def is_master(path: Path, tag: str) -> bool:
    """Tell whether a file is a product of ours; raises ConfigError where its tag says another thing than its record."""
    made = read(path) if path.is_file() else None
    wanted = tag.upper().removeprefix("MASTER_") if tag.upper().startswith("MASTER_") else ""
    if not wanted:
        return made is not None
    if wanted not in MASTERS:
        raise ConfigError("a tag of a master", tag, near(tag.upper(), [f"MASTER_{name}" for name in MASTERS]))
    if made is None or made.output != MASTERS[wanted]:
        found = "no product of nightpipe" if made is None else f"its record says {made.output}"
        raise ConfigError(f"{path.name} to be {tag}", found, "mend the tag, or give the raw frames")
    return True


def read_set(path: Path) -> list[tuple[Path, str, str]]:
    """Return frames, tags and cameras of one set of files; paths are relative to the file; raises ConfigError.

    What follows a # after a space is a remark; without a space it names a camera on a shared detector.
    """
    rows: list[tuple[Path, str, str]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "a set of files (text lines: path TAG)", f"{path}: {error}", "see `nightpipe recipe --help`"
        ) from error
    for line in lines:
        words = re.split(r"(?:^|\s)#", line)[0].split()
        if words:
            frame, part = _parted(path.parent, words[0])
            rows.append((frame, words[1] if len(words) > 1 else "", part))
    return rows


def _parted(folder: Path, text: str) -> tuple[Path, str]:
    """Return file and camera of ``path#camera``."""
    name, _, part = text.partition("#") if not (folder / text).exists() else (text, "", "")
    return folder / name, part


def _logged(path: Path) -> list[str]:
    """Return the paths in the log of a night; raises ConfigError."""
    from astropy.table import Table

    try:
        return [str(text) for text in Table.read(path, format="ascii.ecsv")["file"]]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            "the log of a night (ECSV with a column file)", f"{path}: {error}", "take out whole lines only"
        ) from error


def tag_type(tag: str) -> FrameType:
    """Return the frame type that a tag means: ``BIAS``, ``FLAT_LAMP``, ``STD`` ...; raises ConfigError."""
    known = {kind.value.upper(): kind for kind in FrameType} | {name: FrameType(kind) for name, kind in ALIASES.items()}
    for part in (tag.upper(), tag.upper().split("_")[0]):
        if part in known:
            return known[part]
    raise ConfigError("a tag that names a type of frame", tag, near(tag.upper(), known))


def keeper(book: Book, name: str) -> Callable[[Night, Node], bool]:
    """Return which nodes a recipe's name means: its own runs, or all runs for ``standard`` or ``science`` frames."""
    if name in TYPES:
        return lambda night, node: node.target in {one.target for one in night.of(FrameType(name))}
    book.recipe(name)
    return lambda _night, node: node.recipe == name
