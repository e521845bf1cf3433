"""Importing the heavy modules."""

from __future__ import annotations

import gc
from importlib import import_module
from types import ModuleType


def imported(*names: str) -> ModuleType:
    """Import modules and return the first, the garbage collector at rest meanwhile.

    Imports make hundreds of thousands of objects and hardly any garbage; a collector that looks at all of them again
    and again takes a sixth of the time.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        modules = [import_module(name) for name in names]
    finally:
        if before:
            gc.enable()
    return modules[0]
