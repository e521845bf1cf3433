"""What `nightpipe instrument new` writes: a description to fill in, every part explained where it stands."""

from __future__ import annotations

from importlib.resources import files

from nightpipe.instruments.registry import sites


def template(name: str) -> str:
    """Return a description to fill in for the instrument `name`; it is valid as it stands."""
    text = files("nightpipe").joinpath("instruments", "new.toml").read_text(encoding="utf-8")
    return text.replace("@NAME@", name).replace("@SITES@", ", ".join(sites()))
