"""The settings file that `nightpipe init` writes: every parameter with default, unit, range and help."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from nightpipe.base.plain import toml_value
from nightpipe.base.recipe import Recipe
from nightpipe.base.step import Step, unit_of

HEAD = """# Settings of nightpipe: all parameters, each with its default, commented out.
# Remove the # before a line to change it. A use with a label has a table of its own: ["CombineFrames[flat]"].
# The object at a place along the slit (arcsec from its centre): "width@slit=3.2" = 4.0
# Last wins: default, recipe, instrument, setup, site, this file, decisions, --set.
"""


def settings_text(recipes: Iterable[Recipe]) -> str:
    """Return the settings file: every step once, under the first recipe that calls it."""
    seen: set[str] = set()
    blocks = [HEAD]
    for recipe in recipes:
        steps = [step for step in recipe.steps if step.name() not in seen]
        seen |= {step.name() for step in steps}
        blocks += [_recipe_text(recipe, steps)]
    return "\n".join(blocks)


def _recipe_text(recipe: Recipe, steps: list[type[Step]]) -> str:
    lines = [f"# ==== recipe {recipe.name}: {recipe.summary}"]
    lines += [f"#      has {name} = {toml_value(value)}" for name, value in recipe.defaults]
    return "\n".join([*lines, *(_step_text(step) for step in steps), ""])


def _step_text(step: type[Step]) -> str:
    lines = [f"\n[{step.name()}]", f"# {step.summary()}"]
    dumped = step().model_dump(mode="json")
    lines += [
        f"# {name} = {toml_value(dumped[name])}    # {described(info)}" for name, info in step.model_fields.items()
    ]
    return "\n".join(lines)


def described(info: FieldInfo) -> str:
    """Return help, unit and range of a parameter on one line."""
    unit, span = unit_of(info), span_of(info)
    return (info.description or "") + (f" [{unit}]" if unit else "") + (f" ({span})" if span else "")


def span_of(info: FieldInfo) -> str:
    """Return the range or the choices of a parameter, or an empty string."""
    if get_origin(info.annotation) is Literal:
        return " | ".join(str(choice) for choice in get_args(info.annotation))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >=", "max_length": "length <="}
    parts = [
        f"{sign} {getattr(item, name)}" for item in info.metadata for name, sign in signs.items() if hasattr(item, name)
    ]
    return ", ".join(parts)
