"""Makes the compiled kernels ready, several modules at once: the first minute on a new machine is all compilation."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from nightpipe import kernels
from nightpipe.engine.local import cores, quiet_main

MOST = 8
"""More processes than this share no work: the longest module takes an eighth of the time of all."""


def cold(modules: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return which modules of kernels, of all or of `modules`, were never compiled for this source and processor."""
    return tuple(name for name in (kernels.MODULES if modules is None else modules) if not kernels.is_ready(name))


def warmed(processes: int | None = None, modules: Sequence[str] | None = None) -> float:
    """Compile what of `modules` is not compiled, in up to `processes` processes (as cores unless told).

    Return the seconds [s] that it took. The processes leave machine code in the cache, which this one then loads. Where
    one dies, the rest is compiled here.
    """
    begun = time.perf_counter()
    count = min(cores() if processes is None else processes, MOST)
    new = cold(modules)
    if count > 1 and len(new) > 1:
        with suppress(BrokenProcessPool):
            _compiled_apart(min(count, len(new)), new)
    kernels.warm(modules)
    return time.perf_counter() - begun


def _compiled_apart(count: int, modules: Iterable[str]) -> None:
    context = multiprocessing.get_context("spawn")
    with quiet_main(), ProcessPoolExecutor(count, mp_context=context) as pool:
        list(pool.map(kernels.ready, sorted(modules, key=kernels.size, reverse=True)))
