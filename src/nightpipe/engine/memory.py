"""How much memory this process has used."""

from __future__ import annotations

import resource
import sys


def peak_megabytes() -> float:
    """Return the largest resident size of this process so far [MB]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def cpu_seconds() -> float:
    """Return the CPU time that this process has used in user mode [s]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime
