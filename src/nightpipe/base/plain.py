"""Frozen dataclasses of facts to JSON and back: what crosses processes and enters keys."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

from nightpipe.base.errors import StoreError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return `value` made of dicts, lists, strings, numbers, booleans and None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise StoreError("a plain fact (text, number, list, dataclass)", type(value).__name__, "keep arrays out of facts")


def from_plain(kind: type[T], value: Any) -> T:
    """Return the `kind` that `to_plain` took apart; tuples, enums and nested dataclasses are restored."""
    return typing.cast("T", _restore(kind, value))


def canonical(value: Any) -> str:
    """Return the one JSON text of a plain value: sorted, without blanks, the input of every hash."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it; no value is the text ``none``."""
    if value is None:
        return '"none"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(value)


@lru_cache(maxsize=64)
def _fields(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _restore(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _fields(kind)
        return kind(**{name: _restore(hints[name], item) for name, item in value.items() if name in hints})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _restore_union(arguments, value)
    if origin is tuple:
        return _restore_tuple(arguments, value)
    if origin is dict:
        return {key: _restore(arguments[1], item) for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    return float(value) if kind is float else value


def _restore_union(arguments: tuple[Any, ...], value: Any) -> Any:
    if value is None:
        return None
    kinds = [kind for kind in arguments if kind is not type(None)]
    return _restore(kinds[0], value) if len(kinds) == 1 else value


def _restore_tuple(arguments: tuple[Any, ...], value: Any) -> Any:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_restore(arguments[0], item) for item in value)
    return tuple(_restore(kind, item) for kind, item in zip(arguments, value, strict=True))
