"""SEDM's own files beside ours: OUT/redux/YYYYMMDD with cubes and spectra under the names that its users know."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nightpipe
from nightpipe.api.ifuruns import CLASS, CUBE, LIGHT, IfuRuns, ifu_runs
from nightpipe.api.reduction import Reduction
from nightpipe.engine.store import HIDDEN
from nightpipe.io.classifier import snid_keywords
from nightpipe.io.sedm import UNIT, cube_stem, spectrum_stem, write_cube, write_spectrum
from nightpipe.model.exposure import Header
from nightpipe.model.scene import Grade, Scene
from nightpipe.model.warp import Warp

FOLDER = "redux"
KNOWN = "redux.json"
SOURCES = {"guider": "astrom", "header": "header", "brightest": "auto", "person": "manual", "middle": "middle"}


def write_legacy(reduction: Reduction, *, variance: bool = False) -> tuple[Path, ...]:
    """Write what changed of every exposure of SEDM and return the files' paths.

    `variance` puts the variance into the texts' third column, as SEDM's pipeline had it, instead of the error.
    """
    written: list[Path] = []
    path = reduction.out / HIDDEN / KNOWN
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for runs in ifu_runs(reduction):
        key = f"{runs.key} {nightpipe.__version__} {variance}"
        if runs.spectrum is None or known.get(runs.exposure.name) == key:
            continue
        written += _exposure(reduction, runs, variance=variance)
        known[runs.exposure.name] = key
    if written:
        path.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return tuple(written)


def _exposure(reduction: Reduction, runs: IfuRuns, *, variance: bool) -> Iterator[Path]:
    exposure, spectrum, cube = runs.exposure, runs.spectrum, runs.first(CUBE, "cube")
    folder = reduction.out / FOLDER / exposure.name[3:11]
    folder.mkdir(parents=True, exist_ok=True)
    source = cube_stem(exposure, spectrum.header)
    if cube is not None:
        yield write_cube(folder / f"{source}.fits", cube, {"CALSCL": False, "PYSEDMT": "nightpipe"})
    own = legacy_cards(runs) | {"SOURCE": f"{source}.fits", "REDUCER": reduction.who or "auto"}
    tag = "robot" if own["SRCPOS"] != "manual" else f"redo{datetime.now(UTC):%H%M%S}"
    stem = spectrum_stem(exposure, spectrum.header, tag)
    yield from write_spectrum(folder, stem, spectrum, own | {"EXTRTYPE": f"auto_{tag}"}, variance=variance)


def legacy_cards(runs: IfuRuns) -> Header:
    """Return the cards that SEDM's pipeline would have written of an extraction."""
    spectrum, scene, grade = runs.spectrum, runs.first(LIGHT, "scene"), runs.first(LIGHT, "grade")
    fluxed = spectrum.unit.startswith("erg")
    cards: Header = {
        "CALSCL": fluxed,
        "FLUXCAL": fluxed,
        "FLXPSEC": fluxed,
        "CALSRC": str(spectrum.meta.get("response", "none")),
        "FLAT3D": True,
        "ATMCORR": fluxed,
        "ATMSRC": str(spectrum.meta.get("extinction", "none")),
        "EXTRACT": "auto",
        "EXTDATE": datetime.now(UTC).isoformat(timespec="seconds"),
        "EDGECUT": True,
        "EDGECUTL": 3,
        "PYSEDMV": f"nightpipe {nightpipe.__version__}",
        "SRCPOS": "auto",
        **_of_warp(runs.first(CUBE, "warp")),
        **({} if scene is None else _of_scene(scene)),
        **({} if grade is None else graded_cards(grade, spectrum.meta)),
    }
    found = runs.first(CLASS, "classifications")
    return cards | ({} if found is None else snid_keywords(found))


def _of_warp(warp: Warp | None) -> Header:
    """Return the flexure; SEDM counts pixels along the spectrum as they fall on the detector, red first."""
    if warp is None:
        return {}
    (dx, _), (dy, _), _ = warp.told()
    return {"IFLXCORR": warp.accepted, "CCDIFLX": dx, "JFLXCORR": warp.accepted, "CCDJFLX": dy}


def _of_scene(scene: Scene) -> Header:
    return {
        "XPOS": scene.target.east / UNIT,
        "YPOS": scene.target.north / UNIT,
        "LBDAPOS": scene.reference,
        "SRCPOS": SOURCES.get(scene.place.how, scene.place.how),
        "PSFMODEL": f"GaussMoffat {scene.method}",
        "EXTRWHY": scene.why,
        "PSFFWHM": scene.fwhm,
        "PSFADRC2": scene.refraction_chi2,
        "PSFAB": _value(scene, "axis"),
        "PSFADRPA": scene.parallactic,
        "PSFADRZ": scene.airmass,
    }


def _value(scene: Scene, name: str) -> float:
    return scene.value(name)[0] if name in scene.names else 1.0


def graded_cards(grade: Grade, meta: Mapping[str, Any]) -> Header:
    """Return quality and reasons as the fluxed spectrum has them in its `meta`, for it knows the standard's age; a
    person's verdict has a card of its own.
    """
    quality, reasons = (int(meta.get(name, getattr(grade, name))) for name in ("quality", "reasons"))
    why = replace(grade, reasons=reasons).why
    cards: Header = {"QUALITY": quality, "QREASON": reasons, "QWHY": ",".join(why), "POSOK": "outside" not in why}
    return cards | ({"VERDICT": grade.verdict} if grade.verdict else {})


def legacy_names(out: Path, exposure: str) -> list[Path]:
    """Return the files of SEDM's kind that hold an exposure's spectrum."""
    return sorted((out / FOLDER).glob(f"*/spec_*_{exposure}_*"))
