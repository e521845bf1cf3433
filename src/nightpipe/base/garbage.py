"""The garbage collector, kept away from what lives as long as the process: modules, and what they hold."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


def imported(*names: str) -> ModuleType:
    """Import modules and return the first, the garbage collector at rest meanwhile.

    Imports make many objects and hardly any garbage; to look at all of them again and again takes time.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        modules = [import_module(name) for name in names]
    finally:
        if before:
            gc.enable()
    return modules[0]


@contextmanager
def set_aside() -> Iterator[None]:
    """Spare the collector, meanwhile, whatever exists by now: modules, most of all.

    Afterwards everything is collected as before. Where somebody has set objects aside already, nothing is done.
    """
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
