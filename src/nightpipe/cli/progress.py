"""Progress on the terminal, and the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Told = Callable[[int, int, Any], None]


@contextmanager
def shown(*, silent: bool) -> Iterator[Told | None]:
    """Show a bar while recipes run, on the standard error and only where that is a terminal."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("recognising frames", total=None)

        def told(done: int, total: int, outcome: Any) -> None:
            bar.update(task, completed=done, total=total, description=outcome.node.id[:32])

        yield told


def logging_to(out: Path, *, silent: bool) -> None:
    """Send warnings of the run to the standard error, everything to nightpipe.log in the output folder."""
    from nightpipe.base.log import logger
    from nightpipe.engine.store import writing

    log = logger()
    log.setLevel(logging.INFO)
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(out / "nightpipe.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    log.addHandler(file)
    if not silent:
        screen = logging.StreamHandler(sys.stderr)
        screen.setLevel(logging.WARNING)
        screen.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(screen)
    log.propagate = False
