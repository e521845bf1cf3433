"""The lenslet unit's exposures: clean frame to spectra of all lenslets, and a cube."""

from __future__ import annotations

from typing import Any

import numpy as np

from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.references import sky_lines
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.spaxels import SpaxelFlat, SpaxelSet, SpaxelWaves
from nightpipe.model.warp import Warp
from nightpipe.steps.spaxels.extract import ExtractSpaxels
from nightpipe.steps.spaxels.flexure import FlexSpaxels
from nightpipe.steps.spaxels.grid import GridCube
from nightpipe.steps.spaxels.response import ApplySpaxelFlat


@recipe(
    "cube",
    inputs=("frame", "spaxels", "waves", "flat"),
    optional=("flat",),
    outputs=("spectra", "cube", "warp"),
    steps=(FlexSpaxels, ExtractSpaxels, ApplySpaxelFlat, GridCube),
    data=("lines",),
)
def cube(run: Run, *, frame: Frame, spaxels: SpaxelSet, waves: SpaxelWaves, flat: SpaxelFlat | None) -> dict[str, Any]:
    """Find how far the exposure's spectra lie off the calibrations', and extract all lenslets' spectra there."""
    warp = run(FlexSpaxels, frame=frame, spaxels=spaxels, waves=waves, lines=sky_lines())
    spectra = run(ExtractSpaxels, frame=frame, spaxels=spaxels.warped(warp), waves=waves.warped(warp))
    if flat is None:
        run.caveat("flat.missing", "No flat of the lenslets: their response, uneven by a tenth, is not corrected.")
    else:
        spectra = run(ApplySpaxelFlat, spectra=spectra, flat=flat)
    grid = run(GridCube, spectra=spectra)
    _judge(run, frame, warp, spectra)
    return {"spectra": spectra, "cube": grid, "warp": warp}


def _judge(run: Run, frame: Frame, warp: Warp, spectra: SpaxelSpectra) -> None:
    """Record the numbers that tell how the exposure lies on the detector, and how clean its spectra are."""
    for name, unit, (value, error) in zip(("dx", "dy", "turn"), ("pixel", "pixel", "radian"), warp.told(), strict=True):
        run.metric(f"flexure_{name}", value, unit)
        run.metric(f"flexure_{name}_error", error, unit)
    run.metric("flexure_chi2", warp.chi2_dof)
    run.metric("sky_lines", len(warp.lines))
    run.metric("spaxels", int(spectra.good.any(axis=1).sum()))
    run.metric("scattered_share", float(spectra.meta["scattered_share"]))
    run.metric("extraction_chi2", float(spectra.meta["chi2_pixel"]))
    run.metric("cosmic_pixels", int(np.count_nonzero(frame.mask & np.uint32(Flag.COSMIC))))
    run.metric("rejected_pixels", int(spectra.meta["rejected_pixels"]))
