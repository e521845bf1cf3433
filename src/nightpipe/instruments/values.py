"""How headers write angles, times, binnings and sections, and what they mean."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_SECTION = re.compile(r"^\s*\[?\s*(-?\d*)\s*:\s*(-?\d*)\s*,\s*(-?\d*)\s*:\s*(-?\d*)\s*\]?\s*$")
_BY_DAY = re.compile(r"^\s*(\d{4}:\d{1,3}):(\d\d:\d\d:\d\d(?:\.\d{1,6})?)")
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)


def number(text: object) -> float:
    """Return the first number in a text (``42.14 mm`` is read); ValueError without one."""
    if isinstance(text, (int, float)):
        return float(text)
    found = _NUMBER.search(str(text))
    if found is None:
        raise ValueError(f"no number in {text!r}")
    return float(found.group())


def sexagesimal(text: object) -> float:
    """Return ``-00:03:24.4``, ``21 51 10.36`` or ``27d17m00s`` in units of its first part.

    A text without separators is taken as a plain number. The sign of ``-00`` counts.
    """
    parts = re.findall(r"\d+(?:\.\d*)?", str(text))
    if not parts or len(parts) > 3:
        raise ValueError(f"not an angle: {text!r}")
    value = sum(float(part) / 60.0**i for i, part in enumerate(parts))
    return -value if str(text).strip().startswith("-") else value


def is_sexagesimal(text: object) -> bool:
    """Tell whether a text has several parts: 12:30:00, not 187.5."""
    return isinstance(text, str) and len(re.findall(r"\d+(?:\.\d*)?", text)) > 1


def angle(text: object, unit: str, *, hours: bool) -> float:
    """Return degrees; ``sexagesimal`` and texts with several parts are in hours where `hours` says so."""
    parts = unit == "sexagesimal" or (unit != "deg" and is_sexagesimal(text))
    value = sexagesimal(text) if parts or is_sexagesimal(text) else number(text)
    return value * 15.0 if (parts and hours) or unit == "hours" else value


def moment(text: object) -> datetime:
    """Return a UTC moment from ISO 8601, with ``T`` or a blank, with or without a zone; ValueError if it is no time.

    ``2019:168:05:10:03.2`` (year, day of the year, time) is understood too.
    """
    if found := _BY_DAY.match(str(text)):
        text = f"{datetime.strptime(found[1], '%Y:%j').date()}T{found[2]}"  # noqa: DTZ007 - a date has no zone
    value = datetime.fromisoformat(str(text).strip().replace("/", "-"))
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def mjd(when: datetime) -> float:
    """Return the Modified Julian Date (UTC)."""
    return (when - _MJD_EPOCH).total_seconds() / 86400.0


def pair(text: object) -> tuple[int, int]:
    """Return two whole numbers from ``1 2``, ``1x2`` or ``1,2``; ValueError otherwise."""
    parts = re.findall(r"\d+", str(text))
    if len(parts) != 2:
        raise ValueError(f"not a pair of numbers: {text!r}")
    return int(parts[0]), int(parts[1])


def corners(text: object) -> tuple[int | None, int | None, int | None, int | None]:
    """Return (x1, x2, y1, y2) of ``[x1:x2,y1:y2]``, None where the section leaves an end open."""
    found = _SECTION.match(str(text))
    if found is None:
        raise ValueError(f"not a section: {text!r}")
    x1, x2, y1, y2 = (int(part) if part else None for part in found.groups())
    return x1, x2, y1, y2
