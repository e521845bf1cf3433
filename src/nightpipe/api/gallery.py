"""Draws the figures that are due: several at once where there are many, and one that fails takes no night along."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

from nightpipe.api.outputs import Drawing
from nightpipe.base.log import logger
from nightpipe.engine.local import PRELOAD, cores, quiet_main

EACH = 6
"""So many figures are worth a process of their own."""

Drawings = Callable[[], Iterator[Drawing]]
"""Gives the same drawings in the same order wherever it is called; it travels to other processes."""


class FigureWarning(UserWarning):
    """A figure could not be drawn; everything else stands."""


@dataclass(frozen=True)
class Share:
    """What one process draws: the `numbers` of some of the `drawings`, as PDF too where wanted."""

    drawings: Drawings
    numbers: tuple[int, ...]
    pdf: bool


@dataclass(frozen=True)
class Drawn:
    """What came of it: a sentence for each number that failed, and CPU seconds [s] spent in other processes."""

    failed: Mapping[int, str]
    elsewhere: float = 0.0


def draw_all(drawings: Drawings, numbers: Sequence[int], *, pdf: bool = False, processes: int | None = None) -> Drawn:
    """Draw the drawings of these numbers, in up to `processes` processes (as many as cores unless told).

    What fails is told by a FigureWarning with the figure's name and the cause; raises OSError where nothing can be
    written.
    """
    count = min(cores() if processes is None else processes, len(numbers) // EACH)
    shares = [Share(drawings, tuple(numbers[start::count]), pdf) for start in range(count)] if count > 1 else []
    drawn = _spread(shares) if shares else replace(_draw(Share(drawings, tuple(numbers), pdf)), elsewhere=0.0)
    for words in drawn.failed.values():
        logger("figures").warning("%s", words)
        warnings.warn(words, FigureWarning, stacklevel=2)
    return drawn


def _spread(shares: Sequence[Share]) -> Drawn:
    """Draw each share in a process of its own; where one dies, its share is drawn here."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD, __name__])
    with quiet_main(), ProcessPoolExecutor(len(shares), mp_context=context) as pool:
        futures = [pool.submit(_draw, share) for share in shares]
        parts = [_result(share, future) for share, future in zip(shares, futures, strict=True)]
    failed = {number: words for part in parts for number, words in part.failed.items()}
    return Drawn(failed, sum(part.elsewhere for part in parts))


def _result(share: Share, future: Future[Drawn]) -> Drawn:
    try:
        return future.result()
    except BrokenProcessPool:
        return replace(_draw(share), elsewhere=0.0)


def _draw(share: Share) -> Drawn:
    """Draw a share of the figures in this process."""
    from nightpipe.plots.style import save

    begun, wanted, failed = time.process_time(), set(share.numbers), {}
    for number, drawing in enumerate(share.drawings()):
        if number in wanted:
            try:
                save(drawing.draw(), drawing.path, pdf=share.pdf)
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001 - no figure is worth the report of a night
                failed[number] = f"the figure {drawing.path.name} ({drawing.title}) was not drawn: {error!r}"
    return Drawn(failed, time.process_time() - begun)


def fresh(drawing: Drawing, known: Mapping[str, str], name: str, *, pdf: bool) -> bool:
    """Tell whether a drawing exists already and shows what it should."""
    paths: tuple[Path, ...] = (drawing.path.with_suffix(".png"), *((drawing.path.with_suffix(".pdf"),) * pdf))
    return known.get(name) == drawing.key and all(path.exists() for path in paths)
