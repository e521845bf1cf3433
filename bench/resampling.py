"""Flux-conserving rebinning of a spectrum."""

from __future__ import annotations

import numpy as np

from nightpipe.kernels.resample import rebin


def run(table_class, *, small):
    n = 4096
    edges = np.linspace(3000, 9000, n + 1) + np.sin(np.arange(n + 1) / 500)
    new = np.geomspace(3050, 8950, n)
    rng = np.random.default_rng(1)
    value, var = rng.normal(100, 3, n), np.full(n, 9.0)
    repeats = 2 if small else 10
    table = table_class(f"{repeats} spectra of {n} bins onto a logarithmic grid")

    def ours():
        return [rebin(edges, value, var, None, new, density=True) for _ in range(repeats)]

    def theirs():
        return [_specutils(edges, value, var, new) for _ in range(repeats)]

    here = table.time("nightpipe rebin, covariance too", ours)[0]
    peer = table.time("specutils FluxConservingResampler", theirs, needs="specutils", repeat=1)
    if peer is not None:
        table.note(f"largest difference {np.abs(peer[0] - here.value)[5:-5].max():.1e}")
    table.show()


def _specutils(edges, value, var, new):
    from astropy import units
    from astropy.nddata import VarianceUncertainty
    from specutils import SpectralAxis, Spectrum
    from specutils.manipulation import FluxConservingResampler

    angstrom = units.Angstrom
    axis = SpectralAxis(0.5 * (edges[1:] + edges[:-1]) * angstrom, bin_specification="centers")
    spectrum = Spectrum(flux=value * units.Jy, spectral_axis=axis, uncertainty=VarianceUncertainty(var))
    return FluxConservingResampler()(spectrum, 0.5 * (new[1:] + new[:-1]) * angstrom).flux.value
