"""Options of simulated nights: checked in one way, with one message for what cannot be used."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from nightpipe.base.errors import ConfigError

Options = TypeVar("Options", bound=BaseModel)


def valid(kind: type[Options], options: dict[str, Any]) -> Options:
    """Return the options as a model of their `kind`, or raise `ConfigError` naming the first that cannot be used."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(kind.model_fields)
        raise ConfigError(f"an option of the simulator: {name}", first["msg"], f"one of {known}") from error


def listed(value: object) -> object:
    """Return several words that a command line gave in one, apart."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
