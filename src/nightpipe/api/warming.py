"""Makes the compiled kernels ready, several modules at once: the first minute on a new machine is all compilation."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from nightpipe import kernels
from nightpipe.engine.local import cores, quiet_main
from nightpipe.kernels.build import cache_folder

MOST = 8
"""More processes than this share no work: the longest module takes an eighth of the time of all."""


def cold() -> bool:
    """Tell whether no kernel was ever compiled for this source and this processor."""
    return not any(cache_folder().iterdir())


def warmed(processes: int | None = None) -> float:
    """Compile what is not compiled, in up to `processes` processes (as cores unless told); return seconds [s].

    The processes leave machine code in the cache, which this one then loads. Where one dies, the rest is compiled here.
    """
    begun = time.perf_counter()
    count = min(cores() if processes is None else processes, MOST)
    if count > 1 and cold():
        with suppress(BrokenProcessPool):
            _compiled_apart(count)
    kernels.warm()
    return time.perf_counter() - begun


def _compiled_apart(count: int) -> None:
    context = multiprocessing.get_context("spawn")
    with quiet_main(), ProcessPoolExecutor(count, mp_context=context) as pool:
        list(pool.map(kernels.ready, sorted(kernels.MODULES, key=kernels.size, reverse=True)))
