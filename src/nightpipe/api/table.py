"""The plan as a table to edit: one line a frame, one line a calibration's use; edits are read back as decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nightpipe.base.errors import ConfigError, PlanError
from nightpipe.engine.decisions import Decision, make
from nightpipe.engine.night import Night, frame_type
from nightpipe.engine.plan import Plan
from nightpipe.model.exposure import Exposure

HEAD = """# The frames as nightpipe recognised them. Edit, then: nightpipe reduce ... --plan THIS_FILE
# Put a # before a frame's line to drop it; change its type or target to retype it.
# A "match" line says which calibrations an exposure uses: change the names (with commas), or write none.
"""
DROPPED = "dropped"
MATCH = "match"


def table_text(night: Night, plan: Plan) -> str:
    """Return the table of a night and its plan."""
    rows = [[one.type.value, one.target, one.instrument, one.setup.label(), one.path] for one in night.exposures]
    head = ["# type", "target", "instrument", "setup", "file"]
    dropped = [f"# {DROPPED} | {one.path}" for one in night.skipped if one.dropped]
    aside = [f"## {one.path}: {one.reason}" for one in night.skipped if not one.dropped]
    matches = [[MATCH, exposure, kind, ", ".join(names) or "none"] for exposure, kind, names in used(plan)]
    blocks = [_aligned([head, *rows]), *dropped]
    if matches:
        blocks += ["", _aligned([["# " + MATCH, "exposure", "type", "calibrations"], *matches])]
    if aside:
        blocks += ["", "## Left aside:", *aside]
    return HEAD + "\n" + "\n".join(blocks) + "\n"


def used(plan: Plan) -> Iterator[tuple[str, str, list[str]]]:
    """Return exposure, calibration type and names of the calibrations taken, for each exposure of the plan."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for node in plan.nodes:
        for reason in node.reasons if node.exposure else ():
            names = found.setdefault((node.exposure, reason.kind), {})
            if reason.taken:
                names[reason.candidate] = None
    for (exposure, kind), names in found.items():
        yield exposure, kind, list(names)


def edits(text: str, night: Night, plan: Plan, *, who: str, where: str = "the edited plan") -> list[Decision]:
    """Return the decisions by which an edited table differs from the night; raises ConfigError, PlanError."""
    planned = {(exposure, kind): names for exposure, kind, names in used(plan)}
    made: list[Decision] = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in line.strip().lstrip("#").split("|")]
        if len(cells) < 2 or line.startswith("##"):
            continue
        commented = line.lstrip().startswith("#")
        if cells[0] == MATCH:
            made += _match_edit(cells, night, planned, who, where) if not commented else []
        elif cells[-1] != "file":
            made += _frame_edit(cells, night, commented=commented, who=who, where=f"{where}, line {number}")
    return made


def read_edits(path: str | Path, night: Night, plan: Plan, who: str) -> list[Decision]:
    """Return the decisions in an edited table's file; raises ConfigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "an edited plan table", f"{path}: {error}", "`nightpipe plan ... --plan FILE` writes one"
        ) from error
    return edits(text, night, plan, who=who, where=f"plan table {Path(path).name}")


def _frame_edit(cells: list[str], night: Night, *, commented: bool, who: str, where: str) -> Iterator[Decision]:
    exposure = _frame(cells[-1], night)
    if exposure is None:
        if not commented and any(one.path == cells[-1] for one in night.skipped):
            yield make(Path(cells[-1]).name.split(".fit")[0], "Frame.use", value=True, why=where, who=who)
        return
    if commented:
        yield make(exposure, "Frame.use", value=False, why=where, who=who)
        return
    if len(cells) != 5:
        raise ConfigError("five cells: type | target | instrument | setup | file", " | ".join(cells), f"mend {where}")
    if frame_type(cells[0]) is not exposure.type:
        yield make(exposure, "Frame.type", cells[0].lower(), where, who)
    if cells[1] != exposure.target.replace("|", "/").strip():
        yield make(exposure, "Frame.target", cells[1], where, who)


def _match_edit(
    cells: list[str], night: Night, planned: dict[tuple[str, str], list[str]], who: str, where: str
) -> Iterator[Decision]:
    if len(cells) != 4:
        raise ConfigError("four cells: match | exposure | type | calibrations", " | ".join(cells), f"mend {where}")
    _, name, kind, wish = cells
    names = [part.strip() for part in wish.split(",") if part.strip() and part.strip().lower() != "none"]
    if names != planned.get((name, frame_type(kind).value), names):
        yield make(night.named(name), f"Match.{frame_type(kind).value}", names or "none", where, who)


def _frame(file: str, night: Night) -> Exposure | None:
    try:
        return night.named(file)
    except PlanError:
        return None


def _aligned(rows: Iterable[list[str]]) -> str:
    rows = [[cell.replace("|", "/") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
