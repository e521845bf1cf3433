"""How planners call what is made: names of folders, of masters, of files."""

from __future__ import annotations

from nightpipe.model.exposure import Exposure


def folder_of(exposure: Exposure) -> str:
    """Return the name of a target's folder: its name, with what no file system likes replaced."""
    return filed(exposure.target) or exposure.name


def filed(name: str) -> str:
    """Return a name that any file system takes."""
    kept = "".join(letter if letter.isalnum() or letter in "+-._" else "_" for letter in name)
    return kept.strip("._")


def label_of(kind: str, exposure: Exposure, frames: tuple[Exposure, ...]) -> str:
    """Return the name of a master: instrument, arm, and the first of the frames that it is made of."""
    where = f"{exposure.instrument}_{exposure.setup.arm}" if exposure.setup.arm else exposure.instrument
    return f"{where}_{frames[0].name}" if frames else f"{where}_{exposure.name}_{kind}"


def published(kind: str, label: str) -> dict[str, str]:
    """Return where a master is published."""
    return {kind: f"calibrations/{kind}_{label}"}
