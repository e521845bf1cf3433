"""Re-extraction: a person places the target, chooses lenslets or another method; what hangs on it is renewed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import copy2

from nightpipe.api.decide import decide
from nightpipe.api.ifuruns import LIGHT
from nightpipe.api.legacy import legacy_names
from nightpipe.api.products import CLASSIFICATION
from nightpipe.api.reduce import Progress, Request, planned, reduce_with
from nightpipe.api.reduction import Reduction
from nightpipe.api.summary import FILE, read_summary
from nightpipe.base.errors import ConfigError, PlanError
from nightpipe.engine.builder import Book
from nightpipe.engine.lock import locked
from nightpipe.engine.store import HIDDEN

OLD = "old"
_TIME = re.compile(r"^\d\d[_:]\d\d[_:]\d\d$")


@dataclass(frozen=True)
class Wish:
    """What a person wants of a re-extraction; see `redex`."""

    centre: tuple[float, float] | None = None
    region: str = ""
    exclude: str = ""
    exclude_region: str = ""
    method: str = ""

    @property
    def assignments(self) -> tuple[str, ...]:
        """Return the wish as parameters of steps, as `decide` takes them."""
        told = []
        if self.centre is not None:
            told += [f"LocateTarget.east={self.centre[0]}", f"LocateTarget.north={self.centre[1]}"]
        if self.region:
            told.append(f'SelectSpaxels.region="{self.region}"')
        if self.exclude:
            told.append(f'SelectSpaxels.exclude="{self.exclude}"')
        if self.exclude_region:
            told.append(f'SelectSpaxels.exclude_region="{self.exclude_region}"')
        if self.method:
            told.append(f'ChooseScene.method="{self.method}"')
        return tuple(told)


def exposure_named(out: Path, time: str) -> tuple[str, list[Path]]:
    """Return the exposure that began at HH_MM_SS (or has this name), and the raw files of the reduction.

    Raises PlanError where there is none, or several.
    """
    if not (out / FILE).exists():
        raise PlanError("an output folder with a summary", str(out), "name the folder given to reduce --out")
    rows = read_summary(out)["exposures"]
    raws = [Path(path) for path in dict.fromkeys(row["file"].partition("#")[0] for row in rows)]
    wanted = time.replace(":", "_")
    found = [row["name"] for row in rows if row["type"] in ("science", "standard") and _is(row["name"], wanted)]
    if len(found) != 1:
        known = ", ".join(row["name"] for row in rows if row["type"] in ("science", "standard"))
        wanted = "the time HH_MM_SS of one exposure of the sky"
        raise PlanError(wanted, f"{time} ({len(found)} such)", f"one of {known}")
    return found[0], [path for path in raws if path.exists()]


def _is(name: str, wanted: str) -> bool:
    return name == wanted or (bool(_TIME.match(wanted)) and name.startswith("ifu") and name.endswith(wanted))


def redex(
    book: Book,
    out: Path,
    time: str,
    wish: Wish,
    *,
    why: str,
    who: str,
    settings: Path | None = None,
    calibrations: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Reduction:
    """Decide, keep a copy of the old product, reduce what changed, and drop classifications that no longer hold.

    `settings` and `calibrations` are those that the night was reduced with. Raises ConfigError where nothing is asked
    for, PlanError for an unknown exposure or one whose calibrations are not there; then nothing was touched.
    """
    if not wish.assignments:
        raise ConfigError("a place, a region, lenslets to leave out or a method", "none", "see nightpipe redex --help")
    name, raws = exposure_named(out, time)
    request = Request(out, settings=settings, who=who, masters=tuple(calibrations))
    _, plan = planned(book, raws, request)
    if not any(node.recipe == LIGHT and node.exposure == name for node in plan.nodes):
        found = "none among its night's frames"
        raise PlanError(f"the calibrations of {name}", found, "give --calibrations, as the night was reduced with")
    decide(book, out, name, wish.assignments, why=why, who=who)
    with locked(out / HIDDEN):
        before = kept_aside(out, name)
    reduction = reduce_with(book, raws, request, progress)
    runs = reduction.outcomes.values()
    if any(one.node.recipe == LIGHT and one.node.exposure == name and one.state.good for one in runs):
        with locked(out / HIDDEN):
            drop_stale(before, standing(reduction, name, before))
    return reduction


def kept_aside(out: Path, name: str) -> dict[Path, tuple[int, int]]:
    """Copy an exposure's product into ``old`` beside it, dated; return what stands in its place, and since when.

    What stands stays until something new takes its place: a re-extraction that is cut off costs nothing.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    products = [*_products(out, name), *legacy_names(out, name)]
    for path in products:
        aside = path.parent / OLD / f"{path.stem}_{stamp}{path.suffix}"
        aside.parent.mkdir(exist_ok=True)
        copy2(path, aside)
    return {path: _since(path) for path in (*products, *_classifications(out, name))}


def standing(reduction: Reduction, name: str, before: Mapping[Path, tuple[int, int]]) -> set[Path]:
    """Return the files that are a reduction's products as it is now, be they written again or not.

    A re-extraction that was cut off once its spectrum was written finds that in its place and does not write it again.
    """
    found = {figure for target in reduction.targets for figure in target.figures}
    for product in (one for target in reduction.targets for one in target.products if one.stored):
        found |= {product.path} if product.ascii is None else {product.path, product.ascii}
        if product.kind == CLASSIFICATION:
            found |= set(product.path.parent.glob(f"{Path(product.name).name}*"))
    legacy = legacy_names(reduction.out, name)
    if all(before.get(path) == _since(path) for path in legacy):
        found |= set(legacy)
    return found


def drop_stale(before: Mapping[Path, tuple[int, int]], kept: Collection[Path] = ()) -> None:
    """Remove what a re-extraction did not write again: classifications that no longer hold, names no longer used.

    What is `kept` stands. Where nothing at all was written again nothing changed, and all stays.
    """
    same = [path for path, since in before.items() if path.exists() and _since(path) == since]
    for path in (one for one in same if one not in kept) if len(same) < len(before) else ():
        path.unlink()


def _since(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written anew."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _classifications(out: Path, name: str) -> list[Path]:
    found = [path for path in out.rglob("*_class*") if HIDDEN not in path.parts and OLD not in path.parts]
    return [path for path in found if path.name.startswith(name)]


def _products(out: Path, name: str) -> list[Path]:
    kinds = (f"{name}.fits", f"{name}.txt", f"verify_{name}.png")
    found = [path for kind in kinds for path in out.rglob(kind)]
    raw = {Path(row["file"].partition("#")[0]) for row in read_summary(out)["exposures"]}
    return [path for path in found if HIDDEN not in path.parts and OLD not in path.parts and path not in raw]
