"""Parameters in layers, last wins, origin kept; a wrong name or value fails before a pixel is read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from nightpipe.base.errors import ConfigError
from nightpipe.base.recipe import Recipe
from nightpipe.base.step import Step, default_of

NAME = re.compile(
    r"^(?P<step>\w+)(?:\[(?P<label>[^\]]+)\])?\.(?P<parameter>\w+)(?:@slit=(?P<place>[-+]?\d+(?:\.\d*)?))?$"
)
"""``Step.parameter``, ``Step[label].parameter``, ``Step.parameter@slit=3.2`` (arcsec: for the object at that place)."""

FRAME_NAMES = ("Frame.type", "Frame.target", "Frame.use")
"""What a decision may say of a raw frame itself; ``Match.<type>`` names the calibrations to use."""


@dataclass(frozen=True)
class Setting:
    """A parameter's value and the layer that gave it."""

    value: Any
    origin: str


Settings = dict[str, Setting]


@dataclass(frozen=True)
class Layer:
    """One layer of parameters: where it comes from, and names to values."""

    origin: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterName:
    """A parameter's name in parts; `label` and `place` are empty where the name is a general one."""

    step: str
    parameter: str
    label: str = ""
    place: str = ""

    @property
    def rank(self) -> int:
        """Return how special the name is: what is said of one object or one use beats what is said of all."""
        return 2 * bool(self.place) + bool(self.label)

    def __str__(self) -> str:
        label = f"[{self.label}]" if self.label else ""
        return f"{self.step}{label}.{self.parameter}" + (f"@slit={self.place}" if self.place else "")


@lru_cache(maxsize=4096)
def parse_name(text: str) -> ParameterName:
    """Take a parameter's name apart; raises ConfigError."""
    match = NAME.match(text.strip())
    if match is None:
        raise ConfigError("a name like Step.parameter or Step[label].parameter", text, "see `nightpipe init`")
    parts = match.groupdict(default="")
    return ParameterName(parts["step"], parts["parameter"], parts["label"], parts["place"])


class Vocabulary:
    """All steps that the recipes may call, and with them every parameter that exists."""

    def __init__(self, recipes: Iterable[Recipe]) -> None:
        self.steps: dict[str, type[Step]] = {step.name(): step for recipe in recipes for step in recipe.steps}

    def names(self) -> list[str]:
        """Return every ``Step.parameter``."""
        return [f"{name}.{field}" for name, step in self.steps.items() for field in step.model_fields]

    def check(self, text: str, origin: str) -> ParameterName:
        """Return the parsed name if such a parameter exists; raises ConfigError with the nearest names."""
        name = parse_name(text)
        step = self.steps.get(name.step)
        if step is None or name.parameter not in step.model_fields:
            raise ConfigError(
                f"a known parameter ({origin})", text, near(f"{name.step}.{name.parameter}", self.names())
            )
        return name

    def check_layer(self, layer: Layer) -> None:
        """Check every name and value of a layer; raises ConfigError."""
        for text, value in layer.values.items():
            name = self.check(text, layer.origin)
            validated(self.steps[name.step], {name.parameter: value}, layer.origin)


def near(wanted: str, known: Iterable[str]) -> str:
    """Return advice that names what comes nearest to `wanted`."""
    known = list(known)
    close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.55)
    if not close:
        folded = {name.lower(): name for name in known}
        close = [folded[name] for name in difflib.get_close_matches(wanted.lower(), list(folded), n=3, cutoff=0.5)]
    return "did you mean " + ", ".join(close) + "?" if close else "`nightpipe init` lists all that exist"


def validated(step: type[Step], values: Mapping[str, Any], origin: str = "") -> Step:
    """Return the step with `values`; the text ``none`` stands for no value; raises ConfigError."""
    wishes = {name: None if value == "none" and _may_be_none(step, name) else value for name, value in values.items()}
    try:
        return step.model_validate(wishes)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (step.name(), *first["loc"]))
        found = f"{first.get('input')!r}" + (f" ({origin})" if origin else "")
        raise ConfigError(f"{where}: {first['msg'].lower()}", found, "see `nightpipe init` for its range") from error


def _may_be_none(step: type[Step], name: str) -> bool:
    info = step.model_fields.get(name)
    return info is not None and type(None) in getattr(info.annotation, "__args__", ())


def resolve(recipe: Recipe, layers: Iterable[Layer]) -> Settings:
    """Return every parameter of the recipe's steps with its origin, as JSON values.

    `layers` come lowest first; the steps' and the recipe's defaults are put below them. A labelled or placed name
    beats a general one, whatever its layer. Names of other recipes' steps are passed over.
    """
    found = _defaults(recipe)
    steps = {step.name(): step for step in recipe.steps}
    for layer in (Layer(f"recipe {recipe.name}", dict(recipe.defaults)), *layers):
        for text, value in layer.values.items():
            name = parse_name(text)
            if name.step in steps:
                found[str(name)] = Setting(value, layer.origin)
    return _normalised(steps, found)


def _defaults(recipe: Recipe) -> Settings:
    return {
        f"{step.name()}.{name}": Setting(default_of(info), "default")
        for step in recipe.steps
        for name, info in step.model_fields.items()
    }


def _normalised(steps: Mapping[str, type[Step]], settings: Settings) -> Settings:
    """Validate all values together with the general ones of their step, and write them as JSON would."""
    names = {text: parse_name(text) for text in settings}
    result: Settings = {}
    for step in steps.values():
        mine = {text: name for text, name in names.items() if name.step == step.name()}
        general = {name.parameter: settings[text].value for text, name in mine.items() if name.rank == 0}
        dumped = _dumped(step, general, settings, mine)
        for text, name in mine.items():
            one = dumped
            if name.rank:
                one = _dumped(step, general | {name.parameter: settings[text].value}, settings, {text: name})
            result[text] = Setting(one[name.parameter], settings[text].origin)
    return result


def _dumped(
    step: type[Step], values: dict[str, Any], settings: Settings, names: Mapping[str, ParameterName]
) -> dict[str, Any]:
    unknown = [text for text, name in names.items() if name.parameter not in step.model_fields]
    if unknown:
        known = [f"{step.name()}.{field}" for field in step.model_fields]
        raise ConfigError(f"a known parameter ({settings[unknown[0]].origin})", unknown[0], near(unknown[0], known))
    origins = sorted({settings[text].origin for text in names} - {"default"})
    return validated(step, values, ", ".join(origins)).model_dump(mode="json")


def step_values(values: Mapping[str, Any], step: str, label: str = "", place: str = "") -> dict[str, Any]:
    """Return one use's values: general ones, then those of its label, then those of its place."""
    names = sorted((parse_name(text) for text in values), key=lambda name: name.rank)
    return {
        name.parameter: values[str(name)]
        for name in names
        if name.step == step and name.label in ("", label) and name.place in ("", place)
    }


def places(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the places along the slit for which some parameter was set."""
    return tuple(dict.fromkeys(name.place for name in map(parse_name, values) if name.place))
