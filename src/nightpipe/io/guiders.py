"""Where a spectrograph's field lies on its guider's detector, by date."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files

from nightpipe.base.errors import ReferenceMissingError


@dataclass(frozen=True)
class GuiderEpoch:
    """The pixel (x, y), zero-based on the whole detector, of the field's middle, since a day; `error` [arcsec]."""

    since: date
    pixel: tuple[float, float]
    error: float


def guider_epoch(name: str, mjd: float) -> GuiderEpoch:
    """Return the epoch of the guider of instrument `name` at a time; the first one holds before it, too.

    Raises `ReferenceMissingError` where the instrument has no table.
    """
    day = date(1858, 11, 17) + timedelta(days=int(mjd))
    epochs = _epochs(name)
    return next((one for one in reversed(epochs) if one.since <= day), epochs[0])


@cache
def _epochs(name: str) -> tuple[GuiderEpoch, ...]:
    path = files("nightpipe") / "data" / "guiders" / f"{name}.toml"
    if not path.is_file():
        raise ReferenceMissingError(f"the guider's pixel of {name}", "no table", "add data/guiders/NAME.toml")
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["epochs"]
    return tuple(GuiderEpoch(row["since"], (row["pixel"][0], row["pixel"][1]), row["error"]) for row in rows)
