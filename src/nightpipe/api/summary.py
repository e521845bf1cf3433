"""The summary for programs: OUT/summary.json, documented in docs/summary-schema.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nightpipe
from nightpipe.api.products import Product
from nightpipe.api.reduction import ExposureReport, Reduction, Target
from nightpipe.base.caveat import Caveat
from nightpipe.io.classifier import as_json

SCHEMA = 1
FILE = "summary.json"


def summary_of(reduction: Reduction) -> dict[str, Any]:
    """Return the summary of a reduction; paths are relative to the output folder."""
    return {
        "schema": SCHEMA,
        "nightpipe": nightpipe.__version__,
        "out": str(reduction.out),
        "by": reduction.who,
        "status": reduction.status.word,
        "exit_status": int(reduction.status),
        "exposures": [_exposure(one) for one in reduction.exposures],
        "targets": [_target(one, reduction.out) for one in reduction.targets],
        "calibrations": [_calibration(one, reduction.out) for one in reduction.calibrations],
        "notes": list(reduction.plan.notes),
        "timing": {name: round(value, 3) for name, value in reduction.timing.items()},
    }


def write_summary(out: Path, summary: dict[str, Any]) -> Path:
    """Write the summary under a temporary name and rename it."""
    path = out / FILE
    draft = path.with_name(f".{FILE}.part")
    draft.write_text(json.dumps(_finite(summary), indent=1, allow_nan=False), encoding="utf-8")
    draft.replace(path)
    return path


def read_summary(out: str | Path) -> dict[str, Any]:
    """Return the summary that lies in an output folder."""
    summary: dict[str, Any] = json.loads((Path(out) / FILE).read_text(encoding="utf-8"))
    return summary


def _caveats(caveats: tuple[Caveat, ...]) -> list[dict[str, str]]:
    return [{"code": one.code, "text": one.text} for one in caveats]


def _exposure(one: ExposureReport) -> dict[str, Any]:
    return {
        "name": one.name,
        "file": one.path,
        "sha256": one.sha256,
        "type": one.type,
        "target": one.target,
        "instrument": one.instrument,
        "setup": one.setup,
        "state": one.state.value,
        "caveats": _caveats(one.caveats),
        "reason": one.reason,
    }


def _target(one: Target, out: Path) -> dict[str, Any]:
    spectrum = one.spectrum
    return {
        "name": one.name,
        "label": one.label,
        "state": one.state.value,
        "reason": one.reason,
        "exposures": list(one.exposures),
        "spectrum": _below(spectrum.path, out) if spectrum else None,
        "ascii": _below(spectrum.ascii, out) if spectrum else None,
        "stack": _below(one.stack.path, out) if one.stack else None,
        "figure": _below(one.figures[0], out) if one.figures else None,
        "figures": [_below(path, out) for path in one.figures],
        "products": [_below(product.path, out) for product in one.products],
        "log": _below(one.log, out),
        "caveats": _caveats(one.caveats),
        "classifications": [as_json(found, best=3) for found in one.classifications],
        "metrics": one.metrics,
    }


def _calibration(one: Product, out: Path) -> dict[str, Any]:
    return {"name": one.name, "file": _below(one.path, out), "kind": one.kind, "caveats": _caveats(one.caveats)}


def _finite(value: Any) -> Any:
    """Return the value with null for numbers that are none: one of them must not cost the summary of a night."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _below(path: Path | None, out: Path) -> str | None:
    return None if path is None else str(path.relative_to(out))
