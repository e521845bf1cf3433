"""One frame to a catalogue: sources, point-spread function, fluxes of all stars, and the light at one place."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def run(table_class, *, small):
    from builders.starfield import field
    from nightpipe.model.wcs import Wcs
    from nightpipe.steps.imaging.detect import Detect
    from nightpipe.steps.imaging.forced import ForcedPhotometry
    from nightpipe.steps.imaging.photometry import Photometer
    from nightpipe.steps.imaging.psf import ModelPsf

    size = 1024 if small else 4096
    frame = field(np.random.default_rng(1), (size // 64) ** 2, (size, size)).frame
    table = table_class(f"a frame of {size} x {size} with {(size // 64) ** 2} stars: raw counts to fluxes")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sources = table.time("nightpipe Detect", lambda: Detect().run(frame), repeat=2)
    psf = table.time("nightpipe ModelPsf", lambda: ModelPsf().run(frame, sources), repeat=2)
    table.time("nightpipe Photometer", lambda: Photometer().run(frame, sources, psf), repeat=2)
    wcs = Wcs((150.0, 2.0), (size / 2, size / 2), ((-1e-4, 0.0), (0.0, 1e-4)))
    table.time("nightpipe ForcedPhotometry", lambda: ForcedPhotometry().run(frame, wcs, psf, None, (150.0, 2.0)))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table.note(f"{len(sources)} sources; peak memory {after / 1e6:.2f} GB (before: {before / 1e6:.2f})")
    table.show()
