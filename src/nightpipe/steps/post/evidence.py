"""A spectrum against the bank: evidence by object, kind and redshift, and the candidates that follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.logflux import BINS, Flat, LogSpectrum, cut_of, flatten, scatter, to_log
from nightpipe.maths.matching import F32, I64, Transforms, by_group, column_of, correlate_all, prepare
from nightpipe.maths.narrow import Narrow, emission_columns, narrow_lines
from nightpipe.maths.profiles import APART, Parts, by_phase, likely, of_parts, parts_of, profiles
from nightpipe.maths.ranker import inputs
from nightpipe.model.classification import Observed
from nightpipe.model.templates import KINDS, Bank

FloatArray = NDArray[np.float64]
CALIBRATED, BESIDE = "SNID-SAGE", "k-correct"
"""How the sources begin that the probabilities were calibrated with: the published bank and the package's galaxies.

Other banks' templates are matched, laid over the spectrum and fitted in flux beside them, but a bank that is twice as
large would be twice as sure."""


@dataclass(frozen=True)
class ReadyBank:
    """A bank with its transforms, made once for many spectra.

    `starts`, `kinds` (objects,) are the first row and the kind of each object, `parts` the groups of like phase.
    `counted` (templates,) are those that the probabilities rest on: of the bank that these were calibrated with, where
    it is there; all, where it is not.
    """

    bank: Bank
    transforms: Transforms
    starts: I64
    kinds: I64
    parts: Parts
    counted: NDArray[np.bool_]

    @property
    def calibrated(self) -> bool:
        """Return whether the bank is there that the probabilities were calibrated with."""
        return any(source.startswith(CALIBRATED) for source in self.bank.sources)

    def rows_of(self, kind: int) -> NDArray[np.intp]:
        """Return the rows of a kind."""
        sizes = np.diff([*self.starts, len(self.bank)])
        return np.flatnonzero(np.repeat(self.kinds, sizes) == kind)


def ready(bank: Bank, without: tuple[str, ...] = (), strange: NDArray[np.bool_] | None = None) -> ReadyBank:
    """Return a bank ready for correlation, without the objects named (for tests on those very objects).

    Templates that are `strange` (n,) match nothing either: they show something else than they are called.
    """
    hidden = np.isin(np.char.lower(bank.objects), [name.lower() for name in without])
    if strange is not None:
        hidden |= strange
    flat = np.where(hidden[:, None], np.float32(0.0), np.asarray(bank.flat, dtype=np.float32))
    starts = bank.starts
    names = bank.kinds
    kinds = np.array([KINDS.index(names[row]) for row in starts], dtype=np.int64)
    published = np.array([source.startswith(CALIBRATED) for source in bank.sources])
    beside = np.array([source.startswith(BESIDE) for source in bank.sources])
    counted = published | beside if published.any() else np.ones(len(bank), dtype=bool)
    parts = _parts(bank, starts, kinds, counted)
    return ReadyBank(bank, prepare(flat, bank.spans), starts, kinds, parts, counted)


def _parts(bank: Bank, starts: I64, kinds: I64, counted: NDArray[np.bool_]) -> Parts:
    """Return the groups of the rows that are counted."""
    rows = np.flatnonzero(counted)
    own = counted[starts]
    found = parts_of(np.searchsorted(rows, starts[own]).astype(np.int64), kinds[own], bank.phases[rows])
    return replace(found, order=rows[found.order])


class Evidence(NamedTuple):
    """The spectrum on the grid, flattened; evidence (templates, lags) and by kind (kinds, 2, lags); narrow lines.

    Templates that the probabilities do not rest on are in `rows` only.
    """

    spectrum: LogSpectrum
    flat: Flat
    rows: F32
    profile: F32
    lines: Narrow


def prepared(spectrum: Observed, ranges: tuple[float, float]) -> tuple[LogSpectrum, Flat]:
    """Return the spectrum on the grid and flattened; its noise is what was given, or the scatter where that is more.

    Errors that pipelines state are often too small, and the classifier was trained on noise told from scatter.
    """
    inside = spectrum.good & (spectrum.wave >= ranges[0]) & (spectrum.wave <= ranges[1])
    given = to_log(spectrum.wave, spectrum.flux, spectrum.var if spectrum.measured else None, inside)
    noise = scatter(given.flux, given.good)
    var = np.where(given.good, np.maximum(noise, given.var) if spectrum.measured else noise, 1.0)
    log = LogSpectrum(given.flux, var, given.good, spectrum.measured)
    return log, flatten(log)


def weighed(
    log: LogSpectrum, flat: Flat, bank: ReadyBank, highest: int, prior: FloatArray | None, resolution: float = 0.0
) -> Evidence:
    """Correlate with the whole bank; `prior` (templates,) is added: the log of a prior on each template.

    Below a resolving power of about 90 (0: unknown) what the spectrum cannot show is left out of the band.
    """
    rows = correlate_all(flat, bank.transforms, highest, cut_of(resolution) if resolution > 0 else BINS)
    if prior is not None:
        rows = np.maximum(rows + prior.astype(np.float32)[:, None], np.float32(0.0))
    own = bank.counted[bank.starts]
    profile = profiles(by_group(rows, bank.starts)[own], bank.kinds[own], len(KINDS))
    return Evidence(log, flat, rows, profile, narrow_lines(flat))


def candidates(evidence: Evidence, redshift: float | None, most: int = 12) -> I64:
    """Return the columns of the likely redshifts, or that of the given one."""
    columns = evidence.profile.shape[2]
    if redshift is not None:
        return np.array([min(max(column_of(redshift), 0), columns - 1)], dtype=np.int64)
    return proposed(evidence.profile, evidence.lines, most)


def proposed(profile: F32, lines: Narrow, most: int = 12) -> I64:
    """Return the columns that templates propose, those of narrow emission, and zero: a star looks like many things."""
    found = likely(profile, most)
    for column in (*emission_columns(lines, profile.shape[2]), column_of(0.0)):
        if np.all(np.abs(found[:most] - column) >= APART):
            found = np.append(found, column)
    return found


def ranked(evidence: Evidence, bank: ReadyBank, columns: I64) -> F32:
    """Return the network's inputs (candidates, features) at the candidate redshifts."""
    phased = by_phase(of_parts(evidence.rows, bank.parts, columns), bank.parts, len(KINDS))
    return inputs(evidence.flat, evidence.profile, phased, evidence.lines, columns)
