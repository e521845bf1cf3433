"""Strips of work over our own threads: kernels release the interpreter's lock, so plain threads scale."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Protocol

_NAME = "nightpipe-kernel"


class Busy(Protocol):
    """How many processes of a pool are at work, as `value`, which changes while they are."""

    value: int


_shared: list[Busy] = []


def share(busy: Busy) -> None:
    """Share the cores with other processes from now on: the fewer of them are busy, the more threads a kernel has."""
    _shared[:] = [busy]


def threads() -> int:
    """Return how many threads a kernel may use now: ``NIGHTPIPE_THREADS``, else this process's part of the cores."""
    wanted = os.environ.get("NIGHTPIPE_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max([1, *(busy.value for busy in _shared)]))


def strips(size: int, length: int) -> list[tuple[int, int]]:
    """Return the half-open ranges that cut `size` rows (or pixels) into strips of `length`."""
    return [(start, min(start + length, size)) for start in range(0, size, max(length, 1))]


def each_strip(work: Callable[[int, int], None], size: int, length: int) -> None:
    """Call ``work(start, stop)`` for every strip, on several threads where that helps; errors come through.

    Called from within such a thread, the strips are done in line: no thread ever waits for another's pool.
    """
    parts = strips(size, length)
    inside = threading.current_thread().name.startswith(_NAME)
    if inside or len(parts) < 2 or threads() < 2:
        for start, stop in parts:
            work(start, stop)
        return
    for done in [_pool(os.getpid(), threads()).submit(work, start, stop) for start, stop in parts]:
        done.result()


@lru_cache(maxsize=4)
def _pool(_process: int, size: int) -> ThreadPoolExecutor:
    """Return the pool of this process (a forked child must not wait for its parent's threads)."""
    return ThreadPoolExecutor(size, thread_name_prefix=_NAME)
