"""Caveats: what a user must know about a product that was made all the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Caveat:
    """A warning that stays with a product and all that descends from it.

    `code` is stable and dotted (``flat.missing``), for programs; `text` is one sentence for people.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


def merged(*groups: Iterable[Caveat]) -> tuple[Caveat, ...]:
    """Return all caveats once each, in the order in which they first arose."""
    return tuple(dict.fromkeys(caveat for group in groups for caveat in group))
