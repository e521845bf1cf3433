"""The first argument of every recipe: calls steps, keeps caveats and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import ConfigError
from nightpipe.base.step import Step


class Run(Protocol):
    """What a recipe may ask of whoever executes it."""

    def __call__(self, step: type[Step], *, label: str = "", **inputs: Any) -> Any:
        """Build `step` from the resolved parameters, run it on `inputs`, record it, return its model."""

    def caveat(self, code: str, text: str) -> None:
        """Attach a caveat to all outputs of this run and to what descends from them."""

    def metric(self, name: str, value: float, unit: str = "") -> None:
        """Record a number that judges the outputs."""

    def step(self, step: type[Step], *, label: str = "") -> Step:
        """Return the step with its resolved parameters, for a recipe that must look at one."""


class PlainRun:
    """A `Run` without an engine: for notebooks, tests and one recipe called by hand.

    `parameters` maps ``"Step.parameter"`` to a value. Caveats and metrics are kept as attributes.
    """

    def __init__(self, parameters: Mapping[str, Any] | None = None) -> None:
        self.parameters = dict(parameters or {})
        self.caveats: tuple[Caveat, ...] = ()
        self.metrics: dict[str, float] = {}

    def __call__(self, step: type[Step], *, label: str = "", **inputs: Any) -> Any:
        result = run_step(self.step(step, label=label), inputs)
        self.caveats = merged(self.caveats, caveats_of(result))
        return result

    def step(self, step: type[Step], *, label: str = "") -> Step:
        """Return the step with the given parameters (a labelled use may have its own: ``Step[label].x``)."""
        values: dict[str, Any] = {}
        for prefix in (f"{step.name()}.", f"{step.name()}[{label}]."):
            values |= {k.removeprefix(prefix): v for k, v in self.parameters.items() if k.startswith(prefix)}
        return step(**values)

    def caveat(self, code: str, text: str) -> None:
        """Keep a caveat."""
        self.caveats = merged(self.caveats, [Caveat(code, text)])

    def metric(self, name: str, value: float, unit: str = "") -> None:  # noqa: ARG002
        """Keep a metric."""
        self.metrics[name] = float(value)


def run_step(step: Step, inputs: Mapping[str, Any]) -> Any:
    """Call ``step.run(**inputs)``, with a clear error when the names do not fit."""
    method = step.run  # type: ignore[attr-defined]
    try:
        inspect.signature(method).bind(**inputs)
    except TypeError as error:
        raise ConfigError(f"inputs of {step.name()}.run", f"{sorted(inputs)} ({error})", "mend the recipe") from error
    return method(**inputs)


def caveats_of(result: Any) -> tuple[Caveat, ...]:
    """Return the caveats that a step's result carries (a model, or a tuple of models)."""
    if isinstance(result, tuple) and not hasattr(result, "caveats"):
        return merged(*(caveats_of(item) for item in result))
    found: Iterable[Caveat] = getattr(result, "caveats", ())
    return tuple(found)
