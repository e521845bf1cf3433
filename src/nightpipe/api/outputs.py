"""What figures are made of: the stored outputs of finished runs, and drawings that are made only when they are due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightpipe.engine.execute import Outcome
from nightpipe.engine.store import Store
from nightpipe.io import codec

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure to be: its title, where it goes (without ending), the key of what it shows, and how to draw it."""

    title: str
    path: Path
    key: str
    draw: Callable[[], Figure]


class Outputs:
    """Loads the outputs of a finished run by name."""

    def __init__(self, store: Store, outcome: Outcome) -> None:
        self._store = store
        self._outcome = outcome
        self.key = outcome.key

    def all(self, name: str) -> tuple[Any, ...]:
        """Return all members of an output."""
        return tuple(codec.load(path) for path in self._store.files(self.key, name, self._outcome.record))

    def one(self, name: str) -> Any:
        """Return a single output."""
        return self.all(name)[0]
