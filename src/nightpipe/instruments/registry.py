"""The instruments that nightpipe knows, and which of them took a frame."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from nightpipe.base.errors import ConfigError, UnknownInstrumentError
from nightpipe.instruments.match import matches
from nightpipe.instruments.spec import InstrumentSpec
from nightpipe.model.exposure import Header, Scalar, Site


def parse(text: str, source: str) -> InstrumentSpec:
    """Return the description that a TOML text holds; ConfigError names `source` and the first thing wrong."""
    try:
        return InstrumentSpec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"an instrument description in TOML: {source}", str(error), "mend the syntax") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        found = f"{first['msg']} at {place} ({error.error_count()} in all)"
        raise ConfigError(f"a valid instrument description: {source}", found, "mend that entry") from error


@cache
def all_instruments() -> tuple[InstrumentSpec, ...]:
    """Return all descriptions by name: the packaged ones, and those in the folder ``NIGHTPIPE_INSTRUMENTS``."""
    folder = files("nightpipe").joinpath("instruments", "toml")
    texts = {
        entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".toml")
    }
    if own := os.environ.get("NIGHTPIPE_INSTRUMENTS"):
        texts |= {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(own).glob("*.toml"))}
    return tuple(parse(text, name) for name, text in sorted(texts.items()))


def instrument(name: str) -> InstrumentSpec:
    """Return the description called `name`; ConfigError lists those there are."""
    for spec in all_instruments():
        if spec.name.casefold() == name.casefold():
            return spec
    known = ", ".join(spec.name for spec in all_instruments())
    raise ConfigError("the name of an instrument", name, f"one of {known}")


def asked_for(name: str) -> InstrumentSpec:
    """Return the description that a user names: one that is known, or a TOML file; raises ConfigError."""
    if not name.endswith(".toml"):
        return instrument(name)
    try:
        return parse(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("an instrument description", f"{name}: {error}", "mind the spelling") from error


def recognise(headers: Sequence[Header], path: str = "") -> InstrumentSpec:
    """Return the instrument whose recognition rules fit the headers of one file.

    Raises `UnknownInstrumentError` when none does.
    """
    lookup = _lookup(headers)
    for spec in all_instruments():
        if any(matches(rule, lookup.get) for rule in spec.recognise):
            return spec
    words = {name: lookup[name] for name in ("INSTRUME", "TELESCOP", "FPA", "VERSION", "DETECTOR") if name in lookup}
    raise UnknownInstrumentError(
        f"a frame of a known instrument ({', '.join(spec.name for spec in all_instruments())}): {path}",
        ", ".join(f"{name}={value}" for name, value in words.items()) or "no card that names an instrument",
        "leave the file out, or describe the instrument: `nightpipe instrument new`",
    )


def _lookup(headers: Sequence[Header]) -> dict[str, Scalar]:
    merged: dict[str, Scalar] = {}
    for header in reversed(headers):
        merged |= header
    return merged


@cache
def sites() -> dict[str, Site]:
    """Return the packaged sites by key."""
    text = files("nightpipe").joinpath("data", "sites.toml").read_text(encoding="utf-8")
    return {key: Site(name=key, **place) for key, place in tomllib.loads(text)["sites"].items()}


def site(name: str) -> Site:
    """Return a site by key; ConfigError lists those there are."""
    if name not in sites():
        raise ConfigError("the name of a site", name, f"one of {', '.join(sites())}")
    return sites()[name]
