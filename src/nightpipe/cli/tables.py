"""Plans and results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nightpipe.api.columns import TargetTable, target_tables
from nightpipe.api.reduction import Reduction
from nightpipe.engine.execute import State
from nightpipe.engine.match import Reason
from nightpipe.engine.night import Night
from nightpipe.engine.plan import Node, Plan


def console() -> Console:
    """Return the standard output as a console; where it is no terminal, wide enough for tables."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=200)


def print_end(reduction: Reduction) -> None:
    """Print the table with which a reduction ends, what was amiss, and where everything lies."""
    out = console()
    tables = target_tables(reduction)
    for one in tables:
        if len(tables) > 1:
            out.print(f"{one.title}", style="bold")
        out.print(_drawn(one))
    if not tables:
        out.print(_calibrations(reduction))
    for line in _troubles(reduction):
        out.print(escape(line), soft_wrap=True)
    report = reduction.out / "report.html"
    out.print(f"\n{reduction.status.word}: {_counts(reduction)}, {reduction.timing['wall_s']:.1f} s", soft_wrap=True)
    out.print(escape(str(report if report.exists() else reduction.out)), soft_wrap=True)


def _drawn(targets: TargetTable) -> Table:
    table = Table(*map(escape, targets.columns), box=None, pad_edge=False)
    for column in table.columns[-1:]:
        column.overflow = "fold"  # a path that is cut short cannot be copied
    for row in targets.rows:
        table.add_row(*map(escape, row))
    return table


def _calibrations(reduction: Reduction) -> Table:
    """Return what a night without targets leaves."""
    table = Table("calibration", "kind", "caveats", box=None, pad_edge=False)
    for one in reduction.calibrations:
        path = str(one.path.relative_to(reduction.out))
        table.add_row(escape(path), one.kind, str(len(one.caveats)) if one.caveats else "")
    return table


def _troubles(reduction: Reduction) -> Iterator[str]:
    seen: dict[str, list[str]] = {}
    for target in reduction.targets:
        for caveat in target.caveats:
            seen.setdefault(str(caveat), []).append(target.label or target.name)
    if seen:
        yield "\nCaveats"
    for text, names in seen.items():
        everywhere = len(reduction.targets) > 1 and len(names) == len(reduction.targets)
        yield f"  {text}  ({'all targets' if everywhere else ', '.join(names)})"
    failed = [one for one in reduction.outcomes.values() if one.state in (State.FAILED, State.UNPROCESSABLE)]
    left = {one.path for one in reduction.night.skipped}
    aside = [one for one in reduction.exposures if one.path in left]
    if failed or aside:
        yield "\nNot done"
    yield from (f"  {one.node.id}: {one.state.value}: {one.message}" for one in failed)
    yield from (f"  {one.name}: {one.state.value}: {one.reason}" for one in aside)
    yield from (f"\nNote: {note}" for note in reduction.plan.notes)


def _counts(reduction: Reduction) -> str:
    targets, frames = len(reduction.targets), len(reduction.night.frames)
    return f"{targets} targets, {frames} frames, {len(reduction.ran)} of {len(reduction.plan.nodes)} runs done now"


def print_plan(night: Night, plan: Plan) -> None:
    """Print the frames, the runs in order, and the calibrations with the reasons for each."""
    out = console()
    frames = Table("type", "target", "instrument", "setup", "exptime", "frame", box=None, pad_edge=False)
    for one in night.exposures:
        cells = (one.type.value, one.target, one.instrument, one.setup.label(), f"{one.exptime:g} s", one.name)
        frames.add_row(*map(escape, cells))
    out.print(frames)
    for aside in night.skipped:
        out.print(escape(f"left aside: {Path(aside.path).name}: {aside.reason}"), soft_wrap=True)
    out.print("\nWhat will run")
    for node in plan.nodes:
        for line in _node_lines(node):
            out.print(escape(line), soft_wrap=True)
    for note in plan.notes:
        out.print(escape(f"note: {note}"), soft_wrap=True)


def _node_lines(node: Node) -> Iterator[str]:
    inputs = "; ".join(f"{name}: {_inputs(refs)}" for name, refs in node.inputs.items())
    yield f"{node.id}  <- {inputs}"
    changed = {name: one for name, one in node.parameters.items() if one.origin != "default"}
    yield from (f"    {name} = {one.value!r}  ({one.origin})" for name, one in changed.items())
    if node.exposure:
        yield from (f"    {line}" for line in reason_lines(node.reasons))
    yield from (f"    caveat {caveat}" for caveat in node.caveats)


def _inputs(refs: Iterable[Any]) -> str:
    names = [Path(ref.path).name if hasattr(ref, "path") else f"{ref.node}/{ref.output}" for ref in refs]
    return "none" if not names else ", ".join(names) if len(names) < 4 else f"{names[0]} ... {names[-1]} ({len(names)})"


def reason_lines(reasons: Iterable[Reason]) -> Iterator[str]:
    """Return why calibrations were taken and refused, candidates alike but for their age on one line."""
    groups: dict[tuple[str, bool, str], list[tuple[str, str]]] = {}
    for one in reasons:
        what, _, when = one.text.rpartition(", ") if one.taken else (one.text, "", "")
        groups.setdefault((one.kind, one.taken, what), []).append((one.candidate, when))
    for (kind, taken, what), members in groups.items():
        names, times = [name for name, _ in members], list(dict.fromkeys(when for _, when in members if when))
        shown = ", ".join(names) if len(names) < 4 else f"{names[0]} ... {names[-1]} ({len(names)})"
        when = f", {times[0]}" if len(times) == 1 else f", {times[0]} to {times[-1]}" if times else ""
        yield f"{kind} {'taken' if taken else 'refused'}: {shown}: {what}{when}"
