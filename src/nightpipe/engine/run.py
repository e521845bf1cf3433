"""The engine's `Run`: builds steps from the resolved parameters, calls them, records what happened."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import ConfigError
from nightpipe.base.recipe import Recipe
from nightpipe.base.run import caveats_of, run_step
from nightpipe.base.step import Step
from nightpipe.engine.config import places, step_values
from nightpipe.engine.memory import peak_megabytes
from nightpipe.model.spectrum import Source

PLACE_TOLERANCE = 1.5
"""How far [arcsec] an object may lie from the place for which a parameter was set."""


class EngineRun:
    """Executes the steps of one recipe run; satisfies `base.run.Run`.

    `parameters` are the node's resolved ones, ``"Step.parameter"`` to JSON value. Afterwards `steps` holds a record
    of each call, `metrics` ``{name: (value, unit)}``, `caveats` those of the run and of the steps' results.
    """

    def __init__(self, recipe: Recipe, parameters: Mapping[str, Any]) -> None:
        self.recipe = recipe
        self.parameters = dict(parameters)
        self.steps: list[dict[str, Any]] = []
        self.metrics: dict[str, tuple[float, str]] = {}
        self.caveats: tuple[Caveat, ...] = ()

    def __call__(self, step: type[Step], *, label: str = "", **inputs: Any) -> Any:
        place = self._place(inputs.values())
        built = self.step(step, label=label, place=place)
        started = time.perf_counter()
        result = run_step(built, inputs)
        self.caveats = merged(self.caveats, self._told(caveats_of(result)))
        known = {caveat for value in inputs.values() for caveat in caveats_of(value)}
        self.steps.append(
            {
                "step": step.name(),
                "label": label,
                "place": place,
                "version": step.version,
                "parameters": built.model_dump(mode="json"),
                "inputs": {name: described(value) for name, value in inputs.items()},
                "output": described(result),
                "caveats": [str(caveat) for caveat in caveats_of(result) if caveat not in known],
                "seconds": round(time.perf_counter() - started, 4),
                "peak_mb": peak_megabytes(),
            }
        )
        return result

    def step(self, step: type[Step], *, label: str = "", place: str = "") -> Step:
        """Return the step with its resolved parameters; raises ConfigError for a step the recipe did not declare."""
        if step not in self.recipe.steps:
            declared = ", ".join(one.name() for one in self.recipe.steps)
            raise ConfigError(f"a step that recipe {self.recipe.name} declares ({declared})", step.name(), "declare it")
        return step.model_validate(step_values(self.parameters, step.name(), label, place))

    def caveat(self, code: str, text: str) -> None:
        """Attach a caveat to all outputs of this run and to what descends from them."""
        self.caveats = merged(self.caveats, [Caveat(code, text)])

    def metric(self, name: str, value: float, unit: str = "") -> None:
        """Record a number that judges the outputs."""
        self.metrics[name] = (float(value), unit)

    def _told(self, caveats: tuple[Caveat, ...]) -> tuple[Caveat, ...]:
        """Return those caveats of a step's result that the recipe's outputs inherit."""
        begins = self.recipe.tells
        return tuple(one for one in caveats if one.code.startswith(begins)) if begins else caveats

    def _place(self, inputs: Iterable[Any]) -> str:
        """Return the place nearest to the object among the inputs, if a parameter was set for one so near."""
        sources = [value for value in inputs if isinstance(value, Source)]
        near = sorted(
            (abs(float(place) - sources[0].slit_arcsec), place) for place in places(self.parameters) if sources
        )
        return near[0][1] if near and near[0][0] <= PLACE_TOLERANCE else ""


def described(value: Any) -> str:
    """Return what a model is in a few letters, for the record: type, shape or length."""
    if isinstance(value, tuple):
        kinds = sorted({type(item).__name__ for item in value})
        return f"{len(value)} x {' or '.join(kinds)}" if value else "none"
    shape = getattr(value, "shape", None) or getattr(getattr(value, "data", None), "shape", None)
    return type(value).__name__ + (f" {'x'.join(map(str, shape))}" if isinstance(shape, tuple) else "")
