"""Make the coarse table of telluric bands in the package from the reference set (`nightpipe data get telluric`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nightpipe.io import telluric
from nightpipe.maths.telluric import AIR_SCALE, k_distribution, thinned

HEIGHT = 2000.0
WIDTH = 2.5
SHARES = np.array([0.24, 0.24, 0.2, 0.16, 0.1, 0.06])

if __name__ == "__main__":
    lines = thinned(telluric.optical_depth(HEIGHT), 6200.0, 11950.0)
    telluric.write_bands(Path(telluric.BANDS), k_distribution(lines, WIDTH, SHARES), HEIGHT, AIR_SCALE)
