"""A recipe: a plain function with declared inputs, outputs and steps, the unit of key, storage, task and retry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nightpipe.base.step import Step

RecipeFunction = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """What the engine knows of a recipe.

    `function(run, **inputs)` returns a dict with exactly `outputs` as keys; a value may be a tuple of models whose
    members were found while running. `inputs` are the names of the arguments; those in `many` receive a tuple, those
    in `optional` may be None. `steps` are the step classes it may call, `data` the folders of packaged reference data
    it reads (their content enters the key), `sets` the reference sets that it uses where they were fetched (which of
    them there are enters the key). `defaults` are the recipe's own layer of parameters, ``"Step.parameter"``
    or ``"Step[label].parameter"`` with a value, above the steps' defaults and below all others. `tells` are the
    beginnings of the codes of those of its steps' caveats that outputs inherit, where the others matter to nothing that
    descends from them; empty: all are inherited. The record keeps all.
    """

    name: str
    function: RecipeFunction
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[type[Step], ...]
    many: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()
    version: int = 1
    sets: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Return the first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]


def recipe(
    name: str,
    *,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    steps: tuple[type[Step], ...],
    many: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    data: tuple[str, ...] = (),
    defaults: tuple[tuple[str, Any], ...] = (),
    version: int = 1,
    sets: tuple[str, ...] = (),
    tells: tuple[str, ...] = (),
) -> Callable[[RecipeFunction], Recipe]:
    """Declare the decorated function as a recipe; see `Recipe` for the arguments."""

    def declare(function: RecipeFunction) -> Recipe:
        return Recipe(name, function, inputs, outputs, steps, many, optional, data, defaults, version, sets, tells)

    return declare
