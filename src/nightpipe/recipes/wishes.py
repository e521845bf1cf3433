"""Parameters that a planner must know before anything runs."""

from __future__ import annotations

from typing import Any

from nightpipe.engine.builder import Builder
from nightpipe.engine.config import Layer, resolve
from nightpipe.engine.decisions import step_layer
from nightpipe.model.exposure import Exposure


def wished(builder: Builder, recipe: str, exposure: Exposure, name: str, label: str = "") -> Any:
    """Return the value of the parameter `name` of a recipe for an exposure: instrument, files, decisions, command line.

    `label` is that of the run that is to be planned: decisions may be made on it.
    Raises ConfigError for a value that cannot be.
    """
    asked = builder.wishes
    own = Layer(f"instrument {exposure.instrument}", builder.night.frame(exposure).overrides)
    made = (*asked.decisions.of(exposure), *asked.decisions.on([label] if label else []))
    layers = (own, asked.site, asked.settings, step_layer(made), asked.command_line)
    return resolve(builder.book.recipe(recipe), [one for one in layers if one is not None])[name].value
