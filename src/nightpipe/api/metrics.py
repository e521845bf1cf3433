"""The metrics of a target: what its recipe runs recorded, and what its final spectra say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from nightpipe.api.reduction import Target, line_of
from nightpipe.engine.execute import Outcome
from nightpipe.engine.plan import Plan
from nightpipe.qc.spectra import snr_median, usable_range

WORST: dict[str, Any] = {"wave_rms_px": max, "wave_loo_px": max, "wave_lines": min}
"""How one number is made of several exposures': the worst, else the median."""
OF_SPECTRUM = (
    *("quality", "reasons", "placed", "extraction", "chosen", "seeing", "chi2_near", "refraction_chi2"),
    *("flux_error", "colour_error", "standard_age"),
)
"""Numbers that a spectrum from a lenslet unit carries."""
OF_STACK = ("imagestack", "imagephotometry", "newsources", "difference", "lightcurve")
"""Runs that look at a stack, not at its frames."""


def target_metrics(target: Target, outcomes: Mapping[str, Outcome], plan: Plan) -> dict[str, Any]:
    """Return the metrics by name; `by_exposure` holds those of each recipe run that went in."""
    runs = _runs(target, outcomes, plan)
    values: dict[str, list[float]] = {}
    for outcome in runs:
        for name, (value, _unit) in outcome.record.get("metrics", {}).items():
            values.setdefault(name, []).append(value)
    found: dict[str, Any] = {name: WORST.get(name, median)(several) for name, several in values.items()}
    if "wave_lines" in found:
        found["wave_lines"] = int(found["wave_lines"])
    found |= _stack_metrics(target, runs) | _spectrum_metrics(target)
    return nested(found) | {"by_exposure": {name: nested(values) for name, values in _by_exposure(runs).items()}}


def nested(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics with those named ``name/row/column`` as tables: ``{name: {row: {column: value}}}``."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        place = found
        *folders, leaf = name.split("/")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    return found


def _runs(target: Target, outcomes: Mapping[str, Outcome], plan: Plan) -> list[Outcome]:
    """Return the target's own recipe runs and the calibrations that they use directly."""
    line = line_of(plan, target.node) | set(target.sides)
    own = [node for node in plan.nodes if node.id in line]
    shared = {need for node in own for need in node.needs} - {node.id for node in own}
    return [outcomes[node.id] for node in plan.nodes if node in own or (node.id in shared and not node.target)]


def _by_exposure(runs: Iterable[Outcome]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for outcome in runs:
        metrics = {name: value for name, (value, _unit) in outcome.record.get("metrics", {}).items()}
        if metrics:
            found.setdefault(outcome.node.exposure or outcome.node.id, {}).update(metrics)
    return found


def _stack_metrics(target: Target, runs: Iterable[Outcome]) -> dict[str, float]:
    """Return what the runs on the stack itself recorded: its sources are not those of a typical frame."""
    found: dict[str, float] = {}
    for outcome in runs:
        if outcome.node.recipe in OF_STACK and outcome.node.label == target.label:
            found |= {name: value for name, (value, _unit) in outcome.record.get("metrics", {}).items()}
    return found


def _spectrum_metrics(target: Target) -> dict[str, Any]:
    """Return the numbers of the brightest object's final spectrum."""
    if target.spectrum is None or not target.spectrum.stored:
        return {"objects": 0} if target.spectrum else {}
    spectrum = target.spectrum.model
    span = usable_range(spectrum)
    return {
        "objects": len(target.spectrum.stored),
        "snr_median": snr_median(spectrum),
        "wave_min": span[0] if span else None,
        "wave_max": span[1] if span else None,
        "unit": spectrum.unit,
        **{name: spectrum.meta[name] for name in OF_SPECTRUM if name in spectrum.meta},
    }
