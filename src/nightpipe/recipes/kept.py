"""Earlier nights' masters in the place of tonight's: what planners ask for where nothing was taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from nightpipe.base.caveat import Caveat, merged
from nightpipe.engine.builder import Builder
from nightpipe.engine.match import Match, Reason
from nightpipe.engine.plan import Ref
from nightpipe.model.exposure import Exposure, FrameType
from nightpipe.recipes.names import label_of, published


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


def plan_noise(
    builder: Builder,
    biases: tuple[Exposure, ...],
    flats: tuple[Exposure, ...],
    exposure: Exposure,
    like: Exposure,
    reasons: Iterable[Reason] = (),
    other: Ref | None = None,
) -> tuple[Ref, tuple[Caveat, ...]]:
    """Return gain and read noise for an exposure: measured tonight, else an earlier night's, else what `like` says.

    With the caveats of an earlier night's. `other` is what was measured of the detector at another read speed.
    """
    frames = biases + flats
    if not frames:
        earlier, match = builder.kept(exposure, FrameType.BIAS, "noise")
        if earlier is not None:
            return earlier, match.caveats
    label = label_of("noise", exposure, frames)
    node = builder.node(
        "noise",
        inputs={
            "biases": [builder.raw(one) for one in biases],
            "flats": [builder.raw(one) for one in flats],
            "like": None if frames else builder.raw(like),
            "other": other,
        },
        label=label,
        reasons=reasons,
        publish=published("noise", label) if frames else None,
    )
    return node["noise"], ()
