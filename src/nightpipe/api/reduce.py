"""Raw frames in, products out: recognise, plan, execute, publish, summarise."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nightpipe import kernels
from nightpipe.api.chain import forget
from nightpipe.api.filelog import write_file_log
from nightpipe.api.logs import write_log
from nightpipe.api.metrics import target_metrics
from nightpipe.api.products import Product, Publisher, human_products
from nightpipe.api.reduction import Reduction, Target, exposures_of, status_of, targets_of
from nightpipe.api.refused import refusals
from nightpipe.api.settings import read_settings, set_layer
from nightpipe.api.summary import summary_of, write_summary
from nightpipe.api.table import read_edits
from nightpipe.api.wishlist import reference_wish
from nightpipe.base.errors import PlanError
from nightpipe.base.garbage import set_aside
from nightpipe.base.log import logger
from nightpipe.engine import decisions
from nightpipe.engine.builder import Book, Builder, Wishes
from nightpipe.engine.config import Layer
from nightpipe.engine.execute import Outcome, execute, pending
from nightpipe.engine.ledger import Ledger
from nightpipe.engine.local import InLine, Pool, Processes, workers_for
from nightpipe.engine.lock import locked
from nightpipe.engine.memory import cpu_seconds
from nightpipe.engine.night import Night, scan
from nightpipe.engine.plan import Node, Plan
from nightpipe.engine.store import HIDDEN, Store, writing
from nightpipe.instruments.registry import all_instruments, asked_for
from nightpipe.io.masters import find
from nightpipe.model.exposure import Exposure, FrameType

SKY = (FrameType.SCIENCE, FrameType.STANDARD, FrameType.IMAGE)
BUDGET = 20e9
"""Intermediates beyond so many bytes are evicted at the end of a run, oldest first."""
SITE = "NIGHTPIPE_SITE"
"""Environment variable that names the site's settings file, a layer below the user's."""

TRIES = 3
"""How many sets of calibrations may fail before a night is left as it is."""

Progress = Callable[[int, int, Outcome], None]
Paths = str | Path | Iterable[str | Path]


@dataclass(frozen=True)
class Request:
    """What the user asks for, beside the raw frames; see `reduce`."""

    out: Path
    objects: tuple[str, ...] = ()
    settings: str | Path | None = None
    assignments: tuple[str, ...] = ()
    plan: str | Path | None = None
    workers: int | None = None
    quick: bool = False
    who: str = ""
    figures: bool = True
    pdf: bool = False
    keep: Callable[[Night, Node], bool] | None = None
    extra: tuple[decisions.Decision, ...] = ()
    instrument: str = ""
    cameras: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    masters: tuple[Path, ...] = ()
    redo: str | None = None
    parts: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[Layer | None, Layer | None, Layer | None]:
        """Return the layers of site, settings file and command line."""
        site = os.environ.get(SITE)
        return (
            replace(read_settings(site), origin=f"site {Path(site).name}") if site else None,
            read_settings(self.settings) if self.settings else None,
            set_layer(self.assignments) if self.assignments else None,
        )


def reduce(
    raw: Paths,
    *,
    out: str | Path = "reduced",
    objects: Sequence[str] = (),
    settings: str | Path | None = None,
    set: Sequence[str] = (),  # noqa: A002 - named as the option of the command line
    plan: str | Path | None = None,
    references: Sequence[str | Path] = (),
    workers: int | None = None,
    quick: bool = False,
    figures: bool = True,
    progress: Progress | None = None,
    who: str = "",
    calibrations: Sequence[str | Path] = (),
    instrument: str = "",
    cameras: Sequence[str] = (),
    filters: Sequence[str] = (),
) -> Reduction:
    """Reduce raw frames (files, folders) into the folder `out`, no question asked.

    `objects` limits the targets, `settings` names a settings file, `set` holds ``"Step.parameter=value"`` texts, `plan`
    an edited plan table, `references` are earlier images to subtract, `workers` the number of processes (1: in line),
    `quick` leaves out what takes long, `figures` draws figures and report, `progress` is called with (done, total,
    outcome) after every recipe run, `who` goes into the headers, `calibrations` names output folders or products of
    earlier nights whose masters serve where tonight has no frames, `instrument` takes all frames for that one's
    (``"generic"``, a TOML file), `cameras` and `filters` limit the exposures of the sky. A second call does only what
    changed. Raises PlanError, ConfigError, LockedError, StoreError.
    """
    from nightpipe.recipes.book import BOOK

    texts = (*reference_wish(references, Path(out)), *set)
    request = Request(
        Path(out), tuple(objects), settings, texts, plan, workers, quick, who or user(), figures,
        masters=tuple(map(Path, calibrations)), instrument=instrument, cameras=tuple(cameras), filters=tuple(filters),
    )  # fmt: skip
    return reduce_with(BOOK, raw, request, progress)


def reduce_with(book: Book, raw: Paths, request: Request, progress: Progress | None = None) -> Reduction:
    """Reduce with a given book of recipes; see `reduce`."""
    started, cpu = time.perf_counter(), cpu_seconds()
    request = replace(request, out=request.out.absolute())
    with locked(request.out / HIDDEN), set_aside():
        ledger = _ledger(request.out)
        try:
            run = ledger.begin(f"reduce {request.out.name}")
            night, plan = planned(book, raw, request, ledger.checksum)
            if request.redo is not None:
                forget(Store(request.out), request.redo, {node.id for node in plan.nodes})
            ledger.decisions(decisions.read(request.out).standing)
            timing = {"plan_s": time.perf_counter() - started}
            reduction = _execute(book, night, plan, request, ledger, run, timing, progress)
            reduction = _with_other_calibrations(book, raw, reduction, request, ledger, run, progress)
            reduction = _summarised(reduction, request, started, cpu)
            ledger.end(run, reduction.status.word)
        finally:
            ledger.close()
    return reduction


def _with_other_calibrations(
    book: Book, raw: Paths, reduction: Reduction, request: Request, ledger: Ledger, run: int, progress: Progress | None
) -> Reduction:
    """Reduce again what hangs on calibrations that gave nothing, where another night's may serve."""
    for _ in range(TRIES):
        refused = dict(request.refused) | refusals(reduction)
        if refused.keys() <= request.refused.keys():
            break
        request = replace(request, refused=refused)
        night, plan = planned(book, raw, request, ledger.checksum)
        if plan.nodes == reduction.plan.nodes:
            break
        reduction = _execute(book, night, plan, request, ledger, run, reduction.timing, progress)
    return reduction


def planned(
    book: Book, raw: Paths, request: Request, checksum: Callable[[str], str] | None = None
) -> tuple[Night, Plan]:
    """Return the night as recognised and its plan, decisions and an edited table heeded; nothing is run."""
    paths = [raw] if isinstance(raw, (str, Path)) else list(raw)
    night, plan = _planned(book, paths, request, checksum)
    if request.plan is not None:
        made = read_edits(request.plan, night, plan, request.who or user())
        if made:
            decisions.append(request.out, made)
            night, plan = _planned(book, paths, request, checksum)
    return night, plan if request.keep is None else _kept(night, plan, request.keep)


def _kept(night: Night, plan: Plan, keep: Callable[[Night, Node], bool]) -> Plan:
    """Return the part of the plan that was asked for; raises PlanError where there is none."""
    part = plan.only(lambda node: keep(night, node))
    if not part.nodes:
        known = ", ".join(sorted({node.recipe for node in plan.nodes}))
        raise PlanError("frames that this recipe can work on", f"frames for {known}", "add frames, or mend their tags")
    return part


def _planned(
    book: Book, paths: list[str | Path], request: Request, checksum: Callable[[str], str] | None
) -> tuple[Night, Plan]:
    kept = decisions.read(request.out).standing
    made = decisions.Decisions((*kept, *request.extra))
    night = scan(paths, made, checksum, asked_for(request.instrument) if request.instrument else None)
    night = _through(_listed(night, request.parts), request)
    wishes = Wishes(
        *request.layers,
        decisions=made,
        objects=request.objects,
        quick=request.quick,
        kept=find(request.masters),
        refused=request.refused,
    )
    return night, Builder(night, book, wishes).plan()


def _listed(night: Night, parts: tuple[str, ...]) -> Night:
    """Return the night without those cameras on shared detectors that a list of frames leaves out."""
    files = {path.partition("#")[0] for path in parts}
    frames = (seen for seen in night.frames if seen.exposure.path in parts or seen.exposure.file not in files)
    return replace(night, frames=tuple(frames)) if parts else night


def _through(night: Night, request: Request) -> Night:
    """Return the night without exposures of the sky through other cameras or filters; calibrations stay."""
    wanted = {"arm": set(map(str.casefold, request.cameras)), "filter": set(map(str.casefold, request.filters))}
    if not any(wanted.values()):
        return night

    def kept(exposure: Exposure) -> bool:
        names = {"arm": {exposure.setup.arm}, "filter": {exposure.setup.filter, exposure.band}}
        own = {key: {name.casefold() for name in given} for key, given in names.items()}
        return exposure.type not in SKY or all(not wish or wish & own[key] for key, wish in wanted.items())

    frames = tuple(seen for seen in night.frames if kept(seen.exposure))
    if not any(seen.exposure.type in SKY for seen in frames):
        arms = sorted({f"{one.setup.arm} {one.setup.filter}".strip() for one in night.of(*SKY)})
        asked = ", ".join((*request.cameras, *request.filters))
        raise PlanError(f"exposures through {asked}", ", ".join(arms) or "none", "name a camera or filter of the night")
    return replace(night, frames=frames)


def _ledger(out: Path) -> Ledger:
    """Open the ledger; a fresh one in a folder with results is filled from them."""
    ledger = Ledger(out)
    store = Store(out)
    store.sweep()
    if ledger.fresh and store.keys.is_dir():
        ledger.rebuild(store.records(), human_products(out))
    return ledger


def _execute(
    book: Book,
    night: Night,
    plan: Plan,
    request: Request,
    ledger: Ledger,
    run: int,
    timing: dict[str, float],
    progress: Progress | None,
) -> Reduction:
    store, begun = Store(request.out), time.perf_counter()
    publisher = Publisher(store, ledger, request.who)
    products: dict[str, list[Product]] = {}
    done: list[Outcome] = []

    def watch(outcome: Outcome) -> None:
        done.append(outcome)
        ledger.task(run, outcome.record, reused=outcome.reused)
        products[outcome.node.id] = publisher.publish(outcome)
        _told(outcome)
        if progress is not None:
            progress(len(done), len(plan.nodes), outcome)

    pool = _pool(pending(plan, book, store), _kernels(plan, book), request.workers, timing)
    try:
        outcomes = execute(plan, book, store, pool, watch)
    finally:
        pool.close()
    store.evict(BUDGET)
    timing["run_s"] = time.perf_counter() - begun
    timing["workers_cpu_s"] = (
        sum(one.record.get("cpu_seconds", 0.0) for one in done if not one.reused)
        if isinstance(pool, Processes)
        else 0.0
    )
    targets = tuple(_measured(target, outcomes, plan) for target in targets_of(plan, outcomes, products))
    exposures = exposures_of(night, plan, outcomes)
    status = status_of(outcomes.values(), targets, exposures)
    belonging = {id(product) for target in targets for product in target.products}
    calibrations = tuple(one for group in products.values() for one in group if id(one) not in belonging)
    return Reduction(request.out, status, targets, calibrations, exposures, night, plan, outcomes, timing, request.who)


def _kernels(plan: Plan, book: Book) -> tuple[str, ...]:
    """Return the modules of kernels that the steps of a plan call."""
    steps = {step for name in {node.recipe for node in plan.nodes} for step in book.recipe(name).steps}
    places = [step.__module__.split(".") for step in steps]
    return kernels.used({place[2] for place in places if place[:2] == ["nightpipe", "steps"]})


def _pool(tasks: int, modules: tuple[str, ...], wanted: int | None, timing: dict[str, float]) -> Pool:
    """Return where to run; compiled kernels are made ready before any worker starts, so that all share the cache."""
    from nightpipe.api.warming import cold, warmed

    count = workers_for(tasks, wanted)
    new = cold(modules)
    if tasks and (new or count > 1):
        if new:
            logger().warning("compiling the kernels: this happens once, and takes up to half a minute")
        timing["kernels_s"] = warmed(wanted, modules)
    if count == 1:
        return InLine()
    return Processes(count, preload=("nightpipe.recipes.book",))


def _told(outcome: Outcome) -> None:
    log = logger("run")
    if not outcome.state.good:
        log.warning("%s: %s: %s", outcome.node.id, outcome.state.value, outcome.message)
    elif not outcome.reused:
        log.info("%s: %s, %.2f s", outcome.node.id, outcome.state.value, outcome.record.get("seconds", 0.0))


def _measured(target: Target, outcomes: dict[str, Outcome], plan: Plan) -> Target:
    return replace(target, metrics=target_metrics(target, outcomes, plan))


def _summarised(reduction: Reduction, request: Request, started: float, cpu: float) -> Reduction:
    """Write logs, figures, report and summary."""
    with writing(request.out):
        reduction = replace(reduction, targets=tuple(_logged(target, reduction) for target in reduction.targets))
        forms = {spec.name: spec.files for spec in all_instruments()}
        if any(forms.get(one.instrument) == "sedm" for one in reduction.night.exposures):
            _legacy(reduction)
        write_file_log(reduction)
        if request.figures:
            reduction = _reported(reduction, request, started)
        timing = reduction.timing | {
            "wall_s": time.perf_counter() - started,
            "cpu_s": cpu_seconds() - cpu + reduction.timing["workers_cpu_s"],
        }
        reduction = replace(reduction, timing=timing)
        summary = summary_of(reduction)
        write_summary(request.out, summary)
    return replace(reduction, summary=summary)


def _legacy(reduction: Reduction) -> None:
    """Write what SEDM's users and their tools know beside our own products."""
    from nightpipe.api.legacy import write_legacy

    write_legacy(reduction)


def _logged(target: Target, reduction: Reduction) -> Target:
    lineage = reduction.lineage(target.node, target.sides)
    names = [one.node.publish.values() for one in lineage if one.node.label == target.label and one.node.publish]
    name = next(iter(names[0])) if names else target.node.replace(":", "_")
    path = write_log(reduction.out / f"{name}.log", f"{target.name}: {target.label}", lineage)
    return replace(target, log=path)


def _reported(reduction: Reduction, request: Request, started: float) -> Reduction:
    """Draw what a person would check and write the page of the night."""
    from nightpipe.api.figures import drawn
    from nightpipe.api.pages import write_page

    begun = time.perf_counter()
    reduction = drawn(reduction, pdf=request.pdf, quick=request.quick, processes=request.workers)
    reduction = replace(reduction, timing=reduction.timing | {"wall_s": time.perf_counter() - started})
    write_page(reduction)
    return replace(reduction, timing=reduction.timing | {"figures_s": time.perf_counter() - begun})


def user() -> str:
    """Return who is at work, for decisions and headers."""
    try:
        return os.environ.get("NIGHTPIPE_WHO") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
