"""The conditions of an instrument description: equality, any-of, /regex/, range, and nothing more."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from nightpipe.model.exposure import Scalar


class Range(BaseModel):
    """A half-open range: ``min <= value < max``; either end may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    min: float = float("-inf")
    max: float = float("inf")

    def holds(self, value: Scalar) -> bool:
        """Tell whether a number, or a text that is one, lies in the range."""
        try:
            return self.min <= float(value) < self.max
        except ValueError:
            return False


def _compiles(value: Scalar) -> Scalar:
    if is_regex(value):
        re.compile(str(value)[1:-1])
    return value


def is_regex(value: object) -> bool:
    """Tell whether a condition is written as ``/regex/``."""
    return isinstance(value, str) and len(value) > 1 and value.startswith("/") and value.endswith("/")


One = Annotated[bool | int | float | str, AfterValidator(_compiles)]
Condition = Range | One | tuple[One, ...]
When = dict[str, Condition]
Lookup = Callable[[str], Scalar | None]


def holds(condition: Condition, value: Scalar) -> bool:
    """Tell whether `value` fulfils one condition; texts are compared without case and outer blanks."""
    if isinstance(condition, Range):
        return condition.holds(value)
    if isinstance(condition, tuple):
        return any(holds(one, value) for one in condition)
    if is_regex(condition):
        return re.search(str(condition)[1:-1], str(value).strip(), re.IGNORECASE) is not None
    return _equal(condition, value)


def _equal(wanted: Scalar, value: Scalar) -> bool:
    if isinstance(wanted, str) or isinstance(value, str):
        return _plain(wanted) == _plain(value)
    return abs(float(wanted) - float(value)) <= 1e-6 * max(1.0, abs(float(wanted)))


def _plain(value: Scalar) -> str:
    return str(value).strip().casefold()


def matches(when: Mapping[str, Condition], lookup: Lookup) -> bool:
    """Tell whether all conditions hold; a card that is absent never fulfils one."""
    return all((value := lookup(key)) is not None and holds(condition, value) for key, condition in when.items())


def lacking(when: Mapping[str, Condition], lookup: Lookup) -> tuple[str, ...]:
    """Return the absent cards for want of which `when` cannot be decided.

    Empty when another condition fails anyway, and when none is fulfilled: then nothing speaks for the rule.
    """
    absent = [key for key in when if lookup(key) is None]
    present = {key: condition for key, condition in when.items() if key not in absent}
    return tuple(absent) if present and matches(present, lookup) else ()
