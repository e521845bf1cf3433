"""Masters that were made before: products of earlier nights, found by the record that each carries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import ConfigError
from nightpipe.base.plain import from_plain
from nightpipe.io import codec
from nightpipe.io.raw import is_fits_name
from nightpipe.model.exposure import Exposure, FrameType


@dataclass(frozen=True)
class Master:
    """One product of an earlier run: which `output` of its recipe; `exposure` is the first raw frame behind it.

    The exposure's path is the product's, its sha256 the product's key, its type REDUCED; `detector` names the hardware.
    """

    exposure: Exposure
    output: str
    detector: str
    caveats: tuple[Caveat, ...] = ()


def find(paths: Iterable[Path]) -> tuple[Master, ...]:
    """Return the masters in files and folders, output folders too; raises ConfigError where there is none."""
    found: list[Master] = []
    for path in paths:
        here = [one for file in _files(path) if (one := read(file)) is not None]
        if not here:
            raise ConfigError(
                "masters that nightpipe made (products of recipes bias, flat, arc ...)",
                f"none in {path}" if path.exists() else f"{path} does not exist",
                "give an earlier output folder, or products out of its calibrations/",
            )
        found += here
    return tuple(found)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.rglob("*") if is_fits_name(one) and not _hidden(one.relative_to(path)))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read(path: Path) -> Master | None:
    """Return what the product in a file is, or None where it is no master of ours."""
    text = codec.load_record(path) if path.is_file() else ""
    record: dict[str, Any] = json.loads(text) if text else {}
    about = record.get("provenance", {}).get("about")
    if not about:
        return None
    names = {Path(human).name: output for output, human in record["provenance"]["publish"].items()}
    output = names.get(path.name.split(".fits")[0]) or _by_type(path, record)
    exposure = replace(
        from_plain(Exposure, about["exposure"]),
        path=str(path.absolute()),
        sha256=f"{record['key']}/{output}",
        type=FrameType.REDUCED,
    )
    return Master(exposure, output, about["detector"], tuple(from_plain(Caveat, one) for one in record["caveats"]))


def _by_type(path: Path, record: dict[str, Any]) -> str:
    """Return which output a renamed product is: the first one published of the same kind of model."""
    kind = type(codec.load(path)).__name__
    same = [name for name in record["published"] if record["outputs"][name]["type"] == [kind]]
    return str(same[0] if same else record["published"][0])
