"""The log of a target: every recipe run that it descends from, with inputs, steps, parameters and their origins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nightpipe.engine.execute import Outcome


def write_log(path: Path, title: str, lineage: Iterable[Outcome]) -> Path:
    """Write the log of a target and return its path."""
    lines = [title, "=" * len(title), ""]
    for outcome in lineage:
        lines += [*run_lines(outcome.record, state=outcome.state.value), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run_lines(record: Mapping[str, Any], *, state: str = "") -> Iterator[str]:
    """Return what is known of one recipe run, a line each."""
    version = record.get("recipe_version", "?")
    yield f"{record['node']}  [{state or record['state']}]  recipe {record['recipe']} v{version}"
    if "when" in record:
        yield f"  made {record['when']} on {record['host']} by nightpipe {record['nightpipe']}, key {record['key']}"
        yield f"  took {record.get('seconds', 0.0):.2f} s, at most {record['peak_mb']:.0f} MB"
    if error := record.get("error"):
        yield f"  wanted {error['wanted']}; found {error['found']}; try {error['remedy']}"
        yield from (f"  | {line}" for line in error.get("trace", "").splitlines())
    yield from _input_lines(record)
    yield from _step_lines(record)
    yield from (
        f"  metric {name} = {value:g} {unit}".rstrip() for name, (value, unit) in record.get("metrics", {}).items()
    )
    yield from (f"  caveat {one['code']}: {one['text']}" for one in record.get("arisen", ()))
    yield from (f"  warning {text}" for text in record.get("warnings", ()))


def _input_lines(record: Mapping[str, Any]) -> Iterator[str]:
    provenance = record.get("provenance", {})
    for name, origins in provenance.get("inputs", {}).items():
        for origin in origins:
            if "raw" in origin:
                yield f"  input {name}: {origin['raw']} (sha256 {origin['sha256'][:16]})"
            else:
                yield f"  input {name}: {origin['output']} of {origin['node']} (key {origin['key'][:16]})"
        if not origins:
            yield f"  input {name}: none"
    for reason in provenance.get("reasons", ()):
        yield f"  {reason['kind']} {reason['candidate']}: {'taken' if reason['taken'] else 'refused'}, {reason['text']}"


def _step_lines(record: Mapping[str, Any]) -> Iterator[str]:
    origins = {name: one["origin"] for name, one in record.get("parameters", {}).items()}
    for step in record.get("steps", ()):
        label = f"[{step['label']}]" if step["label"] else ""
        place = f"@slit={step['place']}" if step["place"] else ""
        inputs = ", ".join(f"{name}: {what}" for name, what in step["inputs"].items())
        name = f"{step['step']}{label}{place} v{step['version']}"
        yield f"  step {name} ({inputs}) -> {step['output']}, {step['seconds']:.3f} s"
        for name, value in step["parameters"].items():
            names = (f"{step['step']}.{name}{place}", f"{step['step']}{label}.{name}", f"{step['step']}.{name}")
            origin = next((origins[one] for one in names if one in origins), "default")
            yield f"    {name} = {value!r}  ({origin})"
        yield from (f"    caveat {caveat}" for caveat in step["caveats"])
