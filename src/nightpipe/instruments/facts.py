"""Reading a header by an instrument's map: cards in, facts out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nightpipe.base.errors import MissingCardError
from nightpipe.instruments.hooks import HOOKS
from nightpipe.instruments.match import matches
from nightpipe.instruments.spec import Card, InstrumentSpec
from nightpipe.model.exposure import Header, Scalar

_NOTHING = {"", "n/a", "none", "null", "undefined", "unknown", "nan"}


def present(value: Scalar | None) -> bool:
    """Tell whether a card says anything: not absent, empty, ``N/A`` and the like."""
    return value is not None and str(value).strip().casefold() not in _NOTHING


class Facts:
    """The headers of one file (primary first), read by the map of an instrument.

    Upper-case names are cards, lower-case names facts; `lamps` is the lit lamps joined by ``+``, in alphabetic order,
    `file` the name of the file.
    """

    def __init__(self, spec: InstrumentSpec, headers: Sequence[Header], path: str = "") -> None:
        self.spec = spec
        self.headers = tuple(headers)
        self.path = path

    def __call__(self, name: str) -> Scalar | None:
        """Return a card or a fact by name, None where it is absent."""
        if name == "lamps":
            return "+".join(self.lamps)
        if name == "file":
            return self.path.partition("#")[0].rsplit("/", 1)[-1]
        return self.fact(name) if name in self.spec.cards else self.card(name)

    def card(self, name: str, extension: int | str | None = None) -> Scalar | None:
        """Return a card of the given HDU, or of the first HDU that has it."""
        for number, header in enumerate(self.headers):
            if extension in (None, number, header.get("EXTNAME")) and name in header:
                return header[name]
        return None

    def fact(self, name: str) -> Scalar | None:
        """Return a fact: the first entry of the map that applies and has a value."""
        for entry in self.spec.cards.get(name, ()):  # type: ignore[call-overload]
            if matches(entry.when, self.card) and (value := self._read(entry)) is not None:
                return value
        return None

    @property
    def lamps(self) -> tuple[str, ...]:
        """Return the names of the lamps that shone."""
        lit = (lamp.name for lamp in self.spec.lamps if any(matches(on, self.card) for on in lamp.on))
        return tuple(sorted(lit))

    def text(self, name: str) -> str:
        """Return a fact as text without outer blanks, empty where it is absent."""
        value = self.fact(name)
        return "" if value is None else str(value).strip()

    def need(self, name: str) -> Scalar:
        """Return a fact that the reduction cannot do without.

        Raises `MissingCardError` naming the cards, the file and what to do.
        """
        value = self.fact(name)
        if value is None:
            raise self.missing(name)
        return value

    def missing(self, name: str, found: str = "") -> MissingCardError:
        """Return the error for a fact that is absent or cannot be read."""
        known = name in self.spec.cards
        wanted = f"the {name}, card {self.cards_of(name)}," if known else f"card {name}"
        return MissingCardError(
            f"{wanted} in {self.path or 'the header'}",
            found or "no such card with a value",
            f"write the card into a copy of the file, or drop the frame; `nightpipe instrument check {self.path}` "
            "shows what else is missing",
        )

    def cards_of(self, name: str) -> str:
        """Return the cards that a fact may be read from, for messages."""
        entries = self.spec.cards.get(name, ())  # type: ignore[call-overload]
        return " or ".join(card for entry in entries for card in entry.card) or name

    def _read(self, entry: Card) -> Scalar | None:
        if entry.hook:
            return HOOKS[entry.hook](self.card)
        for name in entry.card:
            value = self.card(name, entry.extension)
            if present(value) and not _skipped(entry, value):
                return _translated(entry, value)
        return entry.default


def _skipped(entry: Card, value: Scalar | None) -> bool:
    return bool(entry.skip) and re.search(entry.skip, str(value).strip(), re.IGNORECASE) is not None


def _translated(entry: Card, value: Scalar | None) -> Scalar | None:
    for pattern, replacement in entry.translate.items():
        found = re.search(pattern, str(value).strip(), re.IGNORECASE)
        if found is not None:
            return found.expand(replacement)
    return value
