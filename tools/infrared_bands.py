"""Make the package's table of telluric bands from 1.2 to 2.5 micrometres out of one published transmission.

usage: python tools/infrared_bands.py atm_trans_am1.0.dat

The file (micrometre in vacuum, transmission; 0.5 nm) is Gemini's for Mauna Kea, airmass 1 and 1.0 mm of water, made
with ATRAN (Lord 1992, NASA Technical Memorandum 103957); packages such as pypeit and specreduce carry it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from nightpipe.io import telluric

LOW, HIGH, STEP = 11950.0, 25000.0, 10.0


def main() -> None:
    table = np.loadtxt(Path(sys.argv[1]))
    wave, through = 1e4 * table[:, 0], np.clip(table[:, 1], 1e-3, 1.0)
    centre = np.arange(LOW, HIGH + STEP, STEP)
    edges = np.concatenate([centre - STEP / 2, [centre[-1] + STEP / 2]])
    fine = np.linspace(edges[0], edges[-1], 20 * len(centre) + 1)
    mean = np.interp(fine, wave, through)[:-1].reshape(len(centre), 20).mean(axis=1)
    telluric.write_infrared(Path(telluric.INFRARED), centre, -np.log(mean))


if __name__ == "__main__":
    main()
