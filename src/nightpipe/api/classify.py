"""Classification for people: `classify(files)` gives what each spectrum shows, the bank made ready once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightpipe.base.errors import NightpipeError
from nightpipe.io.anyspectrum import read_all
from nightpipe.io.banks import not_themselves, whole_bank
from nightpipe.io.classifier import ranker
from nightpipe.model.classification import Classification, Observed
from nightpipe.steps.post.classify import Classify
from nightpipe.steps.post.evidence import ReadyBank, ready

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ready_bank(banks: Sequence[Path] = (), without: tuple[str, ...] = ()) -> ReadyBank:
    """Return the installed banks, or those named, and our galaxies, ready for many spectra.

    Objects named in `without` never match.
    Raises `ReferenceMissingError` whose remedy is ``nightpipe data get templates``.
    """
    bank = whole_bank(banks)
    return ready(bank, without, not_themselves(bank))


def classify(
    files: Iterable[str | Path], *, banks: Sequence[Path] = (), bank: ReadyBank | None = None, **parameters: Any
) -> Iterator[tuple[Path, Classification | NightpipeError]]:
    """Give each file with the classification of each of its spectra, or the error that tells why there is none.

    `parameters` are those of the step `Classify`. Raises `ReferenceMissingError` where there is no bank.
    """
    step = Classify(**parameters)
    own = bank or ready_bank(banks)
    for file in files:
        path = Path(file)
        try:
            spectra: tuple[Observed, ...] = read_all(path)
        except NightpipeError as error:
            yield path, error
            continue
        for spectrum in spectra:
            try:
                yield path, step.run(spectrum, own, ranker())
            except NightpipeError as error:
                yield path, error


def figure(found: Classification) -> Figure:
    """Return the figure of a classification."""
    from nightpipe.plots.classify import classification

    return classification(found)
