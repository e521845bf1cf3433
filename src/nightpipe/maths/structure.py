"""Whether a flattened spectrum shows anything: structure beyond its noise, and how large."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nightpipe.maths.logflux import BINS, Flat, apodise, band
from nightpipe.maths.matching import LENGTH, data_of

BROAD, WHOLE = 30.0, BINS / 10
"""Band passes' ends [cycles over the grid]: of a supernova's broad features, and of all that is compared."""


class Structure(NamedTuple):
    """What stands out of the continuum.

    `share` is its root mean square within the band, noise included, relative to the continuum; `sigma` by how many
    standard deviations chi2 exceeds that of noise, among broad features or all that is compared; `noise` [of the
    continuum] is that of broad features.
    """

    share: float
    sigma: float
    noise: float


def structure(flat: Flat) -> Structure:
    """Return what a flattened spectrum shows, its apodised ends left out.

    Noise is white, so a band holds the share of it that it lets through, and chi2 has that share of the bins as degrees
    of freedom.
    """
    first, last = flat.span
    use = flat.good & (apodise(np.ones(BINS), first, last) > 0.5)
    if not use.any():
        return Structure(0.0, 0.0, 0.0)
    found = [_within(flat, use, cut) for cut in (BROAD, WHOLE)]
    return Structure(found[1][0], max(found[0][1], found[1][1]), found[0][2])


def _within(flat: Flat, use: np.ndarray, cut: float) -> tuple[float, float, float]:
    passed, _ = data_of(flat, cut)
    through = float(2.0 * np.sum(band(LENGTH, cut) ** 2) / LENGTH)
    variance = through * flat.error[use] ** 2
    chi2 = float(np.mean(passed[use] ** 2 / np.maximum(variance, 1e-300)))
    freedom = max(through * float(use.sum()), 1.0)
    return float(np.std(passed[use])), (chi2 - 1.0) * float(np.sqrt(freedom / 2.0)), float(np.sqrt(np.median(variance)))
