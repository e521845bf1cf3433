"""From sections in detector pixels to sections of the array that was read."""

from __future__ import annotations

from nightpipe.instruments.values import corners
from nightpipe.model.detector import Section

Window = tuple[int, int, int, int]
"""(x1, x2, y1, y2) in detector pixels, one-based and inclusive."""


def in_array(text: str, shape: tuple[int, int], window: Window, binning: tuple[int, int]) -> Section | None:
    """Return the section of the array with `shape` (ny, nx) that a section in detector pixels covers.

    Only pixels that lie in it altogether count when binned; None when the window leaves nothing of it.
    """
    x1, x2, y1, y2 = corners(text)
    x = _axis(x1, x2, shape[1], window[:2], binning[0])
    y = _axis(y1, y2, shape[0], window[2:], binning[1])
    return (*x, *y) if x[1] > x[0] and y[1] > y[0] else None


def _axis(first: int | None, last: int | None, size: int, window: tuple[int, int], step: int) -> tuple[int, int]:
    origin, end = window
    low = 0 if first is None else -((origin - first) // step)
    high = size if last is None else (min(last, end) + 1 - origin) // step
    return max(low, 0), min(high, size)


def of_array(text: str, shape: tuple[int, int]) -> Section | None:
    """Return a section in pixels of the array itself, one-based; negative numbers count from its end.

    None when it lies outside.
    """
    x1, x2, y1, y2 = corners(text)
    x, y = _ends(x1, x2, shape[1]), _ends(y1, y2, shape[0])
    return (*x, *y) if x[1] > x[0] and y[1] > y[0] else None


def _ends(first: int | None, last: int | None, size: int) -> tuple[int, int]:
    first, last = first or 1, last or size
    low = size + first if first < 0 else first - 1
    high = size + last + 1 if last < 0 else last
    return max(low, 0), min(high, size)


def middle(section: str, window: Window | None, axis: str) -> tuple[float, float]:
    """Return the middle of a light-sensitive section along `axis` [detector pixel]: whole, and within the window."""
    ends = corners(section)[:2] if axis == "x" else corners(section)[2:]
    low, high = ends
    if low is None or high is None:
        raise ValueError(f"`light` must give all four corners, not {section}")
    cut = window if window is not None else (low, high, low, high)
    first, last = (cut[0], cut[1]) if axis == "x" else (cut[2], cut[3])
    return (low + high) / 2.0, (max(low, first) + min(high, last)) / 2.0
