"""Human overrides: checked against what the output folder knows, then appended to its decisions file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightpipe.api.products import product_files
from nightpipe.api.settings import parse_assignment
from nightpipe.api.summary import FILE
from nightpipe.base.errors import ConfigError
from nightpipe.engine import decisions
from nightpipe.engine.builder import Book
from nightpipe.engine.config import Vocabulary, near, validated
from nightpipe.engine.decisions import Decision, is_about_steps
from nightpipe.engine.night import frame_type, scan


@dataclass(frozen=True)
class Known:
    """A raw frame that decisions may be made on."""

    name: str
    instrument: str
    sha256: str


def decide(
    book: Book,
    out: Path,
    exposure: str,
    assignments: Sequence[str],
    *,
    why: str,
    who: str,
    raw: Iterable[Path] = (),
    withdraw: bool = False,
) -> list[Decision]:
    """Append decisions on an exposure or product and return them; raises ConfigError.

    `exposure` may carry a place, ``s0012@slit=3.2``; to `withdraw`, the assignments are parameters without a value.
    """
    name, _, place = exposure.partition("@slit=")
    vocabulary = Vocabulary(book.recipes)
    known = _known(out, name, list(raw))
    made = []
    for text in assignments:
        parameter, value = (text, "") if withdraw else parse_assignment(text)
        parameter = f"{parameter}@slit={place}" if place and "@slit=" not in parameter else parameter
        decisions.check_parameter(parameter, vocabulary)
        if not withdraw:
            _check_value(parameter, value, vocabulary)
        one = decisions.make(name, parameter, value, why, who, withdrawn=withdraw)
        made.append(
            one if known is None else Decision(**vars(one) | {"instrument": known.instrument, "sha256": known.sha256})
        )
    decisions.append(out, made)
    return made


def _check_value(parameter: str, value: Any, vocabulary: Vocabulary) -> None:
    if parameter == "Frame.type":
        frame_type(str(value))
    elif parameter == "Frame.use" and not isinstance(value, bool):
        raise ConfigError("Frame.use=true or Frame.use=false", str(value))
    elif is_about_steps(parameter):
        name = vocabulary.check(parameter, "decision")
        validated(vocabulary.steps[name.step], {name.parameter: value}, "decision")


def _known(out: Path, name: str, raw: list[Path]) -> Known | None:
    """Return the raw frame of this name, None for a product; raises ConfigError where neither is known."""
    frames = _frames(out, raw)
    if name in frames:
        return frames[name]
    names = {str(path.relative_to(out).with_suffix("")) for path in product_files(out)} | _labels(out)
    if name in names:
        return None
    if not frames and not names:
        raise ConfigError(
            "an exposure or product", f"nothing was reduced into {out} yet", "give --out, or --raw FOLDER"
        )
    raise ConfigError(f"an exposure or product in {out}", name, near(name, [*frames, *names]))


def _frames(out: Path, raw: list[Path]) -> dict[str, Known]:
    if raw:
        return {one.name: Known(one.name, one.instrument, one.sha256) for one in scan(raw).exposures}
    if not (out / FILE).exists():
        return {}
    rows = json.loads((out / FILE).read_text(encoding="utf-8"))["exposures"]
    return {row["name"]: Known(row["name"], row["instrument"], row["sha256"]) for row in rows}


def _labels(out: Path) -> set[str]:
    if not (out / FILE).exists():
        return set()
    summary = json.loads((out / FILE).read_text(encoding="utf-8"))
    return {target["label"] for target in summary["targets"]} | {one["name"] for one in summary["calibrations"]}
