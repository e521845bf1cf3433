"""Options that people know, as parameters of steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nightpipe.base.errors import ConfigError
from nightpipe.io.raw import checksum, is_fits_name

FOLDER = "references"
"""Images in a folder of this name within the output folder are references where none is named."""


def reference_wish(given: Iterable[str | Path], out: Path) -> tuple[str, ...]:
    """Return the assignment that names reference images, each with its checksum: a changed file is another reference.

    `given` are files and folders; without any, the folder ``references`` within the output folder is taken where it is
    there. Raises ConfigError: a file that is none.
    """
    paths = [Path(path) for path in given] or [path for path in (out / FOLDER,) if path.is_dir()]
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigError("a reference image", f"{path} does not exist", "mind the spelling")
        files += sorted(one for one in path.iterdir() if is_fits_name(one)) if path.is_dir() else [path]
    texts = [f"{file.absolute()}@{checksum(str(file))[:16]}" for file in files]
    return (f"ChooseReference.files={';'.join(texts)}",) if texts else ()


def sky_wish(sky: str, *, cosmics: bool = True) -> tuple[str, ...]:
    """Return the assignments for whose images tell the sky, and for cosmic rays that are not to be searched.

    Raises ConfigError: an unknown way.
    """
    if sky not in ("", "none", "target", "night"):
        raise ConfigError("--sky none, target or night", sky, "leave it out: the instrument's own way")
    texts = (f"FramesSky.among={sky}",) if sky else ()
    return texts if cosmics else (*texts, "CosmicsImage.when=never")


def region_wish(bat: Sequence[float], xrt: Sequence[float], moc: Path | None) -> tuple[str, ...]:
    """Return the assignments that name error regions."""
    circles = [(name, values) for name, values in (("bat", bat), ("xrt", xrt)) if values]
    texts = [f"RankSources.{name}={','.join(map(repr, values))}" for name, values in circles]
    return (*texts, *(() if moc is None else (f"RankSources.moc={moc.absolute()}",)))
