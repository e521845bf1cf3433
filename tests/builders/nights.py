"""Real nights, reduced once per test run."""

from __future__ import annotations

from pathlib import Path

import nightpipe
from nightpipe.api.figures import Outputs
from nightpipe.engine.store import Store


def reduced(raw: Path, out: Path):
    """Reduce a folder in line, without figures, no parameter touched."""
    return nightpipe.reduce(raw, out=out, workers=1, figures=False)


def outputs(reduction, recipe: str, name: str = "") -> Outputs:
    """Return the outputs of the first run of `recipe` whose node name holds `name`."""
    for identifier, outcome in reduction.outcomes.items():
        if outcome.node.recipe == recipe and name in identifier:
            return Outputs(Store(reduction.out), outcome)
    raise LookupError(f"{recipe} {name}: {sorted(reduction.outcomes)}")
