"""Sets of files, as ESO's tools take them: text lines with a path and a tag that says what the frame is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def read_frames(given: Iterable[Path]) -> tuple[list[Path], tuple[Decision, ...], tuple[Path, ...]]:
    """Return the frames that files, folders and sets of files name, the types that tags give, and masters among them.

    A master is known by its tag or by the record that it carries.
    """
    raw: list[Path] = []
    retyped: list[Decision] = []
    masters: list[Path] = []
    for path in given:
        rows = read_set(path) if path.is_file() and not is_fits_name(path) else [(path, "")]
        for frame, tag in rows:
            if is_master(frame, tag):
                masters.append(frame)
                continue
            raw.append(frame)
            if tag:
                name = frame.name.split(".fit")[0]
                retyped.append(make(name, "Frame.type", tag_type(tag).value, f"tag in {path.name}", "set of files"))
    return raw, tuple(retyped), tuple(masters)


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


def read_set(path: Path) -> list[tuple[Path, str]]:
    """Return frames and tags of one set of files; paths are relative to the file; raises ConfigError."""
    rows: list[tuple[Path, str]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "a set of files (text lines: path TAG)", f"{path}: {error}", "see `nightpipe recipe --help`"
        ) from error
    for line in lines:
        words = line.split("#")[0].split()
        if words:
            rows.append((path.parent / words[0], words[1] if len(words) > 1 else ""))
    return rows


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
