"""Compiled loops over pixels; each module has one entry per kernel and a plain-numpy twin as its oracle.

Nothing here imports numba: that happens when a kernel module is first used.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path

MODULES = (
    "asterisms",
    "chorus",
    "combine",
    "cosmics",
    "evidence",
    "fits",
    "hexlight",
    "lenslets",
    "linefield",
    "meshes",
    "moments",
    "psf",
    "resample",
    "spaxels",
    "splines",
    "stacking",
    "stamps",
    "sums",
    "warp",
)
"""The modules that hold compiled functions; each has a `rehearse` that calls all of them on a few pixels."""


def warm() -> dict[str, float]:
    """Compile every kernel, or load it from the cache, and return the seconds that each module took."""
    return {name: ready(name) for name in MODULES}


def ready(name: str) -> float:
    """Compile the kernels of one module, or load them from the cache, and return the seconds that it took."""
    start = time.perf_counter()
    importlib.import_module(f"nightpipe.kernels.{name}").rehearse()
    return time.perf_counter() - start


def size(name: str) -> int:
    """Return the bytes of a module's source: what takes longest to compile is written longest, more or less."""
    return Path(__file__).with_name(f"{name}.py").stat().st_size
