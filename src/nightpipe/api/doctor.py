"""Is this machine fit: versions, cores, memory, disk, kernels, reference sets."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nightpipe
from nightpipe.base.errors import NightpipeError
from nightpipe.engine.local import cores

PACKAGES = {
    "numpy": (2, 0),
    "scipy": (1, 13),
    "numba": (0, 61),
    "astropy": (7, 0),
    "pydantic": (2, 7),
    "SQLAlchemy": (2, 0),
    "matplotlib": (3, 9),
}
PYTHON = ((3, 11), (3, 14))
DISK_GB, MEMORY_GB = 2.0, 2.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `severity` 0 is well, 1 a warning, 2 a fault."""

    what: str
    text: str
    severity: int = 0

    @property
    def mark(self) -> str:
        """Return the severity as a word."""
        return ("ok", "warn", "FAULT")[self.severity]


def examined(out: Path) -> Iterator[Finding]:
    """Look at everything; the last, the kernels, compiles them where that was not done yet (up to half a minute)."""
    inside = PYTHON[0] <= sys.version_info[:2] < PYTHON[1]
    yield Finding("nightpipe", f"{nightpipe.__version__}, {platform.platform()}")
    yield Finding("python", platform.python_version(), 0 if inside else 2)
    yield from (_package(name, least) for name, least in PACKAGES.items())
    yield Finding("cores", f"{cores()} usable, NIGHTPIPE_THREADS={os.environ.get('NIGHTPIPE_THREADS', 'unset')}")
    yield _memory()
    yield _disk(out)
    yield _instruments()
    yield from _data()
    yield _kernels()


def _package(name: str, least: tuple[int, int]) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", 2)
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    wanted = ".".join(map(str, least))
    return Finding(name, version) if numbers >= least else Finding(name, f"{version}, {wanted} or newer is needed", 2)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return Finding("memory", f"{total:.1f} GB", 0 if total >= MEMORY_GB else 1)


def _disk(out: Path) -> Finding:
    folder = next(one for one in (out.absolute(), *out.absolute().parents) if one.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if not os.access(folder, os.W_OK):
        return Finding("disk", f"{folder} cannot be written to", 2)
    return Finding("disk", f"{free:.1f} GB free in {folder}", 0 if free >= DISK_GB else 1)


def _instruments() -> Finding:
    from nightpipe.instruments.registry import all_instruments

    try:
        return Finding("instruments", ", ".join(spec.name for spec in all_instruments()))
    except NightpipeError as error:
        return Finding("instruments", str(error), 2)


def _data() -> Iterator[Finding]:
    from nightpipe.io.download import cache, data_sets, present

    for one in data_sets():
        here = f"in {cache()}" if present(one.name) else f"not fetched: nightpipe data get {one.name}"
        yield Finding(one.name, here)


def _kernels() -> Finding:
    from nightpipe.api.warming import warmed
    from nightpipe.kernels import MODULES

    return Finding("kernels", f"ready, {warmed():.1f} s for {len(MODULES)} modules")
