"""Masters of earlier nights: which serve where tonight has no frames of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nightpipe.base.caveat import Caveat
from nightpipe.engine.match import Match, age, associate_by_rule
from nightpipe.engine.night import Seen
from nightpipe.io.masters import Master
from nightpipe.model.exposure import FrameType


def choose(kept: Iterable[Master], seen: Seen, kind: FrameType, output: str) -> tuple[Master | None, Match]:
    """Return the nearest kept `output` that serves a frame: same hardware, setup by the rule for `kind`, any age."""
    rule = seen.spec.calibrations.get(kind)
    alike = {one.exposure.path: one for one in kept if one.output == output and one.detector == seen.detector.name}
    if rule is None or not alike:
        return None, Match()
    ageless = rule.model_copy(update={"max_age": float("inf"), "least": 1, "nearest": True})
    match = associate_by_rule(seen.exposure, kind, [one.exposure for one in alike.values()], ageless)
    if not match.exposures:
        return None, Match(reasons=match.reasons)
    best = alike[min(match.exposures, key=lambda one: abs(one.mjd - seen.exposure.mjd)).path]
    text = f"{output} made before, {age(seen.exposure, best.exposure)}: {Path(best.exposure.path).name}"
    return best, Match((best.exposure,), (*match.caveats, Caveat(f"{output}.kept", text), *best.caveats), match.reasons)
