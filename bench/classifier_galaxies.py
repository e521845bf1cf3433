"""Make the package's galaxies: mixtures of populations as real galaxies have them, gathered by likeness.

usage: python bench/classifier_galaxies.py FOLDER OUT.npb       (FOLDER: the wheels of classifier_collections.py)

The SNID banks hold eleven galaxies, whose continua are gone. These are sums of the five spectra of k-correct in the
shares, and behind the dust, that were fitted to some 200 galaxies beside supernovae; of each group of like ones
(Lloyd's algorithm on the flattened spectra) the mean. So none shows the noise of a real one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from classifier_collections import dusty, galaxies, populations
from numpy.typing import NDArray

from nightpipe.io.banks import OWN, write_bank
from nightpipe.maths.logflux import BINS, LogSpectrum, flatten, grid_wave
from nightpipe.model.templates import Bank

FloatArray = NDArray[np.float64]
GROUPS = 14
ROUNDS = 50
BLUE, RED = 3000.0, 9300.0
"""Range [Angstrom]: few of the galaxies were seen below it, and beyond it the populations are too coarse for lines."""


def gathered(points: FloatArray, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the group of each point (n, d): Lloyd's algorithm from centres far from each other."""
    centres = [points[int(rng.integers(len(points)))]]
    while len(centres) < GROUPS:
        away = np.min([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        centres.append(points[int(rng.choice(len(points), p=away / away.sum()))])
    own = np.zeros(len(points), dtype=np.intp)
    for _ in range(ROUNDS):
        own = np.argmin([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        centres = [points[own == k].mean(axis=0) if (own == k).any() else centres[k] for k in range(GROUPS)]
    return own


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    parts = dusty(populations(folder))
    wave = grid_wave()
    inside = (wave > BLUE) & (wave < RED)
    middle = inside & (wave > 4000.0) & (wave < 7000.0)
    light = np.array([found.parts @ parts for _, found in galaxies(folder)])
    light /= np.median(light[:, middle], axis=1, keepdims=True)
    flats = [flatten(LogSpectrum(one, np.full(BINS, 1e-6), inside)) for one in light]
    own = gathered(np.arcsinh([flat.value[inside] for flat in flats]), np.random.default_rng(3))
    mean = np.array([light[own == k].mean(axis=0) for k in np.unique(own)])
    breaks = mean[:, (wave > 4000) & (wave < 4100)].mean(1) / mean[:, (wave > 3850) & (wave < 3950)].mean(1)
    mean = mean[np.argsort(-breaks)]
    flats = [flatten(LogSpectrum(one, np.full(BINS, 1e-6), inside)) for one in mean]
    names = tuple(f"galaxy-{k + 1:02d}" for k in range(len(mean)))
    bank = Bank(
        np.array([np.where(inside, flat.value, 0.0) for flat in flats], np.float32),
        np.array([(int(np.flatnonzero(inside)[0]), int(np.flatnonzero(inside)[-1]) + 1)] * len(mean)),
        names,
        ("Galaxy",) * len(mean),
        ("Galaxy",) * len(mean),
        np.full(len(mean), np.nan),
        (OWN,) * len(mean),
        np.array([np.where(inside, flat.level, np.nan) for flat in flats], np.float32),
    )
    write_bank(out, bank)
    print(len(light), "galaxies in groups of", np.bincount(own).tolist(), "breaks", np.round(np.sort(breaks)[::-1], 2))


if __name__ == "__main__":
    main()
