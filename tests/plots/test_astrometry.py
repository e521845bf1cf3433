"""Figures of plate solutions are drawn from any solution."""

from __future__ import annotations

import numpy as np

from nightpipe.model.sources import Sources
from nightpipe.model.wcs import Alignment, Astrometry, Wcs
from nightpipe.plots import astrometry


def solution(n=40):
    rng = np.random.default_rng(1)
    wcs = Wcs((150.0, 2.0), (99.5, 79.5), ((-1e-4, 0.0), (0.0, 1e-4)))
    x, y = rng.uniform(0, 199, n), rng.uniform(0, 159, n)
    pairs = np.column_stack((x, y, *wcs.to_sky(x, y), rng.normal(0, 0.03, (n, 2))))
    return Astrometry(wcs, "quads", n, (0.03, 0.03), 0.005, "gaia", 2024.5, 12.0, 99.0, pairs)


def test_figures_are_drawn():
    one = solution()
    zero, none = np.zeros(40), (np.zeros(40, np.uint32), np.zeros(40, np.int32))
    sources = Sources(one.pairs[:, 0], one.pairs[:, 1], zero, zero, zero + 1, zero, *none)
    image = np.random.default_rng(2).normal(0, 1, (160, 200)).astype(np.float32)
    shifts = np.array([[0.0, 0.0], [np.nan, np.nan]])
    found = Alignment((one, None), shifts, (0.01, 0.01), (0.02, 0.02), (40, 0), ((1, "no stars"),))
    assert len(astrometry.residuals(one, (160, 200)).axes) == 3
    assert len(astrometry.residuals(solution(0), (160, 200)).axes) == 3
    assert len(astrometry.matches(one, image, sources).axes) == 2
    assert len(astrometry.alignment(found, (160, 200)).axes) == 2
