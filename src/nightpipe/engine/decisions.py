"""What people decided: parameter overrides in an append-only text file, read once, at planning."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightpipe.base.errors import ConfigError, StoreError
from nightpipe.base.plain import toml_value
from nightpipe.engine.config import FRAME_NAMES, Layer, Vocabulary, parse_name
from nightpipe.model.exposure import Exposure, FrameType

FILE = "decisions.toml"
HEAD = "# Decisions: appended by `nightpipe decide` and by edited plan tables, never rewritten; the last one wins.\n"


@dataclass(frozen=True)
class Decision:
    """One human override.

    `exposure` is a raw frame's name (file stem) or a product's name; `sha256` that of the raw file, so that another
    file of the same name is not meant; `parameter` is ``Step.parameter``, ``Frame.type``, ``Frame.target``,
    ``Frame.use`` or ``Match.<type>``; a `withdrawn` one ends all earlier ones of the same parameter.
    """

    exposure: str
    parameter: str
    value: Any
    why: str
    who: str
    when: str
    instrument: str = ""
    sha256: str = ""
    withdrawn: bool = False


class Decisions:
    """All decisions that hold, in the order in which they were made."""

    def __init__(self, made: Iterable[Decision] = ()) -> None:
        standing: dict[tuple[str, str, str], Decision] = {}
        for decision in made:
            key = (decision.instrument, decision.exposure, decision.parameter)
            standing.pop(key, None)
            if not decision.withdrawn:
                standing[key] = decision
        self.standing = tuple(standing.values())

    def of(self, exposure: Exposure) -> tuple[Decision, ...]:
        """Return the decisions on a raw frame; those on another file of the same name do not count."""
        return tuple(decision for decision in self._named(exposure) if decision.sha256 in ("", exposure.sha256))

    def stale(self, exposure: Exposure) -> tuple[Decision, ...]:
        """Return the decisions that name this frame but were made on a file with other content."""
        return tuple(decision for decision in self._named(exposure) if decision.sha256 not in ("", exposure.sha256))

    def on(self, names: Iterable[str]) -> tuple[Decision, ...]:
        """Return the decisions on a product or plan node, by any of its names."""
        wanted = set(names)
        return tuple(decision for decision in self.standing if decision.exposure in wanted)

    def value(self, exposure: Exposure, parameter: str) -> Any | None:
        """Return what was decided for one parameter of a raw frame, or None."""
        values = [decision.value for decision in self.of(exposure) if decision.parameter == parameter]
        return values[-1] if values else None

    def _named(self, exposure: Exposure) -> tuple[Decision, ...]:
        return tuple(
            decision
            for decision in self.standing
            if decision.exposure == exposure.name and decision.instrument in ("", exposure.instrument)
        )


def step_layer(decisions: Iterable[Decision]) -> Layer:
    """Return decisions on steps as a layer of parameters, the origin naming who decided and why."""
    steps = [decision for decision in decisions if is_about_steps(decision.parameter)]
    origin = "; ".join(dict.fromkeys(f"decision by {one.who}: {one.why}" for one in steps))
    return Layer(origin or "decision", {decision.parameter: decision.value for decision in steps})


def is_about_steps(parameter: str) -> bool:
    """Return whether a decision sets a step's parameter, rather than a frame's type or calibrations."""
    return not parameter.startswith(("Frame.", "Match."))


def check_parameter(parameter: str, vocabulary: Vocabulary) -> None:
    """Raise ConfigError unless a decision may set `parameter`."""
    if is_about_steps(parameter):
        vocabulary.check(parameter, "decision")
        return
    names = (*FRAME_NAMES, "Match.partner", *(f"Match.{kind.value}" for kind in FrameType))
    if parameter not in names:
        raise ConfigError("a decision's parameter", parameter, "one of " + ", ".join(names[:6]) + ", or Step.parameter")


def make(
    exposure: Exposure | str, parameter: str, value: Any, why: str, who: str, *, withdrawn: bool = False
) -> Decision:
    """Return a new decision, dated now."""
    if is_about_steps(parameter):
        parameter = str(parse_name(parameter))
    when = datetime.now(UTC).isoformat(timespec="seconds")
    if isinstance(exposure, str):
        return Decision(exposure, parameter, value, why, who, when, withdrawn=withdrawn)
    return Decision(exposure.name, parameter, value, why, who, when, exposure.instrument, exposure.sha256, withdrawn)


def append(folder: str | Path, made: Iterable[Decision]) -> Path:
    """Add decisions to the file in `folder`; raises StoreError."""
    path = Path(folder) / FILE
    text = "".join(_block(decision) for decision in made)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        head = "" if path.exists() else HEAD
        with path.open("a", encoding="utf-8") as file:
            file.write(head + text)
    except OSError as error:
        raise StoreError(
            "a decisions file to append to", f"{path}: {error.strerror}", "choose another --out"
        ) from error
    return path


def read(folder: str | Path) -> Decisions:
    """Read the decisions kept in `folder`, none where there is no file; raises ConfigError."""
    path = Path(folder) / FILE
    if not path.exists():
        return Decisions()
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("decision", [])
        return Decisions(Decision(**row) for row in rows)
    except (tomllib.TOMLDecodeError, TypeError, OSError) as error:
        raise ConfigError("a readable decisions file", f"{path}: {error}", "mend the block that was edited") from error


def _block(decision: Decision) -> str:
    fields = {name: value for name, value in asdict(decision).items() if value not in ("", False) or name == "value"}
    return "\n[[decision]]\n" + "".join(f"{name} = {toml_value(value)}\n" for name, value in fields.items())
