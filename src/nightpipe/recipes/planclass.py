"""When a target is asked what it is: one rule for all that give spectra."""

from __future__ import annotations

from nightpipe.engine.builder import Builder
from nightpipe.engine.plan import OutputRef
from nightpipe.io.banks import installed
from nightpipe.model.exposure import Exposure, FrameType
from nightpipe.recipes.names import folder_of


def plan_class(builder: Builder, spectra: OutputRef, exposure: Exposure, label: str) -> None:
    """Classify a science target's final spectra with the banks that are installed; without one a note says so."""
    if exposure.type is not FrameType.SCIENCE or builder.quick:
        return
    if not installed():
        builder.note("no bank of templates, so nothing is classified: `nightpipe data get templates` brings one")
        return
    builder.node(
        "classify",
        inputs={"spectra": spectra},
        target=exposure.target,
        label=label,
        publish={"classifications": f"{folder_of(exposure)}/{label}_class"},
    )
