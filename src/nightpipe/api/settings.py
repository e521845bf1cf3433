"""Settings as text: the settings file in TOML, and ``Step.parameter=value`` on the command line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nightpipe.base.errors import ConfigError
from nightpipe.engine.config import Layer

PLACE = r"@slit=(?P<{}>[-+]?\d+(?:\.\d*)?)"
ASSIGNMENT = re.compile(rf"^(?P<name>[^=@]+)(?:{PLACE.format('place')})?=(?P<value>.*?)(?:{PLACE.format('after')})?$")


def read_settings(path: str | Path) -> Layer:
    """Read a settings file as a layer; raises ConfigError."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "a readable settings file", f"{path}: {error.strerror}", "`nightpipe init` writes one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "a settings file in TOML", f"{path}: {error}", "compare with what `nightpipe init` writes"
        ) from error
    return Layer(f"settings {Path(path).name}", flattened(tables, str(path)))


def flattened(tables: dict[str, Any], where: str) -> dict[str, Any]:
    """Return ``{"Step.parameter": value}`` from TOML tables; raises ConfigError for a value outside a table."""
    flat: dict[str, Any] = {}
    for step, values in tables.items():
        if "." in step.split("]")[-1] and not isinstance(values, dict):
            flat[step] = values
            continue
        if not isinstance(values, dict):
            raise ConfigError(
                "tables named after steps", f"{step} = {values!r} in {where}", f"write [Step] above {step}"
            )
        flat |= {f"{step}.{name}": value for name, value in values.items()}
    return flat


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return name and value of ``Step.parameter=value``; a value that is not TOML is text; raises ConfigError.

    The place of an object, ``@slit=3.2``, may follow the name or the value.
    """
    match = ASSIGNMENT.match(text)
    if match is None:
        raise ConfigError("Step.parameter=value", text, "write for example Cosmics.sigma_clip=5")
    place = match["place"] or match["after"]
    return match["name"].strip() + (f"@slit={place}" if place else ""), parse_value(match["value"])


def parse_value(text: str) -> Any:
    """Return the TOML value that `text` is, else the text itself."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def set_layer(assignments: Iterable[str], origin: str = "command line") -> Layer:
    """Return the layer of all ``--set`` options."""
    return Layer(origin, dict(parse_assignment(text) for text in assignments))
