"""What `nightpipe instrument new` writes: a description to fill in, every part explained where it stands."""

from __future__ import annotations

import re
from importlib.resources import files

from nightpipe.instruments.registry import instrument, sites


def template(name: str, like: str = "") -> str:
    """Return a description to fill in for the instrument `name`, valid as it stands: a copy of that of `like`."""
    folder = files("nightpipe").joinpath("instruments")
    if not like:
        text = folder.joinpath("new.toml").read_text(encoding="utf-8")
        return text.replace("@NAME@", name).replace("@SITES@", ", ".join(sites()))
    text = folder.joinpath("toml", f"{instrument(like).name}.toml").read_text(encoding="utf-8")
    return re.sub(r'^name = ".*"', f'name = "{name}"', text, count=1)
