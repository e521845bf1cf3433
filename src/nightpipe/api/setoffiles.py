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


def read_frames(given: Iterable[Path]) -> tuple[list[Path], tuple[Decision, ...]]:
    """Return the frames that files, folders and sets of files name, and the types that tags give."""
    raw: list[Path] = []
    retyped: list[Decision] = []
    for path in given:
        if path.is_file() and not is_fits_name(path):
            for frame, kind in read_set(path):
                raw.append(frame)
                if kind is not None:
                    name = frame.name.split(".fit")[0]
                    retyped.append(make(name, "Frame.type", kind.value, f"tag in {path.name}", "set of files"))
        else:
            raw.append(path)
    return raw, tuple(retyped)


def read_set(path: Path) -> list[tuple[Path, FrameType | None]]:
    """Return frames and types of one set of files; paths are relative to the file; raises ConfigError."""
    rows: list[tuple[Path, FrameType | None]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "a set of files (text lines: path TAG)", f"{path}: {error}", "see `nightpipe recipe --help`"
        ) from error
    for line in lines:
        words = line.split("#")[0].split()
        if words:
            rows.append((path.parent / words[0], tag_type(words[1]) if len(words) > 1 else None))
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
