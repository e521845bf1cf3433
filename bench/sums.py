"""Optimal extraction of one long-slit frame."""

from __future__ import annotations

import numpy as np

from nightpipe.kernels.sums import box_sum, optimal_plain, optimal_sum


def run(table_class, *, small):
    nx = 1024 if small else 4096
    rng = np.random.default_rng(1)
    y = np.arange(200)[:, None] - 100 - np.arange(nx) / 400
    profile = np.exp(-0.5 * (y / 3) ** 2)
    profile /= profile.sum(axis=0)
    data = rng.poisson(2000 * profile + 50) - 50 + rng.normal(0, 5, (200, nx))
    data[rng.random(data.shape) < 0.001] += 1000
    var, good = np.full(data.shape, 75.0), np.ones(data.shape, dtype=bool)
    data, var, profile = (part.astype(np.float32) for part in (data, var, profile))
    table = table_class(f"optimal extraction with rejection, 200 x {nx}")
    ours = table.time("nightpipe optimal_sum", lambda: optimal_sum(data, var, good, profile, photon=1.0))
    pull = (ours.flux - 2000) / np.sqrt(ours.var)
    table.note(f"pulls {pull.mean():+.3f} +- {pull.std():.3f}")
    table.time("nightpipe box_sum", lambda: box_sum(data, var, good, 85.0, 125.0))
    table.time("plain numpy, column by column", lambda: optimal_plain(data, var, good, profile, photon=1.0), repeat=1)
    table.time("specreduce HorneExtract", lambda: _specreduce(data, var), "no rejection, fits its own profile",
               needs="specreduce", repeat=1)  # fmt: skip
    table.show()


def _specreduce(data, var):
    from astropy import units
    from astropy.nddata import NDData, VarianceUncertainty
    from specreduce.extract import HorneExtract
    from specreduce.tracing import ArrayTrace

    image = NDData(
        data * units.electron, uncertainty=VarianceUncertainty(var + np.abs(data)), mask=np.zeros(data.shape, bool)
    )
    return HorneExtract(image, ArrayTrace(image, 100 + np.arange(data.shape[1]) / 400))().flux
