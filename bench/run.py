"""Time and compare the kernels with what people use today; peers that are not installed are left out.

``python bench/run.py [SUBJECT ...] [--small]`` prints CPU seconds of all threads, the best of three runs, and the
ratio to nightpipe.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

SUBJECTS = (
    "combining",
    "cosmics",
    "splines",
    "fits",
    "resampling",
    "stacking",
    "subtracting",
    "astrometry",
    "photometry",
    "master",
    "frame4k",
    "ifu",
)


@dataclass
class Table:
    """Rows of one subject: name, CPU seconds, remark."""

    title: str
    rows: list[tuple[str, float, str]] = field(default_factory=list)

    def time(
        self,
        name: str,
        call: Callable[[], Any],
        remark: str = "",
        *,
        needs: str = "",
        repeat: int = 3,
        clock: Callable[[], float] = time.process_time,
    ) -> Any:
        """Time a call by `clock`, or leave it out where the package `needs` is absent; return its result."""
        if needs and importlib.util.find_spec(needs) is None:
            return None
        best, result = float("inf"), None
        for _ in range(repeat):
            start = clock()
            result = call()
            best = min(best, clock() - start)
        self.rows.append((name, best, remark))
        return result

    def note(self, remark: str) -> None:
        """Add words to the last row."""
        name, seconds, before = self.rows[-1]
        self.rows[-1] = (name, seconds, f"{before} {remark}".strip())

    def judge(self, what: str, value: float, most: float) -> None:
        """Say of the last row what is to be reached, and whether it is."""
        self.note(f"[{what} {value:.3g}, to reach {most:g}: {'yes' if value <= most else 'NO'}]")

    def show(self) -> None:
        """Print the rows with their ratio to the first."""
        print(f"\n{self.title}\n{'':32s}{'cpu s':>9s}{'ratio':>9s}")
        for name, seconds, remark in self.rows:
            print(f"{name:32s}{seconds:9.4f}{seconds / self.rows[0][1]:9.1f}  {remark}")


def main() -> None:
    """Run the subjects named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS, []], default=[])
    parser.add_argument("--small", action="store_true", help="small images: a minute in all")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    from nightpipe import kernels

    print("compiled or loaded:", ", ".join(f"{name} {s:.1f} s" for name, s in kernels.warm().items()))
    for subject in options.subjects or SUBJECTS:
        importlib.import_module(subject).run(Table, small=options.small)


if __name__ == "__main__":
    main()
