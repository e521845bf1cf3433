"""How a mode's planner builds a plan: it names recipes and inputs, the builder resolves, checks and orders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import PlanError
from nightpipe.base.recipe import Recipe
from nightpipe.engine.config import Layer, Settings, Vocabulary, resolve
from nightpipe.engine.decisions import Decision, Decisions, is_about_steps, step_layer
from nightpipe.engine.kept import choose
from nightpipe.engine.match import Match, Reason, associate
from nightpipe.engine.night import Night
from nightpipe.engine.plan import Inputs, Node, OutputRef, Plan, RawInput, RawRef, Ref
from nightpipe.io.masters import Master
from nightpipe.model.exposure import Exposure, FrameType

Given = Ref | Sequence[Ref] | None


@dataclass(frozen=True)
class Book:
    """All recipes, the planner that puts them in order, and where a worker process imports the book from.

    `plan(night, builder)` calls `Builder.match`, `Builder.raw` and `Builder.node`; `address` is
    ``"package.module:NAME"`` of this very object.
    """

    recipes: tuple[Recipe, ...]
    plan: Callable[[Night, Builder], None]
    address: str

    def recipe(self, name: str) -> Recipe:
        """Return the recipe of this name; raises PlanError."""
        for recipe in self.recipes:
            if recipe.name == name:
                return recipe
        raise PlanError("a recipe", name, "one of " + ", ".join(recipe.name for recipe in self.recipes))


@dataclass(frozen=True)
class Wishes:
    """What the user asked for: parameters, decisions, objects, earlier masters; `refused` frames that gave nothing."""

    site: Layer | None = None
    settings: Layer | None = None
    command_line: Layer | None = None
    decisions: Decisions = field(default_factory=Decisions)
    objects: tuple[str, ...] = ()
    quick: bool = False
    kept: tuple[Master, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


class Builder:
    """Collects the nodes of a plan.

    A planner, say for the long slit, reads::

        for exposure in night.of(FrameType.SCIENCE):
            arcs = builder.match(exposure, FrameType.ARC)
            wave = builder.node("arc", inputs={"frames": [builder.raw(a) for a in arcs.exposures]})
            builder.node("extract", inputs={"raw": builder.raw(exposure), "wave": wave["wave"]}, exposure=exposure,
                         target=exposure.target, caveats=arcs.caveats, reasons=arcs.reasons)

    Asking twice for the same recipe on the same inputs returns the first node, so masters need no bookkeeping.
    """

    def __init__(self, night: Night, book: Book, wishes: Wishes | None = None) -> None:
        self.night = night
        self.book = book
        self.wishes = wishes or Wishes()
        self.vocabulary = Vocabulary(book.recipes)
        self._nodes: dict[str, Node] = {}
        self._same: dict[tuple[str, str], str] = {}
        self._raws: dict[str, RawInput] = {}
        self._notes: dict[str, None] = {}
        self._check_wishes()

    @property
    def quick(self) -> bool:
        """Return whether the user wants a quick look: planners may leave out what takes long and changes little."""
        return self.wishes.quick

    def raw(self, exposure: Exposure) -> RawRef:
        """Return a reference to a raw frame."""
        seen = self.night.frame(exposure)
        self._raws[exposure.path] = RawInput(seen.exposure, seen.detector, seen.disperser)
        return RawRef(exposure.path)

    def match(self, exposure: Exposure, kind: FrameType, *, also: Sequence[str] = ()) -> Match:
        """Return the calibrations of type `kind` for `exposure` with caveats and reasons; see `engine.match`.

        `also` names further facts that must agree, such as ``exptime`` for darks. A missing calibration is an empty
        match with the caveat ``<kind>.missing``; a decision ``Match.<kind>`` overrides the rule.
        """
        return associate(self.night, exposure, kind, self.wishes.decisions, also)

    def kept(self, exposure: Exposure, kind: FrameType, output: str) -> tuple[RawRef | None, Match]:
        """Return an earlier night's master (`output`, associated as frames of `kind`) for `exposure`, with caveats."""
        seen = self.night.frame(exposure)
        best, match = choose(self.wishes.kept, seen, kind, output)
        if best is None:
            return None, match
        self._raws[best.exposure.path] = RawInput(best.exposure, seen.detector, seen.disperser)
        return RawRef(best.exposure.path), match

    def note(self, text: str) -> None:
        """Tell the user something about the plan as a whole."""
        self._notes[text] = None

    def node(
        self,
        recipe: str,
        *,
        inputs: Mapping[str, Given],
        exposure: Exposure | None = None,
        target: str = "",
        label: str = "",
        caveats: Iterable[Caveat] = (),
        reasons: Iterable[Reason] = (),
        publish: Mapping[str, str] | None = None,
    ) -> Node:
        """Add a run of `recipe` and return its node, whose outputs are ``node["name"]``.

        `inputs` maps the recipe's input names to a reference, a sequence of references (inputs in `Recipe.many`), or
        None (inputs in `Recipe.optional`); names left out are None. `exposure` is the raw frame that the run is about:
        its decisions and its instrument's overrides hold; without it, those of the first raw frame among the inputs do
        (decisions then are found by the node's id, label or published name). `label` is a short human name, unique
        within the recipe. `publish` maps outputs to human names below the output folder, such as
        ``{"bias": "calibrations/bias_1x2"}``: these are kept as checksummed products, all else is intermediate.
        Raises PlanError when inputs do not fit the recipe, ConfigError for impossible parameters.
        """
        declared = self.book.recipe(recipe)
        bound = self._bound(declared, inputs)
        identity = (recipe, repr(sorted(bound.items())) + (exposure.path if exposure else ""))
        if identity in self._same:
            return self._extended(self._same[identity], caveats, reasons, publish)
        identifier = self._identifier(recipe, label or (exposure.name if exposure else ""))
        names = (identifier, label, *_human(publish).values())
        about = exposure or self._first_exposure(bound)
        node = Node(
            id=identifier,
            recipe=recipe,
            inputs=bound,
            parameters=self._parameters(declared, about, exposure, names),
            exposure=exposure.name if exposure else "",
            target=target,
            label=label,
            caveats=merged(caveats, self.night.frame(exposure).caveats if exposure else ()),
            reasons=tuple(reasons),
            publish=_human(publish),
        )
        self._nodes[identifier] = node
        self._same[identity] = identifier
        return node

    def plan(self) -> Plan:
        """Run the book's planner and return the plan; raises PlanError where there is nothing to do."""
        self.book.plan(self.night, self)
        self._note_unused_decisions()
        nodes = tuple(self._nodes.values())
        if not nodes:
            types = ", ".join(sorted({one.type.value for one in self.night.exposures}))
            raise PlanError("frames that can be reduced", f"only {types}", "add science or calibration frames")
        return Plan(nodes, dict(self._raws), self.night.skipped, tuple(self._notes)).for_targets(self.wishes.objects)

    def _check_wishes(self) -> None:
        wishes = self.wishes
        for layer in (wishes.site, wishes.settings, wishes.command_line):
            if layer is not None:
                self.vocabulary.check_layer(layer)
        for decision in wishes.decisions.standing:
            if is_about_steps(decision.parameter):
                self.vocabulary.check(decision.parameter, f"decision of {decision.when}")

    def _bound(self, recipe: Recipe, inputs: Mapping[str, Given]) -> Inputs:
        if unknown := set(inputs) - set(recipe.inputs):
            raise PlanError(f"inputs of recipe {recipe.name}: {', '.join(recipe.inputs)}", ", ".join(sorted(unknown)))
        return {name: self._refs(recipe, name, inputs.get(name)) for name in recipe.inputs}

    def _refs(self, recipe: Recipe, name: str, given: Given) -> tuple[Ref, ...]:
        refs = () if given is None else (given,) if isinstance(given, (RawRef, OutputRef)) else tuple(given)
        if name not in recipe.many and (len(refs) > 1 or (not refs and name not in recipe.optional)):
            raise PlanError(f"one {name} for recipe {recipe.name}", str(len(refs)), "mend the planner")
        for ref in refs:
            if isinstance(ref, OutputRef) and ref.output not in self._outputs(ref.node):
                raise PlanError(f"an output of {ref.node}", ref.output, "mend the planner")
        return refs

    def _outputs(self, node: str) -> tuple[str, ...]:
        return self.book.recipe(self._nodes[node].recipe).outputs

    def _extended(
        self, identifier: str, caveats: Iterable[Caveat], reasons: Iterable[Reason], publish: Mapping[str, str] | None
    ) -> Node:
        node = self._nodes[identifier]
        changes = {
            "caveats": merged(node.caveats, caveats),
            "reasons": tuple(dict.fromkeys((*node.reasons, *reasons))),
            "publish": node.publish | _human(publish),
        }
        self._nodes[identifier] = Node(**{**vars(node), **changes})
        return self._nodes[identifier]

    def _identifier(self, recipe: str, label: str) -> str:
        base = recipe + (":" + re.sub(r"[^\w.+-]+", "_", label) if label else "")
        used = [base, *(f"{base}-{number}" for number in range(2, len(self._nodes) + 3))]
        return next(name for name in used if name not in self._nodes)

    def _first_exposure(self, inputs: Inputs) -> Exposure | None:
        """Return the first raw frame that the inputs descend from."""
        for ref in (ref for group in inputs.values() for ref in group):
            found = (
                self._raws[ref.path].exposure
                if isinstance(ref, RawRef)
                else self._first_exposure(self._nodes[ref.node].inputs)
            )
            if found is not None and found.type is not FrameType.REDUCED:
                return found
        return None

    def _parameters(
        self, recipe: Recipe, about: Exposure | None, exposure: Exposure | None, names: Sequence[str]
    ) -> Settings:
        wishes = self.wishes
        made = wishes.decisions.on(name for name in names if name)
        if exposure is not None:
            made = (*wishes.decisions.of(exposure), *made)
        overrides = {} if about is None else self.night.frame(about).overrides
        instrument = Layer(f"instrument {about.instrument}" if about else "instrument", overrides)
        self.vocabulary.check_layer(instrument)
        self._note_beaten(made)
        layers = (instrument, wishes.site, wishes.settings, step_layer(made), wishes.command_line)
        return resolve(recipe, [layer for layer in layers if layer is not None])

    def _note_beaten(self, made: Iterable[Decision]) -> None:
        line = self.wishes.command_line.values if self.wishes.command_line else {}
        for decision in made:
            if decision.parameter in line and line[decision.parameter] != decision.value:
                self.note(
                    f"--set {decision.parameter}={line[decision.parameter]} beats the decision on {decision.exposure} "
                    f"({decision.value}, by {decision.who})"
                )

    def _note_unused_decisions(self) -> None:
        names = {one.name for one in self.night.exposures} | {node.exposure for node in self._nodes.values()}
        names |= {name for node in self._nodes.values() for name in (node.id, node.label, *node.publish.values())}
        for decision in self.wishes.decisions.standing:
            if decision.exposure not in names and decision.parameter != "Frame.use":
                self.note(f"the decision on {decision.exposure} ({decision.parameter}) met no frame of this night")


def _human(publish: Mapping[str, str] | None) -> dict[str, str]:
    """Return the human names without what shells and web pages stumble over."""
    return {output: re.sub(r"[^\w.+/-]+", "", name) for output, name in (publish or {}).items()}
