"""The log of a night's images: what each one is worth, as a list of files that can be edited and stacked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightpipe.api.reduction import Reduction
from nightpipe.io.atomic import written
from nightpipe.model.exposure import Exposure, FrameType

FILE = "filelog.txt"
HEAD = """# The frames of this night, one a line: path # type target camera filter exposure [s], and of images: seeing
# [arcsec], ellipticity, sky [electron/s], zero point, transparency, whether it is in a stack. To leave an image out
# delete its line (keep those of calibrations), then: nightpipe recipe combine filelog.txt -o stack.fits
"""
USED = (FrameType.IMAGE, FrameType.BIAS, FrameType.DARK, FrameType.FLAT, FrameType.SKY_FLAT)


def write_file_log(reduction: Reduction) -> Path | None:
    """Write the log into the output folder and return its path; None where the night has no images."""
    shots = [one for one in reduction.night.exposures if one.type in USED]
    if not any(one.type is FrameType.IMAGE for one in shots):
        return None
    found = _measured(reduction)
    lines = [f"{one.file}  # {_facts(one, found.get(one.name, {}))}" for one in shots if one.type is FrameType.IMAGE]
    files = dict.fromkeys(f"{one.file}  # {_facts(one, {})}" for one in shots if one.type is not FrameType.IMAGE)
    path = reduction.out / FILE
    with written(path) as stream:
        stream.write((HEAD + "\n".join((*lines, *files)) + "\n").encode())
    return path


def _measured(reduction: Reduction) -> dict[str, dict[str, float]]:
    """Return what was measured of each image by its name: of its own run, and of those of its field."""
    found: dict[str, dict[str, float]] = {}
    for outcome in reduction.outcomes.values():
        metrics = {name: float(entry[0]) for name, entry in outcome.record.get("metrics", {}).items()}
        if outcome.node.recipe == "measure" and outcome.state.good:
            found.setdefault(outcome.node.exposure, {}).update(metrics)
        for name, value in metrics.items():
            kind, _, frame = name.partition("/")
            if outcome.node.recipe == "calibrateimages" and kind in ("frame_zero_point", "transparency"):
                found.setdefault(frame, {})[kind] = value
    for target in reduction.targets:
        for name in _stacked(target):
            found.setdefault(name, {})["stacked"] = 1.0
    return found


def _stacked(target: Any) -> tuple[str, ...]:
    return () if target.stack is None else tuple(target.stack.model.frames)


def _facts(shot: Exposure, measured: dict[str, float]) -> str:
    setup = shot.setup
    words = [shot.type.value, shot.target.replace(" ", "_") or "-", setup.arm or "-", setup.filter or "-"]
    words.append(f"{shot.exptime:g}")
    if shot.type is FrameType.IMAGE:
        for name, form in (("seeing", ".2f"), ("ellipticity", ".3f"), ("sky", ".2f"), ("frame_zero_point", ".3f"),
                           ("transparency", ".3f")):  # fmt: skip
            words.append(format(measured[name], form) if name in measured else "-")
        words.append("stacked" if "stacked" in measured else "out")
    return " ".join(words)
