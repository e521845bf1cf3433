"""Light of a target among lenslets: where it is, its spectrum in several ways, how good it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from nightpipe.base.errors import NoSolutionError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.exposure import FrameType
from nightpipe.model.scene import Grade, Placed, Scene
from nightpipe.model.spectrum import Spectrum
from nightpipe.model.warp import Warp
from nightpipe.steps.spaxels.aperture import ApertureSpectrum
from nightpipe.steps.spaxels.choose import ChooseScene
from nightpipe.steps.spaxels.forcedspectrum import ForcedSpectrum
from nightpipe.steps.spaxels.grade import GradeSpectrum
from nightpipe.steps.spaxels.locate import LocateTarget
from nightpipe.steps.spaxels.scene import FitScene
from nightpipe.steps.spaxels.select import SelectSpaxels
from nightpipe.steps.spaxels.separate import SeparateContours

ABOUT = 10.0
"""What stands farther [arcsec] from the target does not touch its light."""


@recipe(
    "spectrophotometry",
    inputs=("spectra", "place", "partner", "warp"),
    optional=("place", "partner", "warp"),
    outputs=("spectra", "scene", "grade"),
    steps=(
        SelectSpaxels,
        LocateTarget,
        FitScene,
        SeparateContours,
        ChooseScene,
        ForcedSpectrum,
        ApertureSpectrum,
        GradeSpectrum,
    ),
    defaults=(("FitScene[scene].host", True), ("FitScene[scene].passes", 2), ("FitScene[masked].passes", 2)),
)
def spectrophotometry(
    run: Run,
    *,
    spectra: SpaxelSpectra,
    place: Placed | None,
    partner: SpaxelSpectra | None,
    warp: Warp | None,
) -> dict[str, Any]:
    """Find the target, fit the scene in the ways that it asks for, and give the best spectrum first, others after."""
    spectra = run(SelectSpaxels, spectra=spectra)
    expected: Placed = run(LocateTarget, spectra=spectra, place=place)
    scenes = _scenes(run, spectra, expected)
    best: Scene = run(ChooseScene, scenes=scenes)
    found = [run(ForcedSpectrum, scene=scene, spectra=spectra) for scene in (best, *_but(scenes, best))]
    box: Spectrum = run(ApertureSpectrum, scene=best, spectra=spectra, partner=partner)
    by_box = cast(ChooseScene, run.step(ChooseScene)).method == "aperture"
    ordered = [box, *found] if by_box else [*found, box]
    grade: Grade = run(GradeSpectrum, scene=best, spectrum=ordered[0], spectra=spectra, warp=warp)
    told = {"quality": grade.quality, "reasons": grade.reasons, "chosen": best.why}
    told |= {"verdict": grade.verdict} if grade.verdict else {}
    ordered[0] = ordered[0].but(meta=ordered[0].meta | told)
    _told(run, best, ordered[0], grade)
    return {"spectra": tuple(ordered), "scene": best, "grade": grade}


def _scenes(run: Run, spectra: SpaxelSpectra, place: Placed) -> tuple[Scene, ...]:
    """Return the target alone, and, where that does not hold, without others' lenslets and with a host."""
    plain: Scene = run(FitScene, label="psf", spectra=spectra, place=place)
    choice = cast(ChooseScene, run.step(ChooseScene))
    standard = spectra.exposure is not None and spectra.exposure.type == FrameType.STANDARD
    lone = choice.holds(plain) and not _strangers(plain, spectra)
    if choice.method in ("psf", "aperture") or standard or (choice.method == "best" and lone):
        return (plain,)
    scenes = [plain]
    leave = run(SeparateContours, scene=plain, spectra=spectra)
    if leave or choice.method == "masked":
        scenes += _tried(run, "masked", spectra=spectra, place=place, leave=leave, start=plain)
    scenes += _tried(run, "scene", spectra=spectra, place=place, start=plain)
    return tuple(scenes)


def _tried(run: Run, label: str, **inputs: Any) -> list[Scene]:
    """Return the scene of one more way, none where its fit went nowhere."""
    try:
        found: Scene = run(FitScene, label=label, **inputs)
    except NoSolutionError as error:
        run.caveat("scene.failed", f"no fit of the kind {label}: {error.found}")
        return []
    return [replace(found, method=label)]


def _strangers(scene: Scene, spectra: SpaxelSpectra) -> bool:
    """Tell whether about the target more lenslets were left out as odd than an empty field has, or stars found."""
    away = np.hypot(spectra.east - scene.target.east, spectra.north - scene.target.north)
    alive = spectra.good.any(axis=1) & (away < ABOUT)
    stars = [np.hypot(one.east - scene.target.east, one.north - scene.target.north) for one in scene.others]
    return bool((alive & ~scene.used).sum() > 0.01 * alive.sum()) or any(star < ABOUT for star in stars)


def _but(scenes: tuple[Scene, ...], best: Scene) -> tuple[Scene, ...]:
    return tuple(scene for scene in scenes if scene.method != best.method)


def _told(run: Run, scene: Scene, spectrum: Spectrum, grade: Grade) -> None:
    """Record what judges the spectrum."""
    if float(spectrum.meta.get("widened", 1.0)) > 1.0:
        text = f"the scene does not fit about the target (chi2 {scene.chi2_near:.1f}): errors were widened by its root"
        run.caveat("scene.chi2", text)
    run.metric("quality", grade.quality)
    for name, value in grade.measured.items():
        run.metric(name, value)
    run.metric("seeing", scene.fwhm, "arcsec")
    run.metric("rho", scene.rho)
    run.metric("airmass", scene.airmass)
