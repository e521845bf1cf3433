"""Which transients of a bank look most like a galaxy or a star of it: the eye tells hosts from lines of their own.

usage: python bench/classifier_bank.py BANK.npb [most]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from nightpipe.io.banks import read_bank

OTHERS = ("Galaxy", "Star", "AGN")
LAGS = 30
"""Bins of shift, 0.04 in ln(1 + z): a star at z = 0 in a template at rest."""
LEAST = 300
"""Bins that must overlap."""
FLOOR = 0.65


def likeness(flat: Any, other: Any, lag: int) -> Any:
    """Return the correlation of each row with another template moved `lag` bins, where both have data."""
    moved = np.zeros_like(other)
    moved[max(lag, 0) : len(other) + min(lag, 0)] = other[max(-lag, 0) : len(other) - max(lag, 0)]
    both = flat**2 @ (moved != 0.0), (flat != 0.0) @ moved**2
    shared = (flat != 0.0).astype(np.float32) @ (moved != 0.0)
    return np.where(shared > LEAST, flat @ moved / np.sqrt(np.maximum(both[0] * both[1], 1e-9)), 0.0)


def main() -> None:
    bank = read_bank(Path(sys.argv[1]))
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    kinds, flat = np.array(bank.kinds), np.asarray(bank.flat, np.float32)
    rows = np.flatnonzero(~np.isin(kinds, OTHERS))
    best, who, moved = np.zeros(len(rows)), np.zeros(len(rows), int), np.zeros(len(rows), int)
    for other in np.flatnonzero(np.isin(kinds, OTHERS[:2])):
        for lag in range(-LAGS, LAGS + 1):
            found = likeness(flat[rows], flat[other], lag)
            better = found > best
            best[better], who[better], moved[better] = found[better], other, lag
    for k in np.argsort(-best)[:most]:
        if best[k] < FLOOR:
            break
        row = rows[k]
        print(
            f"{bank.objects[row]:14} {bank.subtypes[row]:10} {bank.phases[row]:8.1f} d  r {best[k]:.2f} "
            f"with {bank.objects[who[k]]} moved {moved[k]:+d} bins"
        )


if __name__ == "__main__":
    main()
