"""The night calibrations of a lenslet unit: where its spectra lie, their wavelengths, the lenslets' response."""

from __future__ import annotations

from typing import Any

import numpy as np

from nightpipe.base.errors import BadFrameError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.references import line_list
from nightpipe.maths.robust import mad_std
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.model.spaxels import Spaxel, SpaxelFlat, SpaxelSet, SpaxelWaves
from nightpipe.recipes.detector import PRELUDE, clean
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.spaxels.extract import ExtractSpaxels
from nightpipe.steps.spaxels.find import FindSpaxels
from nightpipe.steps.spaxels.flat import FlatSpaxels
from nightpipe.steps.spaxels.wavemap import MapSpaxels


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


LAMPS = ("Hg", "Cd", "Xe")
"""The lamps whose lists are at hand when a frame's light is looked at."""


@recipe(
    "spaxelwave",
    inputs=("frames", "bias", "dark", "noise", "spaxels"),
    many=("frames",),
    optional=("bias", "dark"),
    outputs=("waves",),
    steps=(*PRELUDE, CombineFrames, ExtractSpaxels, MapSpaxels),
    data=("lines",),
    defaults=(("CombineFrames[lamp].scale", "level"),),
)
def spaxelwave(
    run: Run,
    *,
    frames: tuple[RawFrame, ...],
    bias: Frame | None,
    dark: Frame | None,
    noise: Noise,
    spaxels: SpaxelSet,
) -> dict[str, Any]:
    """Combine the frames of each lamp, extract its spectra, and fit every lenslet's wavelengths to all of them."""
    prism = next((raw.disperser for raw in frames if raw.disperser is not None and raw.disperser.lenslets), None)
    if prism is None:
        raise BadFrameError("lamp frames behind lenslets", "none", "mend the instrument's description")
    lamps = []
    for name in sorted({raw.exposure.lamps for raw in frames}):
        cleaned = tuple(clean(run, raw, bias, dark, noise) for raw in frames if raw.exposure.lamps == name)
        combined = run(CombineFrames, label="lamp", frames=cleaned)
        lamps.append(run(ExtractSpaxels, frame=combined, spaxels=spaxels))
    waves: SpaxelWaves = run(
        MapSpaxels,
        lamps=tuple(lamps),
        spaxels=spaxels,
        lenslets=prism.lenslets,
        lines=tuple(line_list((name,)) for name in LAMPS),
    )
    own = ~waves.smooth
    run.metric("wave_rms", float(np.median(waves.rms[own])) if own.any() else 0.0, "Angstrom")
    run.metric("wave_lines", float(np.median(waves.used[own])) if own.any() else 0.0)
    run.metric("wave_neighbours", int(waves.smooth.sum()))
    run.metric("wave_low", waves.range[0], "Angstrom")
    run.metric("wave_high", waves.range[1], "Angstrom")
    run.metric("wave_fwhm", float(np.median(waves.fwhm_px[:, 0])), "pixel")
    return {"waves": waves}


@recipe(
    "spaxelflat",
    inputs=("dome", "spaxels", "waves"),
    outputs=("flat",),
    steps=(ExtractSpaxels, FlatSpaxels),
)
def spaxelflat(run: Run, *, dome: Frame, spaxels: SpaxelSet, waves: SpaxelWaves) -> dict[str, Any]:
    """Extract the dome with its wavelengths and measure each lenslet's response."""
    spectra: SpaxelSpectra = run(ExtractSpaxels, frame=dome, spaxels=spaxels, waves=waves)
    flat: SpaxelFlat = run(FlatSpaxels, dome=spectra, spaxels=spaxels)
    live = spaxels.state != Spaxel.DEAD
    run.metric("spaxelflat_scatter", float(mad_std(np.median(flat.values[live], axis=1))))
    run.metric("spaxelflat_error", float(np.median(flat.error[live])))
    return {"flat": flat}
