"""A small bank of made-up supernovae, and spectra of them: the shapes are Gaussians where real ones have lines."""

from __future__ import annotations

import numpy as np

from nightpipe.maths.logflux import BINS, LogSpectrum, flatten, grid_wave
from nightpipe.model.templates import Bank

LINES = {
    "Ia": ((6150, 60, -0.5), (5640, 40, -0.2), (5350, 50, -0.25), (4950, 80, -0.3), (4300, 70, -0.4), (3800, 60, -0.6)),
    "II": ((6563, 90, 0.9), (4820, 50, -0.3), (5100, 50, -0.2), (4250, 50, -0.25), (5800, 60, -0.15), (8500, 120, 0.4)),
    "Galaxy": ((6563, 10, 0.8), (5007, 8, 0.6), (4861, 8, 0.3), (3727, 10, 0.7), (3940, 40, -0.4), (5175, 40, -0.2)),
}
SUBTYPES = {"Ia": ("Ia", "Ia-norm"), "II": ("II", "IIP"), "Galaxy": ("Galaxy", "Gal-E")}


def shape(kind, rng=None):
    """Return flux / continuum (1024,) of a kind in the rest frame; `rng` makes it another object."""
    wave, flux = grid_wave(), np.ones(BINS)
    for centre, width, depth in LINES[kind]:
        vary = (0.0, 1.0, 1.0) if rng is None else (rng.normal(0, 8), rng.uniform(0.85, 1.15), rng.uniform(0.75, 1.25))
        flux += depth * vary[2] * np.exp(-0.5 * ((wave - centre - vary[0]) / (width * vary[1])) ** 2)
    return flux


def small_bank(objects=4, *, level=False):
    rng = np.random.default_rng(5)
    rows = [(kind, f"{kind.lower()}{n}", shape(kind, rng)) for kind in LINES for n in range(objects)]
    spectra = [LogSpectrum(flux, np.full(BINS, 1e-6), np.ones(BINS, bool)) for *_, flux in rows]
    flats = [flatten(one) for one in spectra]
    return Bank(
        np.array([flat.value for flat in flats], dtype=np.float32),
        np.tile(np.array([[0, BINS]]), (len(rows), 1)),
        tuple(name for _, name, _ in rows),
        tuple(SUBTYPES[kind][0] for kind, *_ in rows),
        tuple(SUBTYPES[kind][1] for kind, *_ in rows),
        np.linspace(-5.0, 20.0, len(rows)),
        ("made up",) * len(rows),
        np.array([flat.level for flat in flats], dtype=np.float32) if level else None,
    )


def seen(kind, z, snr=30.0, seed=3, *, low=3700.0, high=9200.0, step=4.0):
    """Return wavelength, flux and error of an object of a kind at redshift `z`, on a sloping continuum."""
    rng = np.random.default_rng(seed)
    wave = np.arange(low, high, step)
    flux = np.interp(wave / (1 + z), grid_wave(), shape(kind, rng)) * (wave / 6000.0) ** -1.2 * 1e-15
    error = np.full_like(flux, 1e-15 / snr)
    return wave, flux + error * rng.normal(size=len(wave)), error
