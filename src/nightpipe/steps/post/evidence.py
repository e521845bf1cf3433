"""A spectrum against the bank: evidence by object, kind and redshift, and the candidates that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.logflux import Flat, LogSpectrum, flatten, scatter, to_log
from nightpipe.maths.matching import F32, I64, LOWEST, Transforms, by_group, correlate_all, lag_of, prepare
from nightpipe.maths.profiles import likely, profiles
from nightpipe.model.classification import Observed
from nightpipe.model.templates import KINDS, Bank

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ReadyBank:
    """A bank with its transforms, made once for many spectra; `objects` (m,) the kind of each object."""

    bank: Bank
    transforms: Transforms
    starts: I64
    kinds: I64

    def rows_of(self, kind: int) -> NDArray[np.intp]:
        """Return the rows of a kind."""
        sizes = np.diff([*self.starts, len(self.bank)])
        return np.flatnonzero(np.repeat(self.kinds, sizes) == kind)


def ready(bank: Bank, without: tuple[str, ...] = ()) -> ReadyBank:
    """Return a bank ready for correlation, without the objects named (for tests on those very objects)."""
    flat = np.asarray(bank.flat, dtype=np.float32)
    if without:
        hidden = np.isin(np.char.lower(bank.objects), [name.lower() for name in without])
        flat = np.where(hidden[:, None], np.float32(0.0), flat)
    starts = bank.starts
    kinds = np.array([KINDS.index(bank.kinds[row]) for row in starts], dtype=np.int64)
    return ReadyBank(bank, prepare(flat, bank.spans), starts, kinds)


class Evidence(NamedTuple):
    """The spectrum on the grid, flattened; evidence (templates, lags) and by kind (kinds, 2, lags)."""

    spectrum: LogSpectrum
    flat: Flat
    rows: F32
    profile: F32


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


def weighed(log: LogSpectrum, flat: Flat, bank: ReadyBank, highest: int, prior: FloatArray | None) -> Evidence:
    """Correlate with the whole bank; `prior` (templates,) is added: the log of a prior on each template."""
    rows = correlate_all(flat, bank.transforms, highest)
    if prior is not None:
        rows = np.maximum(rows + prior.astype(np.float32)[:, None], np.float32(0.0))
    profile = profiles(by_group(rows, bank.starts), bank.kinds, len(KINDS))
    return Evidence(log, flat, rows, profile)


def candidates(evidence: Evidence, redshift: float | None, most: int = 12) -> I64:
    """Return the columns of the likely redshifts, or that of the given one."""
    if redshift is not None:
        column = min(max(lag_of(redshift) - LOWEST, 0), evidence.profile.shape[2] - 1)
        return np.array([column], dtype=np.int64)
    return likely(evidence.profile, most)
