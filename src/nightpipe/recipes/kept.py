"""Earlier nights' masters in the place of tonight's: what planners ask for where nothing was taken."""

from __future__ import annotations

from typing import Protocol

from nightpipe.base.caveat import merged
from nightpipe.engine.builder import Builder
from nightpipe.engine.match import Match
from nightpipe.engine.plan import Ref
from nightpipe.model.exposure import Exposure, FrameType


class Made(Protocol):
    """Outputs by name: those of a node of the plan, or of an earlier night."""

    def __getitem__(self, output: str) -> Ref | None: ...


def kept(
    builder: Builder, match: Match, exposure: Exposure, kind: FrameType, *outputs: str
) -> tuple[dict[str, Ref | None], Match]:
    """Return earlier masters for an exposure that none of tonight's frames of `kind` serve; empty where there is none.

    The first of `outputs` decides. Its caveats take the place of the one that says that something is missing.
    """
    found = {output: builder.kept(exposure, kind, output) for output in outputs}
    best, first = found[outputs[0]]
    if best is None:
        return {}, Match(match.exposures, match.caveats, (*match.reasons, *first.reasons))
    rest = (one for one in match.caveats if one.code != f"{kind.value}.missing")
    caveats = merged(rest, *(told.caveats for ref, told in found.values() if ref is not None))
    refs: dict[str, Ref | None] = {output: ref for output, (ref, _) in found.items()}
    return refs, Match(match.exposures, caveats, (*match.reasons, *first.reasons))
