"""Which figures a lenslet unit gets: its calibrations, and of each exposure what a person verifies a spectrum by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nightpipe.api.ifuruns import CLASS, CUBE, GUIDE, LIGHT, IfuRuns, ifu_runs
from nightpipe.api.outputs import Drawing, Outputs
from nightpipe.api.reduction import Reduction, Target
from nightpipe.engine.execute import Outcome
from nightpipe.engine.plan import RawRef
from nightpipe.engine.store import Store
from nightpipe.io import codec
from nightpipe.io.references import find_standard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nightpipe.model.references import Standard
    from nightpipe.model.spaxels import SpaxelSet

LENSLETS = ("spaxels", "spaxelwave", "spaxelflat")


def of_lenslets(reduction: Reduction, target: Target) -> Iterator[Drawing]:
    """Return the drawings of a target's exposures through lenslets: the verification first."""
    for runs in ifu_runs(reduction, target.exposures):
        folder = target.products[0].path.parent if target.products else reduction.out
        yield from _exposure(reduction, runs, folder)


def _exposure(reduction: Reduction, runs: IfuRuns, folder: Path) -> Iterator[Drawing]:
    name, place = runs.exposure.name, folder / "figures" / runs.exposure.name
    kinds: list[tuple[str, Path, Callable[[], Figure]]] = [
        ("verification", folder / f"verify_{name}", lambda: _verify(runs)),
        ("lenslets used", place.with_name(f"{name}_spaxels"), lambda: _map(runs)),
        ("profile", place.with_name(f"{name}_psfprofile"), lambda: _profile(runs)),
        ("refraction", place.with_name(f"{name}_adr"), lambda: _refraction(runs)),
        ("flexure", place.with_name(f"{name}_flexure"), lambda: _flexure(reduction, runs)),
    ]
    if _standard(runs) is not None:
        kinds.append(("calibration check", place.with_name(f"{name}_calibcheck"), lambda: _check(runs)))
    for title, path, draw in kinds:
        yield Drawing(f"{name}: {title}", path, runs.key, draw)


def _standard(runs: IfuRuns) -> Standard | None:
    exposure = runs.exposure
    if not runs.is_standard or runs.spectrum is None or not runs.spectrum.unit.startswith("erg"):
        return None
    return find_standard(exposure.standard or exposure.target, exposure.ra, exposure.dec)


def _verify(runs: IfuRuns) -> Figure:
    from nightpipe.plots import scene

    return scene.verify(
        runs.spectrum, runs.first(LIGHT, "scene"), runs.first(CUBE, "cube"), runs.first(LIGHT, "grade"),
        finder=runs.first(GUIDE, "finder"), standard=_standard(runs), found=runs.first(CLASS, "classifications"),
    )  # fmt: skip


def _map(runs: IfuRuns) -> Figure:
    from nightpipe.plots import scene

    return scene.spaxel_map(runs.first(CUBE, "cube"), runs.first(LIGHT, "scene"))


def _profile(runs: IfuRuns) -> Figure:
    from nightpipe.plots import scene

    return scene.profile(runs.first(LIGHT, "scene"))


def _refraction(runs: IfuRuns) -> Figure:
    from nightpipe.plots import scene

    return scene.refraction(runs.first(LIGHT, "scene"))


def _check(runs: IfuRuns) -> Figure:
    from nightpipe.plots import scene

    standard = _standard(runs)
    assert standard is not None
    return scene.calibration_check(runs.spectrum, standard)


def _flexure(reduction: Reduction, runs: IfuRuns) -> Figure:
    from nightpipe.plots import lenslets

    spaxels = _spaxels(reduction, runs.runs[CUBE])
    return lenslets.flexure(runs.first(CUBE, "warp"), spaxels, runs.first(CUBE, "spectra"))


def _spaxels(reduction: Reduction, outcome: Outcome) -> SpaxelSet:
    """Return where the lenslets' spectra lie that a run took, be they tonight's or an earlier night's product."""
    (ref,) = outcome.node.inputs["spaxels"]
    if isinstance(ref, RawRef):
        found: SpaxelSet = codec.load(Path(ref.path))
        return found
    made: SpaxelSet = Outputs(Store(reduction.out), reduction.outcomes[ref.node]).one("spaxels")
    return made


def of_lenslet_masters(reduction: Reduction, outcome: Outcome, place: Path) -> Iterator[Drawing]:
    """Return the drawing of one calibration run of a lenslet unit; `place` is the figure's path without ending."""
    outputs = Outputs(Store(reduction.out), outcome)

    def draw() -> Figure:
        from nightpipe.plots import lenslets

        if outcome.node.recipe == "spaxels":
            return lenslets.geometry(outputs.one("dome"), outputs.one("spaxels"))
        if outcome.node.recipe == "spaxelwave":
            return lenslets.dispersion_map(outputs.one("waves"), _spaxels(reduction, outcome))
        return lenslets.flat_map(outputs.one("flat"), _spaxels(reduction, outcome))

    titles = {"spaxels": "spectra on the dome", "spaxelwave": "wavelengths", "spaxelflat": "response"}
    yield Drawing(f"{outcome.node.label}: {titles[outcome.node.recipe]}", place, outputs.key, draw)
