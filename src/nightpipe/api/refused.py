"""Which of a night's calibrations gave nothing: those are left out when the night is planned again."""

from __future__ import annotations

from nightpipe.api.reduction import Reduction
from nightpipe.engine.execute import State

REPLACEABLE = ("spaxels", "spaxelwave", "spaxelflat")
"""Recipes whose calibrations another night's may replace."""


def refusals(reduction: Reduction) -> dict[str, str]:
    """Return the raw frames of calibrations that gave nothing, by path, with what was wrong."""
    found: dict[str, str] = {}
    for outcome in reduction.outcomes.values():
        if outcome.node.recipe in REPLACEABLE and outcome.state in (State.UNPROCESSABLE, State.FAILED):
            found |= dict.fromkeys(outcome.node.raws, f"{outcome.node.id}: {outcome.message}")
    return found
