"""What a reduction gives back: targets, calibrations, exposures, and how it all came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from nightpipe.api.products import CLASSIFICATION, SPECTRUM, STACK, Product
from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import PlanError
from nightpipe.engine.config import near
from nightpipe.engine.execute import Outcome, State
from nightpipe.engine.night import Night, Skipped
from nightpipe.engine.plan import Plan, folded
from nightpipe.model.exposure import Exposure

SIDES = ("segments", "newsources", "difference", "lightcurve", "lightcurves", "colour")
"""Runs beside a target's main line: what they make belongs to it, and where they fail the target stands."""
USUAL = ".moving"
"""Ending of caveats that hold for every list of new sources: they stand on the lists themselves."""
WORST = (State.OK, State.SKIPPED, State.CAVEATS, State.BLOCKED, State.UNPROCESSABLE, State.FAILED)


class Status(IntEnum):
    """How a reduction ended, as the command's exit status tells it."""

    WELL = 0
    CAVEATS = 10
    SOME_FAILED = 11
    NOTHING = 12

    @property
    def word(self) -> str:
        """Return the status in one word, as in the summary."""
        return {0: "ok", 10: "caveats", 11: "failed", 12: "nothing"}[int(self)]


@dataclass(frozen=True)
class ExposureReport:
    """What became of one raw frame: `state`, caveats, and in `reason` why it was left aside or what went wrong."""

    name: str
    path: str
    type: str = ""
    target: str = ""
    instrument: str = ""
    setup: str = ""
    state: State = State.SKIPPED
    caveats: tuple[Caveat, ...] = ()
    reason: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Target:
    """A target in one setup: its products, the exposures that went in, metrics by name, what a user must know.

    `node` is the last run of the plan that made it, `sides` are runs that took from it what they measured.
    """

    name: str
    label: str
    state: State
    exposures: tuple[str, ...]
    products: tuple[Product, ...]
    caveats: tuple[Caveat, ...]
    metrics: dict[str, Any] = field(default_factory=dict)
    figures: tuple[Path, ...] = ()
    log: Path | None = None
    reason: str = ""
    node: str = ""
    sides: tuple[str, ...] = ()

    @property
    def spectrum(self) -> Product | None:
        """Return the final spectra (one product, an object each), or None."""
        spectra = [product for product in self.products if product.kind == SPECTRUM]
        return spectra[0] if spectra else None

    @property
    def stack(self) -> Product | None:
        """Return the stack of the target's images, or None."""
        return next((product for product in self.products if product.kind == STACK), None)

    @property
    def spectra(self) -> tuple[Any, ...]:
        """Return the models of the final spectra, the brightest object first."""
        return self.spectrum.models() if self.spectrum else ()

    @property
    def classifications(self) -> tuple[Any, ...]:
        """Return what the final spectra were classified as, one for each that was good enough."""
        return tuple(model for product in self.products if product.kind == CLASSIFICATION for model in product.models())

    def plot(self) -> Any:
        """Draw the final spectrum or the stack, or where there is none the first product."""
        product = self.spectrum or self.stack or self.products[0]
        return product.plot()


@dataclass(frozen=True)
class Reduction:
    """A finished reduction of some raw frames into the folder `out`."""

    out: Path
    status: Status
    targets: tuple[Target, ...]
    calibrations: tuple[Product, ...]
    exposures: tuple[ExposureReport, ...]
    night: Night = field(repr=False)
    plan: Plan = field(repr=False)
    outcomes: Mapping[str, Outcome] = field(repr=False)
    timing: dict[str, float] = field(default_factory=dict)
    who: str = ""
    summary: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Target:
        """Return the first target of this name (or label); raises PlanError."""
        for target in self.targets:
            if folded(name) in (folded(target.name), folded(target.label)):
                return target
        raise PlanError("a target", name, near(name, [target.name for target in self.targets]))

    @property
    def ran(self) -> tuple[str, ...]:
        """Return the plan's nodes that were really run, not found done."""
        return tuple(name for name, one in self.outcomes.items() if not one.reused and one.state is not State.BLOCKED)

    def lineage(self, node: str, sides: Iterable[str] = ()) -> tuple[Outcome, ...]:
        """Return a node's outcome and those of all that it descends from, and of `sides`, in the plan's order."""
        wanted = self.plan.ancestors([node]) | set(sides)
        return tuple(self.outcomes[one.id] for one in self.plan.nodes if one.id in wanted)


def targets_of(
    plan: Plan, outcomes: Mapping[str, Outcome], products: Mapping[str, list[Product]]
) -> tuple[Target, ...]:
    """Return a target for each last node of the plan that has one."""
    main = [node for node in plan.nodes if node.recipe not in SIDES]
    used = {need for node in main for need in node.needs}
    leaves = [node.id for node in main if node.target and node.id not in used]
    sides = _sides(plan, leaves)
    return tuple(_target(plan, outcomes, products, leaf, sides[leaf]) for leaf in leaves)


def _sides(plan: Plan, leaves: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the side runs of each leaf: one that took from several belongs to the first of them."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(leaves, ())
    for node in plan.nodes:
        if node.recipe in SIDES:
            above = plan.ancestors([node.id])
            owner = next((leaf for leaf in found if line_of(plan, leaf) & above), None)
            if owner is not None:
                found[owner] += (node.id,)
    return found


def _target(
    plan: Plan,
    outcomes: Mapping[str, Outcome],
    products: Mapping[str, list[Product]],
    leaf: str,
    sides: tuple[str, ...],
) -> Target:
    outcome = outcomes[leaf]
    own = line_of(plan, leaf)
    line = [node for node in plan.nodes if node.id in own]
    final = [product for node in reversed(line) for product in products.get(node.id, ())]
    final += [product for side in sides for product in products.get(side, ()) if product.stored]
    exposures = dict.fromkeys(node.exposure for node in line if node.exposure)
    told = (caveat for side in sides for caveat in arisen(outcomes[side]) if not caveat.code.endswith(USUAL))
    caveats = merged(outcome.caveats, told)
    return Target(
        name=outcome.node.target,
        label=outcome.node.label,
        state=outcome.state,
        exposures=tuple(exposures),
        products=tuple(final),
        caveats=tuple(_placed(one, exposures, plan, outcomes) for one in caveats),
        reason="" if outcome.state.good else outcome.message,
        node=leaf,
        sides=sides,
    )


def line_of(plan: Plan, leaf: str) -> set[str]:
    """Return a target's own runs: those from which its last one descends through runs of this target alone.

    A sky or a response that other exposures made is none of them, nor what went into it.
    """
    target, found = plan.node(leaf).target, {leaf}
    for node in reversed(plan.nodes):
        if node.id in found:
            found |= {need for need in node.needs if plan.node(need).target == target}
    return found


def _placed(caveat: Caveat, own: Iterable[str], plan: Plan, outcomes: Mapping[str, Outcome]) -> Caveat:
    """Return a caveat that came from other targets' exposures alone, such as the standard's, with their names."""
    arose = [node.exposure for node in plan.nodes if caveat in arisen(outcomes[node.id])]
    if not arose or not all(arose) or set(arose) & set(own):
        return caveat
    return Caveat(caveat.code, f"{', '.join(dict.fromkeys(arose))}: {caveat.text}")


def arisen(outcome: Outcome) -> tuple[Caveat, ...]:
    """Return the caveats that a run brought up itself, those of its plan included."""
    own = (Caveat(one["code"], one["text"]) for one in outcome.record.get("arisen", ()))
    return merged(outcome.node.caveats, own)


def exposures_of(night: Night, plan: Plan, outcomes: Mapping[str, Outcome]) -> tuple[ExposureReport, ...]:
    """Return what became of every raw file that was looked at."""
    seen = [_exposure(night, plan, outcomes, path) for path in (one.path for one in night.exposures)]
    return (*seen, *map(_aside, night.skipped))


def _aside(one: Skipped) -> ExposureReport:
    state = State.UNPROCESSABLE if one.fault else State.SKIPPED
    if one.dropped is None:
        return ExposureReport(Path(one.path).name, one.path, state=state, reason=one.reason)
    return _report(one.dropped, one.path, state, one.reason)


def _exposure(night: Night, plan: Plan, outcomes: Mapping[str, Outcome], path: str) -> ExposureReport:
    exposure = night.frame(path).exposure
    about = [outcomes[node.id] for node in plan.nodes if node.exposure == exposure.name]
    reading = [outcomes[node.id] for node in plan.nodes if path in node.raws]
    state, reason = State.SKIPPED, "nothing needs it"
    if about or reading:
        worst = max(about or reading, key=lambda one: WORST.index(one.state))
        state, reason = worst.state, "" if worst.state.good else worst.message
    return _report(exposure, path, state, reason, merged(*(one.caveats for one in about or reading)))


def _report(
    exposure: Exposure, path: str, state: State, reason: str, caveats: tuple[Caveat, ...] = ()
) -> ExposureReport:
    return ExposureReport(
        name=exposure.name,
        path=path,
        type=exposure.type.value,
        target=exposure.target,
        instrument=exposure.instrument,
        setup=exposure.setup.label(),
        state=state,
        caveats=caveats,
        reason=reason,
        sha256=exposure.sha256,
    )


def status_of(outcomes: Iterable[Outcome], targets: Iterable[Target], exposures: Iterable[ExposureReport]) -> Status:
    """Return how it all ended."""
    outcomes, targets = list(outcomes), list(targets)
    made = [target for target in targets if target.state.good]
    if not any(one.state.good for one in outcomes) or (targets and not made):
        return Status.NOTHING
    bad = (State.FAILED, State.UNPROCESSABLE, State.BLOCKED)
    if any(one.state in bad for one in outcomes) or any(one.state in bad for one in exposures):
        return Status.SOME_FAILED
    return Status.CAVEATS if any(one.state is State.CAVEATS for one in outcomes) else Status.WELL
