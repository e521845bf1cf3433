"""A step is its parameters: a frozen model with one method, `run`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from nightpipe.base.errors import ConfigError


class Step(BaseModel):
    """One change of the data for a scientific reason.

    The fields are the parameters. `version` rises whenever the same parameters would give other numbers,
    also when only `maths` or `kernels` beneath changed. A subclass defines ``run(...)`` with named model
    arguments and returns a model; it opens no file, draws nothing and keeps no state. What a user must know
    about the result goes into the returned model's `caveats`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    version: ClassVar[int] = 1

    @classmethod
    def name(cls) -> str:
        """Return the name by which users set parameters: ``Name.parameter=value``."""
        return cls.__name__

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the step's docstring."""
        return (cls.__doc__ or "").strip().split("\n")[0]


def parameter(default: Any, help: str, *, unit: str = "", **constraints: Any) -> Any:  # noqa: A002
    """Declare a step's parameter: default, one line of help, unit, and pydantic's constraints (ge, le, ...)."""
    return Field(default, description=help, json_schema_extra={"unit": unit}, **constraints)


def unit_of(field: FieldInfo) -> str:
    """Return the unit that `parameter` was given, or an empty string."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def default_of(field: FieldInfo) -> Any:
    """Return a parameter's default; steps have no required parameters."""
    if field.default is PydanticUndefined:
        raise ConfigError("every step parameter needs a default", repr(field), "use parameter(default, help)")
    return field.default
