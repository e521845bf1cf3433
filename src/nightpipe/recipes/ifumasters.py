"""The night calibrations of a lenslet unit: where its spectra lie, their wavelengths, the lenslets' response."""

from __future__ import annotations

from typing import Any

import numpy as np

from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.model.spaxels import Spaxel, SpaxelSet
from nightpipe.recipes.detector import PRELUDE, clean
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.spaxels.find import FindSpaxels


@recipe(
    "spaxels",
    inputs=("frames", "bias", "dark", "noise"),
    many=("frames",),
    optional=("bias", "dark"),
    outputs=("spaxels", "dome"),
    steps=(*PRELUDE, CombineFrames, FindSpaxels),
    defaults=(("CombineFrames[dome].scale", "level"),),
)
def spaxels(
    run: Run, *, frames: tuple[RawFrame, ...], bias: Frame | None, dark: Frame | None, noise: Noise
) -> dict[str, Any]:
    """Combine dome flats and find the spectra of all lenslets on them."""
    dome = run(CombineFrames, label="dome", frames=tuple(clean(run, raw, bias, dark, noise) for raw in frames))
    found: SpaxelSet = run(FindSpaxels, dome=dome)
    for state in Spaxel:
        run.metric(f"spaxels_{state.name.lower()}", int((found.state == state).sum()))
    live = found.state != Spaxel.DEAD
    middle = np.array([float(found.width(int(k), found.x[k])) for k in np.flatnonzero(live)])
    run.metric("spaxels_sigma", float(np.median(middle)), "pixel")
    run.metric("spaxels_sigma_scatter", float(np.std(middle)), "pixel")
    run.metric("spaxels_brightness_scatter", float(np.std(found.brightness[live])))
    return {"spaxels": found, "dome": dome}
