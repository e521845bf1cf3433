"""The log of a night's images: what each one is worth, as a table that can be edited and stacked again."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from nightpipe.api.reduction import Reduction
from nightpipe.io.atomic import written
from nightpipe.model.exposure import Exposure, FrameType

FILE = "filelog.ecsv"
HEAD = [
    "The frames of this night, one a line. To leave an image out of its stack delete its line, but keep calibrations:",
    "nightpipe recipe combine filelog.ecsv -o stack.fits",
    "stacked: yes, no, or - for calibrations. A name behind # in a path is that of a camera on a shared detector.",
]
USED = (FrameType.IMAGE, FrameType.BIAS, FrameType.DARK, FrameType.FLAT, FrameType.SKY_FLAT)
MEASURED = {
    "seeing": ("seeing", "arcsec", 3),
    "ellipticity": ("ellipticity", "", 3),
    "sky": ("sky", "electron/s", 3),
    "zero_point": ("frame_zero_point", "mag", 4),
    "depth": ("frame_depth", "mag", 3),
    "transparency": ("transparency", "", 4),
}
"""Columns of what was measured: the metric, its unit, how many digits stand after the point."""
OF_FIELD = tuple(metric for metric, _, _ in MEASURED.values() if metric not in ("seeing", "ellipticity", "sky"))


def write_file_log(reduction: Reduction) -> Path | None:
    """Write the log into the output folder and return its path; None where the night has no images."""
    shots = [one for one in reduction.night.exposures if one.type in USED]
    if not any(one.type is FrameType.IMAGE for one in shots):
        return None
    shots.sort(key=lambda one: one.type is not FrameType.IMAGE)
    text = StringIO()
    _table(shots, _measured(reduction)).write(text, format="ascii.ecsv")
    path = reduction.out / FILE
    with written(path) as stream:
        stream.write(text.getvalue().encode())
    return path


def _table(shots: list[Exposure], found: dict[str, dict[str, float]]) -> Any:
    from astropy.table import Table

    table = Table(meta={"comments": HEAD})
    table["file"] = [one.path for one in shots]
    table["type"] = [one.type.value for one in shots]
    table["target"] = [one.target for one in shots]
    table["camera"] = [one.setup.arm for one in shots]
    table["filter"] = [one.setup.filter for one in shots]
    table["start"] = [one.start for one in shots]
    table["exptime"] = [one.exptime for one in shots]
    table["airmass"] = [float("nan") if one.airmass is None else one.airmass for one in shots]
    table["exptime"].unit = "s"
    for name, (metric, unit, digits) in MEASURED.items():
        table[name] = [round(found.get(one.name, {}).get(metric, float("nan")), digits) for one in shots]
        table[name].unit = unit or None
    table["stacked"] = [_stacked(one, found.get(one.name, {})) for one in shots]
    return table


def _stacked(shot: Exposure, measured: dict[str, float]) -> str:
    if shot.type is not FrameType.IMAGE:
        return "-"
    return "yes" if "stacked" in measured else "no"


def _measured(reduction: Reduction) -> dict[str, dict[str, float]]:
    """Return what was measured of each image by its name: of its own run, and of those of its field."""
    found: dict[str, dict[str, float]] = {}
    for outcome in reduction.outcomes.values():
        metrics = {name: float(entry[0]) for name, entry in outcome.record.get("metrics", {}).items()}
        if outcome.node.recipe == "measure" and outcome.state.good:
            found.setdefault(outcome.node.exposure, {}).update(metrics)
        for name, value in metrics.items():
            kind, _, frame = name.partition("/")
            if outcome.node.recipe == "calibrateimages" and kind in OF_FIELD:
                found.setdefault(frame, {})[kind] = value
    for target in reduction.targets:
        for name in () if target.stack is None else target.stack.model.frames:
            found.setdefault(name, {})["stacked"] = 1.0
    return found
