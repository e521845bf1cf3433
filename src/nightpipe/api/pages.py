"""The report of a reduction: which facts, figures and clickable pictures go on the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nightpipe
from nightpipe.api.columns import named, target_tables
from nightpipe.api.figures import MASTERS, of_calibration, of_target
from nightpipe.api.imagefigures import of_weather
from nightpipe.api.outputs import Drawing, Outputs
from nightpipe.api.reduction import Reduction, Target
from nightpipe.api.report import Figure, Picker, Section, picker, write_report
from nightpipe.api.summary import summary_of
from nightpipe.engine.execute import Outcome
from nightpipe.engine.store import Store
from nightpipe.model.scene import words

REPORT = "report.html"


def write_page(reduction: Reduction) -> Path:
    """Write OUT/report.html and return its path."""
    return write_report(
        reduction.out / REPORT,
        title=_title(reduction),
        summary=summary_of(reduction),
        tables=target_tables(reduction),
        weather=_existing(of_weather(reduction)),
        targets=[_target(reduction, target) for target in reduction.targets],
        calibrations=[section for one in reduction.outcomes.values() if (section := _calibration(reduction, one))],
        version=nightpipe.__version__,
    )


def _title(reduction: Reduction) -> str:
    instruments = sorted({seen.spec.title for seen in reduction.night.frames})
    dates = sorted({seen.exposure.start[:10] for seen in reduction.night.frames})
    return f"{', '.join(instruments)}: {' to '.join(dict.fromkeys((dates[0], dates[-1])))}"


def _target(reduction: Reduction, target: Target) -> Section:
    extracted = [
        one
        for one in reduction.outcomes.values()
        if one.node.recipe == "extract" and one.node.exposure in target.exposures and one.state.good
    ]
    files = [str(product.path.relative_to(reduction.out)) for product in target.products]
    return Section(
        name=named(target),
        subtitle=target.reason or f"{len(target.exposures)} exposures: {', '.join(target.exposures)}",
        rows=_rows(target.metrics),
        figures=_existing(of_target(reduction, target)),
        caveats=tuple(str(caveat) for caveat in target.caveats),
        pickers=tuple(_picker(reduction, outcome) for outcome in extracted),
        files=tuple(files),
    )


FIRST = ("quality", "reasons", "snr_median", "placed", "extraction", "chosen", "seeing", "flux_error", "colour_error")
"""What people ask for first, where it is known."""


def _rows(metrics: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return a target's numbers as rows, those first that people ask for first."""
    told = dict(metrics) | ({"reasons": ", ".join(words(metrics["reasons"]))} if "reasons" in metrics else {})
    order = [*(name for name in FIRST if name in told), *(name for name in told if name not in FIRST)]
    return tuple((name.replace("_", " "), shown) for name in order if (shown := _shown(told[name])))


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, (int, str)) else ""


def _existing(drawings: Any) -> tuple[Figure, ...]:
    return tuple(_figure(drawing) for drawing in drawings if drawing.path.with_suffix(".png").exists())


def _figure(drawing: Drawing) -> Figure:
    return Figure(drawing.title, drawing.path.with_suffix(".png"))


def _picker(reduction: Reduction, outcome: Outcome) -> Picker:
    from nightpipe.plots.spectra import slit_profile

    outputs = Outputs(Store(reduction.out), outcome)
    frame, sky = outputs.one("frame"), outputs.one("sky")
    return picker(
        outcome.node.exposure,
        frame,
        sky,
        outputs.one("wave"),
        outputs.one("slit"),
        outputs.all("sources"),
        slit_profile(frame, sky),
    )


def _calibration(reduction: Reduction, outcome: Outcome) -> Section | None:
    if outcome.node.recipe not in MASTERS:
        return None
    metrics = outcome.record.get("metrics", {})
    rows = tuple((name.replace("_", " "), _shown(_value(entry))) for name, entry in metrics.items())
    return Section(
        name=f"{outcome.node.recipe} {outcome.node.label}",
        subtitle="" if outcome.state.good else f"{outcome.state.value}: {outcome.message}",
        rows=rows,
        figures=_existing(of_calibration(reduction, outcome)) if outcome.state.good else (),
        caveats=tuple(str(caveat) for caveat in outcome.caveats),
    )


def _value(entry: Any) -> Any:
    """Return the number of a metric, which is recorded with its unit."""
    return entry[0] if isinstance(entry, (list, tuple)) else entry
