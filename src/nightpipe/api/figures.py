"""Which figures a reduction gets: drawn after the products, from what the store holds, and only when that changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightpipe.api.columns import is_image
from nightpipe.api.gallery import draw_all, fresh
from nightpipe.api.ifufigures import LENSLETS, of_lenslet_masters, of_lenslets
from nightpipe.api.imagefigures import of_image_masters, of_images, of_weather
from nightpipe.api.outputs import Drawing, Outputs
from nightpipe.api.products import CLASSIFICATION
from nightpipe.api.reduction import Reduction, Target
from nightpipe.engine.execute import Outcome
from nightpipe.engine.store import HIDDEN, Store
from nightpipe.io import codec
from nightpipe.model.classification import Classification
from nightpipe.model.cube import Cube
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame
from nightpipe.model.scene import Scene
from nightpipe.model.selection import Selection
from nightpipe.model.spectrum import Response, Spectrum
from nightpipe.model.stack import Stack
from nightpipe.model.wave import WaveSolution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANIFEST = "figures.json"
MASTERS = (
    *("bias", "dark", "noise", "imagenoise", "selectflats", "flat", "imageflat", "arc", "sensitivity"),
    *LENSLETS,
)
IMAGERS = ("imagenoise", "selectflats", "imageflat")
"""Calibration runs that have figures, and those among them of imagers."""


def draw(model: Any) -> Figure:
    """Return the figure of one product."""
    from nightpipe.plots import classify, detector, images, lenslets, scene, spectra, wave

    kinds: tuple[tuple[type, Callable[[Any], Figure]], ...] = (
        (Stack, images.field),
        (Selection, images.selection),
        (Spectrum, spectra.spectrum),
        (Classification, classify.classification),
        (Response, spectra.response),
        (WaveSolution, wave.wave_map),
        (Noise, detector.noise),
        (Cube, lenslets.field),
        (Scene, scene.profile),
        (Frame, detector.bias),
    )
    for kind, how in kinds:
        if isinstance(model, kind):
            return how(model)
    raise TypeError(f"no figure shows a {type(model).__name__}")


def drawn(reduction: Reduction, *, pdf: bool = False, quick: bool = False, processes: int | None = None) -> Reduction:
    """Draw what a person would check and return the reduction with the figures' paths on its targets.

    A quick look has the final spectra alone. `processes` is how many may draw (unless told as many as there are cores).
    """
    manifest = _manifest(reduction.out)
    drawings = partial(_drawings, reduction, quick)
    named = [(str(one.path.with_suffix(".png").relative_to(reduction.out)), one) for one in drawings()]
    due = [number for number, (name, one) in enumerate(named) if not fresh(one, manifest, name, pdf=pdf)]
    done = draw_all(drawings, due, pdf=pdf, processes=processes)
    manifest |= {named[number][0]: named[number][1].key for number in due if number not in done.failed}
    _write_manifest(reduction.out, manifest)
    timing = reduction.timing | {"workers_cpu_s": reduction.timing.get("workers_cpu_s", 0.0) + done.elsewhere}
    targets = tuple(_with_figures(reduction, target) for target in reduction.targets)
    return replace(reduction, targets=targets, timing=timing)


def _with_figures(reduction: Reduction, target: Target) -> Target:
    paths = (drawing.path.with_suffix(".png") for drawing in of_target(reduction, target))
    return replace(target, figures=tuple(path for path in paths if path.exists()))


def _drawings(reduction: Reduction, quick: bool) -> Iterator[Drawing]:
    yield from _targets(reduction)
    if not quick:
        yield from of_weather(reduction)
        yield from _calibrations(reduction)


def _targets(reduction: Reduction) -> Iterator[Drawing]:
    for target in reduction.targets:
        yield from of_target(reduction, target)


def of_target(reduction: Reduction, target: Target) -> Iterator[Drawing]:
    """Return the drawings of one target: the final spectrum or stack first, then what led to it.

    Of a single exposure through lenslets the verification goes before all: the spectrum is in it.
    """
    from nightpipe.plots import spectra

    if is_image(reduction, target):
        yield from of_images(reduction, target)
    if target.spectrum is None or not target.spectrum.stored:
        return
    folder, product = target.spectrum.path.parent, target.spectrum
    key = product.stored[0].parent.name + "/" + product.stored[0].name
    lenslets = tuple(of_lenslets(reduction, target))
    alone = len(target.exposures) == 1
    yield from lenslets[:alone]
    for number, stored in enumerate(product.stored, start=1):
        suffix = f"_{number}" if number > 1 else ""
        path = folder / f"{product.path.stem}{suffix}"
        title = f"{target.name}: {'extraction' if lenslets else 'object'} {number}"
        yield Drawing(title, path, key, lambda s=stored: spectra.spectrum(codec.load(s)))  # type: ignore[misc]
    yield from lenslets[alone:]
    for outcome in _outcomes(reduction, "extract"):
        if outcome.node.exposure in target.exposures:
            yield from _exposure(Outputs(Store(reduction.out), outcome), outcome.node.exposure, folder / "figures")
    for outcome in _outcomes(reduction, "calibrate"):
        if outcome.node.exposure in target.exposures:
            yield from _bands(Outputs(Store(reduction.out), outcome), outcome.node.exposure, folder / "figures")
    for kept in (one for one in target.products if one.kind == CLASSIFICATION):
        for number, stored in enumerate(kept.stored, start=1):
            path, key = folder / f"{kept.path.stem.rpartition('-')[0]}_{number}", stored.parent.name + stored.name
            yield Drawing("what it is", path, key, lambda s=stored: draw(codec.load(s)))  # type: ignore[misc]


def _exposure(outputs: Outputs, name: str, folder: Path) -> Iterator[Drawing]:
    from nightpipe.plots import spectra, wave

    def sky() -> Figure:
        return spectra.sky(outputs.one("frame"), outputs.one("sky"), outputs.one("wave"))

    def extraction() -> Figure:
        return spectra.extraction(
            outputs.one("frame"), outputs.one("sky"), outputs.all("sources"), outputs.all("profiles")
        )

    yield Drawing(f"{name}: objects and apertures", folder / f"{name}_extraction", outputs.key, extraction)
    yield Drawing(f"{name}: sky before and after", folder / f"{name}_sky", outputs.key, sky)
    yield Drawing(
        f"{name}: flexure", folder / f"{name}_flexure", outputs.key, lambda: wave.flexure(outputs.one("wave"))
    )


def _bands(outputs: Outputs, name: str, folder: Path) -> Iterator[Drawing]:
    from nightpipe.plots import telluric

    first = next(iter(outputs.all("spectra")), None)
    if first is not None and telluric.shown(first):
        path = folder / f"{name}_telluric"
        yield Drawing(f"{name}: the air's bands", path, outputs.key, lambda: telluric.bands(first))


def _calibrations(reduction: Reduction) -> Iterator[Drawing]:
    for recipe in MASTERS:
        for outcome in _outcomes(reduction, recipe):
            yield from of_calibration(reduction, outcome)


def of_calibration(reduction: Reduction, outcome: Outcome) -> Iterator[Drawing]:
    """Return the drawings of one calibration run."""
    from nightpipe.plots import detector, spectra, wave

    outputs, folder = Outputs(Store(reduction.out), outcome), reduction.out / "calibrations" / "figures"
    name = outcome.node.id.replace(":", "_")
    if outcome.node.recipe in IMAGERS:
        yield from of_image_masters(reduction, outcome, folder / name)
        return
    if outcome.node.recipe in LENSLETS:
        yield from of_lenslet_masters(reduction, outcome, folder / name)
        return
    table: dict[str, tuple[tuple[str, str, Callable[[], Figure]], ...]] = {
        "bias": (("master bias", "", lambda: detector.bias(outputs.one("bias"))),),
        "dark": (("master dark", "", lambda: detector.bias(outputs.one("dark"))),),
        "noise": (("gain and read noise", "", lambda: detector.noise(outputs.one("noise"))),),
        "flat": (
            ("master flat", "", lambda: detector.flat(outputs.one("flat"), outputs.one("lamp"), outputs.one("slit"))),
        ),
        "arc": (
            ("arc and its lines", "", lambda: wave.arc_fit(outputs.one("wave"), outputs.one("arc"))),
            ("wavelength map", "_map", lambda: wave.wave_map(outputs.one("wave"))),
        ),
        "sensitivity": (("response", "", lambda: spectra.response(outputs.one("response"))),),
    }
    for title, suffix, how in table[outcome.node.recipe]:
        yield Drawing(f"{outcome.node.label}: {title}", folder / f"{name}{suffix}", outputs.key, how)


def _outcomes(reduction: Reduction, recipe: str) -> list[Outcome]:
    return [one for one in reduction.outcomes.values() if one.node.recipe == recipe and one.state.good]


def _manifest(out: Path) -> dict[str, str]:
    path = out / HIDDEN / MANIFEST
    if not path.exists():
        return {}
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write_manifest(out: Path, manifest: dict[str, str]) -> None:
    path = out / HIDDEN / MANIFEST
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    draft.replace(path)
