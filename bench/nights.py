"""Whole nights as a user runs them: user CPU seconds and peak memory of one process, kernels compiled beforehand."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SHARED = Path(os.environ.get("NIGHTPIPE_SHARED", Path(__file__).parents[2] / "shared")) / "data"
NIGHTS = {
    "alfosc-grism4-2020": "PyNOT 42 s 0.59 GB by hand, PypeIt 113 s 0.92 GB",
    "kast-blue-2015": "PypeIt 134 s 1.44 GB",
    "sprat-2018": "",
}
TARGETS = {"alfosc-grism4-2020": (15.0, 0.6), "kast-blue-2015": (134.0 / 5, 1.44)}
"""User CPU seconds and memory [GB] to stay below."""
CODE = """
import sys, nightpipe
nightpipe.reduce(sys.argv[1], out=sys.argv[2], workers=1, figures=False)
"""


def measured(raw: Path) -> tuple[float, float, dict]:
    """Return user CPU seconds, peak memory [GB] and the summary of one reduction in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", CODE, str(raw), out], check=True, env=environment, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = json.loads((Path(out) / "summary.json").read_text())
    return after.ru_utime - before.ru_utime, after.ru_maxrss / 1e6, summary


def _verdict(name: str, seconds: float, memory: float) -> str:
    """Return the target and whether it was met, for the nights that have one."""
    if name not in TARGETS:
        return ""
    most, room = TARGETS[name]
    return f", target {most:.1f} s {room:.2f} GB {'met' if seconds <= most and memory <= room else 'MISSED'}"


def main() -> None:
    from nightpipe import kernels

    kernels.warm()
    for name, others in NIGHTS.items():
        raw = SHARED / name / "raw"
        if not raw.is_dir():
            print(f"{name}: absent, set NIGHTPIPE_SHARED")
            continue
        seconds, memory, summary = measured(raw)
        verdict = _verdict(name, seconds, memory)
        print(f"{name}: {seconds:.1f} s user, {memory:.2f} GB, {summary['status']}{verdict}   {others}")
        for target in summary["targets"]:
            kept = {key: value for key, value in target["metrics"].items() if isinstance(value, (int, float))}
            print("   ", target["name"], {key: round(value, 4) for key, value in kept.items()})


if __name__ == "__main__":
    main()
