"""One task: load inputs, run a recipe, store its outputs with their record. Only keys, paths and JSON come and go."""

from __future__ import annotations

import importlib
import json
import os
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nightpipe
from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import DataError, NightpipeError, PlanError, StoreError
from nightpipe.base.plain import from_plain, to_plain
from nightpipe.base.recipe import Recipe
from nightpipe.engine.builder import Book
from nightpipe.engine.memory import cpu_seconds, peak_megabytes
from nightpipe.engine.plan import RawInput
from nightpipe.engine.run import EngineRun
from nightpipe.engine.store import RECORD, Store
from nightpipe.io import codec
from nightpipe.io.raw import read_raw
from nightpipe.model.exposure import FrameType


@dataclass(frozen=True)
class Task:
    """One node ready to run. `inputs` are, by name, raw frames as ``{"raw": ...}`` or stored outputs as
    ``{"files": [...], "many": bool}``; `parameters` are values with their origins; `caveats` what planning and the
    inputs bring along, `inherited` those of the inputs alone; `published` the outputs to keep as products.
    """

    node: str
    key: str
    book: str
    recipe: str
    out: str
    inputs: dict[str, list[dict[str, Any]]]
    parameters: dict[str, dict[str, Any]]
    provenance: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
    inherited: tuple[Caveat, ...] = ()
    published: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the task as text for another process."""
        return json.dumps(to_plain(self))


def from_json(text: str) -> Task:
    """Return the task that `Task.to_json` wrote."""
    return from_plain(Task, json.loads(text))


def load_book(address: str) -> Book:
    """Import the book of recipes from ``"package.module:NAME"``."""
    module, _, name = address.partition(":")
    book = getattr(importlib.import_module(module), name)
    if not isinstance(book, Book):
        raise PlanError("a book of recipes", address, "give the address of a Book")
    return book


def perform(task: Task) -> dict[str, Any]:
    """Run one task and return its record; what goes wrong is in the record, never raised.

    `state` is ok, caveats, unprocessable (the data's fault, stored under the key) or failed (ours, not stored).
    """
    started, cpu = time.perf_counter(), cpu_seconds()
    with warnings.catch_warnings(record=True) as told:
        try:
            record = _perform(task, told)
        except DataError as error:
            record = _stored_failure(task, _fault(task, "unprocessable", error))
        except Exception as error:  # noqa: BLE001 - one bad frame never stops a night
            record = _fault(task, "failed", error)
    return record | {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu}


def _perform(task: Task, told: list[warnings.WarningMessage]) -> dict[str, Any]:
    started = time.perf_counter()
    recipe = load_book(task.book).recipe(task.recipe)
    run = EngineRun(recipe, {name: one["value"] for name, one in task.parameters.items()})
    inputs = {name: _load(run, recipe, name, refs) for name, refs in task.inputs.items()}
    outputs = recipe.function(run, **inputs)
    if set(outputs) != set(recipe.outputs):
        raise PlanError(f"outputs of recipe {recipe.name}: {', '.join(recipe.outputs)}", ", ".join(outputs), "mend it")
    caveats = merged(task.caveats, run.caveats)
    record = _record(task, "caveats" if caveats else "ok") | {
        "own_caveats": to_plain(run.caveats),
        "arisen": to_plain([one for one in caveats if one not in task.inherited]),
        "caveats": to_plain(caveats),
        "steps": run.steps,
        "warnings": sorted({f"{Path(one.filename).name}:{one.lineno}: {one.message}" for one in told}),
        "metrics": {name: list(value) for name, value in run.metrics.items()},
        "outputs": {name: _names(name, value) for name, value in outputs.items()},
        "seconds": time.perf_counter() - started,
    }
    _save(task, record, {name: _with(value, caveats) for name, value in outputs.items()})
    return record


def _load(run: EngineRun, recipe: Recipe, name: str, refs: list[dict[str, Any]]) -> Any:
    many = name in recipe.many
    loaded, lost = [], []
    for ref in refs:
        try:
            loaded.append(_load_one(ref))
        except DataError as error:
            if not many:
                raise
            lost.append(error)
    if lost and not loaded:
        raise lost[0]
    for one in lost:
        run.caveat("frame.unreadable", f"a frame was left out of {name}: {one}")
    return tuple(loaded) if many else loaded[0] if loaded else None


def _load_one(ref: Mapping[str, Any]) -> Any:
    if "raw" in ref:
        raw = from_plain(RawInput, ref["raw"])
        if raw.exposure.type is FrameType.REDUCED:  # a master made before
            return codec.load(raw.exposure.file)
        return read_raw(raw.exposure.file, raw.exposure, raw.detector, raw.disperser)
    models = tuple(_model(Path(path)) for path in ref["files"])
    return models if ref["many"] else models[0] if models else None


def _model(path: Path) -> Any:
    """Load a stored model; a damaged file is taken away, so that the next run makes it anew."""
    try:
        return codec.load(path)
    except StoreError as error:
        path.unlink(missing_ok=True)
        raise NightpipeError(error.wanted, error.found, "run again: it will be made anew") from error


def _names(output: str, value: Any) -> dict[str, Any]:
    """Return how an output is stored: None and tuples are sets, whose members were found while running."""
    members = value if isinstance(value, tuple) else () if value is None else (value,)
    many = isinstance(value, tuple)
    files = [f"{output}-{number}.fits" for number in range(len(members))] if many else [f"{output}.fits"] * len(members)
    return {"files": files, "many": many, "type": sorted({type(member).__name__ for member in members})}


def _with(value: Any, caveats: tuple[Caveat, ...]) -> tuple[Any, ...]:
    """Return the models of an output, each carrying the caveats of the run."""
    members = value if isinstance(value, tuple) else () if value is None else (value,)
    return tuple(_bearing(member, caveats) for member in members)


def _bearing(model: Any, caveats: Iterable[Caveat]) -> Any:
    carries = is_dataclass(model) and any(one.name == "caveats" for one in fields(model))
    return replace(model, caveats=merged(model.caveats, caveats)) if carries else model


def _save(task: Task, record: Mapping[str, Any], outputs: Mapping[str, tuple[Any, ...]]) -> None:
    text = json.dumps(to_plain(record))
    with Store(task.out).filling(task.key) as folder:
        for name, members in outputs.items():
            kept = name in task.published
            for file, member in zip(record["outputs"][name]["files"], members, strict=True):
                codec.save(member, folder / file, durable=kept, checksum=kept, record=text if kept else "")
        (folder / RECORD).write_text(text, encoding="utf-8")


def _stored_failure(task: Task, record: dict[str, Any]) -> dict[str, Any]:
    """Remember that the data cannot be processed: with this key they never will be."""
    try:
        with Store(task.out).filling(task.key) as folder:
            (folder / RECORD).write_text(json.dumps(to_plain(record)), encoding="utf-8")
    except StoreError as error:
        return _fault(task, "failed", error)
    return record


def _fault(task: Task, state: str, error: BaseException) -> dict[str, Any]:
    known = isinstance(error, NightpipeError)
    fault = {
        "kind": type(error).__name__,
        "wanted": error.wanted if isinstance(error, NightpipeError) else f"recipe {task.recipe} to run",
        "found": error.found if isinstance(error, NightpipeError) else f"{type(error).__name__}: {error}",
        "remedy": error.remedy if isinstance(error, NightpipeError) else "report this, with the log",
        "trace": "" if known else "".join(traceback.format_exception(error)),
    }
    return _record(task, state) | {"error": fault, "caveats": to_plain(task.caveats)}


def _record(task: Task, state: str) -> dict[str, Any]:
    recipe = load_book(task.book).recipe(task.recipe)
    return {
        "key": task.key,
        "node": task.node,
        "recipe": task.recipe,
        "recipe_version": recipe.version,
        "state": state,
        "nightpipe": nightpipe.__version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": os.uname().nodename,
        "peak_mb": peak_megabytes(),
        "parameters": task.parameters,
        "provenance": task.provenance,
        "published": list(task.published),
        "own_caveats": [],
        "arisen": [],
        "caveats": [],
        "steps": [],
        "metrics": {},
        "outputs": {},
    }
