"""What many images together tell of the sky: its level and shape in each, and the fringes of the detector."""

from __future__ import annotations

from typing import Any

from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.model.frame import Frame
from nightpipe.model.skyimage import SkyImage
from nightpipe.steps.imaging.background import SubtractBackground
from nightpipe.steps.imaging.fringe import BuildFringe, Defringe
from nightpipe.steps.imaging.skyframe import FramesSky, RemoveSky

SKY_STEPS = (Defringe, RemoveSky, SubtractBackground)


@recipe("skyframes", inputs=("frames",), many=("frames",), outputs=("skies",), steps=(FramesSky,))
def skyframes(run: Run, *, frames: tuple[Frame, ...]) -> dict[str, Any]:
    """Take the sky of each image from the others through its filter, objects masked in two passes."""
    skies: tuple[SkyImage, ...] = run(FramesSky, frames=frames)
    for sky in skies:
        run.metric(f"sky_level/{sky.of}", sky.level, "electron")
    return {"skies": skies}


@recipe("fringes", inputs=("frames",), many=("frames",), outputs=("fringe",), steps=(BuildFringe,))
def fringes(run: Run, *, frames: tuple[Frame, ...]) -> dict[str, Any]:
    """Make the pattern of fringes from the images of a night through one filter."""
    fringe: SkyImage = run(BuildFringe, frames=frames)
    run.metric("frames", len(fringe.frames))
    return {"fringe": fringe}


def skyless(run: Run, frame: Frame, skies: tuple[SkyImage, ...] | None, fringe: SkyImage | None) -> Frame:
    """Return an image without fringes, without the sky that other images tell, and without what its own shows."""
    if fringe is not None:
        frame = run(Defringe, frame=frame, fringe=fringe)
        run.metric("fringes", float(frame.header["NPFRINGE"]), "electron")
    name = frame.exposure.name if frame.exposure else ""
    sky = next((one for one in skies or () if one.of == name), None)
    if sky is not None:
        frame = run(RemoveSky, frame=frame, sky=sky)
    elif skies is not None:
        run.caveat("sky.own", f"{name} took no part in the common sky: a smooth sky of its own was subtracted")
    cleared: Frame = run(SubtractBackground, frame=frame)
    return cleared
