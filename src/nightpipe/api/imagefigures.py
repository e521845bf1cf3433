"""Which figures images get: the stack, how it was put together, the flats that served, the weather of the night."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nightpipe.api.outputs import Drawing, Outputs
from nightpipe.api.reduction import Reduction, Target
from nightpipe.engine.execute import Outcome
from nightpipe.engine.store import Store
from nightpipe.model.moc import Circle
from nightpipe.model.wcs import Alignment, Astrometry

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from nightpipe.plots.images import Look


def of_images(reduction: Reduction, target: Target) -> Iterator[Drawing]:
    """Return the drawings of one stack: the stack first, its sources, then how its frames were put together."""
    runs = _runs(reduction, target)
    if target.stack is None or "imagestack" not in runs:
        return
    outputs, place = Outputs(Store(reduction.out), runs["imagestack"]), target.stack.path.with_suffix("")
    folder = place.parent / "figures"

    def stack() -> Figure:
        from nightpipe.plots import images

        return images.field(outputs.one("stack"))

    def sources() -> Figure:
        from nightpipe.plots import images

        return images.detected(outputs.one("stack"), outputs.one("sources"))

    yield Drawing(f"{place.name}: stack", place, outputs.key, stack)
    yield Drawing("sources found on the stack", folder / f"{place.name}_sources", outputs.key, sources)
    yield from _alignment(reduction, runs, folder / place.name)
    if "imagephotometry" in runs:
        yield from _light(outputs, Outputs(Store(reduction.out), runs["imagephotometry"]), folder / place.name)
    for side in (reduction.outcomes[name] for name in target.sides):
        if side.state.good and side.node.recipe in ("newsources", "difference"):
            yield from _new(outputs, Outputs(Store(reduction.out), side), side, folder / place.name)
        if side.state.good and side.node.recipe == "colour":
            yield from _colour(Outputs(Store(reduction.out), side), place.parent / f"{side.node.label}_colour")
        if side.state.good and side.node.recipe in CURVES:
            yield from _curves(Outputs(Store(reduction.out), side), reduction.out / side.node.publish["curves"])


def _new(stacked: Outputs, outputs: Outputs, run: Outcome, place: Path) -> Iterator[Drawing]:
    """Return the drawing of new sources on the stack, or of what a difference shows."""
    from nightpipe.plots import stack

    found = outputs.all("found")
    if not found:
        return
    if run.node.recipe == "difference":

        def triplets() -> Figure:
            return stack.triplets(stacked.one("stack"), outputs.one("difference"), found[0])

        path = place.with_name(f"{place.name}_transients")
        yield Drawing("new image, reference, difference", path, outputs.key, triplets)
        return

    def new() -> Figure:
        return stack.new_sources(stacked.one("stack"), found[0], _circles(run))

    yield Drawing("sources that the catalogue has not", place.with_name(f"{place.name}_new"), outputs.key, new)


def _colour(outputs: Outputs, path: Path) -> Iterator[Drawing]:
    """Return the drawing of three bands in colour, where they show the same sky."""
    found = outputs.all("colour")

    def draw() -> Figure:
        from nightpipe.plots import stack

        return stack.three_bands(found[0])

    if found:
        yield Drawing("three bands in colour", path, outputs.key, draw)


def _circles(run: Outcome) -> tuple[tuple[float, float, float], ...]:
    """Return the error circles (ra, dec, radius) [deg] that a run was given."""
    from nightpipe.steps.imaging.regions import RankSources

    given = {name: run.node.parameters[f"RankSources.{name}"].value for name in ("bat", "xrt")}
    regions = RankSources(**given).regions()
    return tuple((one.ra, one.dec, one.radius) for one in regions if isinstance(one, Circle))


CURVES = ("lightcurve", "lightcurves")


def _curves(outputs: Outputs, place: Path) -> Iterator[Drawing]:
    """Return the drawings of light curves, one for each place."""
    from nightpipe.plots import imaging

    for number, curve in enumerate(outputs.all("curves"), start=1):
        suffix = f"_{number}" if number > 1 else ""
        path = place.parent / "figures" / f"{place.name}{suffix}"
        yield Drawing(f"light of {curve.name}", path, outputs.key, lambda c=curve: imaging.light_curve(c))  # type: ignore[misc]


def _light(stacked: Outputs, outputs: Outputs, place: Path) -> Iterator[Drawing]:
    """Return the drawings of the stack's zero point and of its PSF, where there are any."""
    from nightpipe.plots import imaging

    zero, psf = outputs.all("zeropoint"), outputs.all("psf")

    def point_spread() -> Figure:
        return imaging.point_spread(psf[0], stacked.one("stack"), outputs.one("sources"))

    if zero:
        path = place.with_name(f"{place.name}_zeropoint")
        yield Drawing("zero point", path, outputs.key, lambda: imaging.zero_point(zero[0], outputs.one("sources")))
    if psf:
        path = place.with_name(f"{place.name}_psf")
        yield Drawing("point-spread function", path, outputs.key, point_spread)


def _alignment(reduction: Reduction, runs: dict[str, Outcome], place: Path) -> Iterator[Drawing]:
    """Return the drawings of an alignment; an image that was compared with nothing has none."""
    if "registration_rms" not in runs["align"].record.get("metrics", {}):
        return
    outputs = Outputs(Store(reduction.out), runs["align"])

    def shape() -> tuple[int, int]:
        ny, nx = Outputs(Store(reduction.out), runs["measure"]).one("place").shape
        return ny, nx

    def dithers() -> Figure:
        from nightpipe.plots import astrometry

        return astrometry.alignment(outputs.one("alignment"), shape())

    def residuals() -> Figure:
        from nightpipe.plots import astrometry

        return astrometry.residuals(_richest(outputs.one("alignment")), shape())

    tied = "astrometry_rms" in runs["align"].record["metrics"]
    title = f"stars of the richest frame against {'the catalogue' if tied else 'the other frames'}"
    yield Drawing("how the frames lie", place.with_name(f"{place.name}_dithers"), outputs.key, dithers)
    yield Drawing(title, place.with_name(f"{place.name}_residuals"), outputs.key, residuals)


def _richest(found: Alignment) -> Astrometry:
    return max((one for one in found.solutions if one is not None), key=lambda one: len(one.pairs))


def _runs(reduction: Reduction, target: Target) -> dict[str, Outcome]:
    """Return the target's own good runs by recipe, the first of each."""
    found: dict[str, Outcome] = {}
    for one in reduction.lineage(target.node):
        if one.state.good and one.node.target == target.name:
            found.setdefault(one.node.recipe, one)
    return found


def of_weather(reduction: Reduction) -> Iterator[Drawing]:
    """Return the drawing of seeing, sky, depth and transparency over the night, where there are images."""
    measured = [one for one in reduction.outcomes.values() if one.node.recipe == "measure" and one.state.good]
    if not measured:
        return
    lit = [one for one in reduction.outcomes.values() if one.node.recipe == "calibrateimages" and one.state.good]
    told = {name: value for one in lit for name, value in _metrics(one).items() if "/" in name}

    def weather() -> Figure:
        from nightpipe.plots import images

        return images.weather([_look(reduction, one, told) for one in measured])

    keys = hashlib.sha256(" ".join(one.key for one in (*measured, *lit)).encode()).hexdigest()
    yield Drawing("seeing, sky, depth, transparency", reduction.out / "night_seeing", keys, weather)


def _metrics(outcome: Outcome) -> dict[str, float]:
    return {name: float(entry[0]) for name, entry in outcome.record.get("metrics", {}).items()}


def _look(reduction: Reduction, outcome: Outcome, told: dict[str, float]) -> Look:
    """Return what one image tells of the weather; `told` are the metrics of all frames' zero points."""
    from nightpipe.plots.images import Look

    exposure = reduction.night.named(outcome.node.exposure)
    metrics, nan = _metrics(outcome), float("nan")
    return Look(
        mjd=exposure.mjd,
        camera=" ".join(part for part in (exposure.setup.arm, exposure.setup.filter) if part),
        seeing=metrics.get("seeing", nan),
        sky=metrics.get("sky", nan),
        depth=told.get(f"frame_depth/{exposure.name}", nan),
        transparency=told.get(f"transparency/{exposure.name}", nan),
    )


def of_image_masters(reduction: Reduction, outcome: Outcome, place: Path) -> Iterator[Drawing]:
    """Return the drawings of one calibration run of an imager; `place` is the figure's path without ending."""
    outputs, limits = Outputs(Store(reduction.out), outcome), _limits(outcome)

    def draw() -> Figure:
        from nightpipe.plots import detector, images

        if outcome.node.recipe == "selectflats":
            return images.selection(outputs.one("selection"), limits)
        if outcome.node.recipe == "imageflat":
            return images.flat(outputs.one("flat"))
        return detector.noise(outputs.one("noise"))

    titles = {"selectflats": "flats that serve", "imageflat": "master flat", "imagenoise": "gain and read noise"}
    yield Drawing(f"{outcome.node.label}: {titles[outcome.node.recipe]}", place, outputs.key, draw)


def _limits(outcome: Outcome) -> tuple[float, float]:
    """Return the least and the largest level that a flat may have, as they were set."""
    values = [outcome.node.parameters.get(f"SelectFlats.{name}") for name in ("amin", "amax")]
    low, high = (float("nan") if one is None else float(one.value) for one in values)
    return low, high
