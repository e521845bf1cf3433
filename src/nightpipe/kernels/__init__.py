"""Compiled loops over pixels; each module has one entry per kernel and a plain-numpy twin as its oracle.

Nothing here imports numba: that happens when a kernel module is first used.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from nightpipe.kernels.build import cache_folder

READY = ".ready"

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
    "warp",
)
"""The modules that hold compiled functions; each has a `rehearse` that calls all of them on a few pixels."""

USED = {
    "detector": ("combine", "cosmics"),
    "spectra": ("fits", "resample", "splines"),
    "post": ("evidence", "resample"),
    "imaging": ("asterisms", "combine", "cosmics", "meshes", "moments", "psf", "stacking", "warp"),
    "spaxels": ("chorus", "hexlight", "lenslets", "linefield", "resample", "spaxels"),
}
"""Which of them the steps of each package call; a test follows the imports."""


def used(packages: Collection[str]) -> tuple[str, ...]:
    """Return the modules that the steps of some packages (``spectra`` ...) call, in the order of `MODULES`."""
    wanted = {name for package in packages for name in USED[package]}
    return tuple(name for name in MODULES if name in wanted)


def warm(modules: Iterable[str] | None = None) -> dict[str, float]:
    """Compile the kernels of all `modules`, or load them from the cache, and return the seconds that each took."""
    return {name: ready(name) for name in (MODULES if modules is None else modules)}


def ready(name: str) -> float:
    """Compile the kernels of one module, or load them from the cache, and return the seconds that it took.

    A file in the cache then says so: machine code is named by the file that holds the loop, which may be another's.
    """
    start = time.perf_counter()
    importlib.import_module(f"nightpipe.kernels.{name}").rehearse()
    (cache_folder() / f"{name}{READY}").touch()
    return time.perf_counter() - start


def is_ready(name: str) -> bool:
    """Tell whether a module was once compiled for this source and processor."""
    return (cache_folder() / f"{name}{READY}").exists()


def size(name: str) -> int:
    """Return the bytes of a module's source: what takes longest to compile is written longest, more or less."""
    return Path(__file__).with_name(f"{name}.py").stat().st_size
