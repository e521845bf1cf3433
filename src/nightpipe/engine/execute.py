"""Executing a plan: what is known is not done again, what fails stops only what hangs on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import StoreError
from nightpipe.base.plain import from_plain, to_plain
from nightpipe.base.recipe import Recipe
from nightpipe.engine.builder import Book
from nightpipe.engine.keys import node_key, raw_key
from nightpipe.engine.local import InLine, Pool
from nightpipe.engine.plan import Node, OutputRef, Plan, RawRef, Ref
from nightpipe.engine.store import Store
from nightpipe.engine.worker import Task
from nightpipe.model.exposure import FrameType


class State(StrEnum):
    """How a node, and what is made of it, came out; the later the worse."""

    OK = "ok"
    CAVEATS = "caveats"
    SKIPPED = "skipped"
    BLOCKED = "blocked"
    UNPROCESSABLE = "unprocessable"
    FAILED = "failed"

    @property
    def good(self) -> bool:
        """Return whether there are outputs."""
        return self in (State.OK, State.CAVEATS)


@dataclass(frozen=True)
class Outcome:
    """What became of a node: `record` as stored, `caveats` with all that was inherited, `reused` if nothing was run."""

    node: Node
    state: State
    key: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
    reused: bool = False

    @property
    def message(self) -> str:
        """Return what went wrong, in one line: wanted, found, remedy."""
        error = self.record.get("error", {})
        parts = (error.get("wanted"), error.get("found"), error.get("remedy"))
        return "; ".join(lead + part for lead, part in zip(("", "found: ", "try: "), parts, strict=True) if part)


Watcher = Callable[[Outcome], None]


@dataclass(frozen=True)
class Bound:
    """A node's inputs as they turned out: references that exist, their keys, what was lost on the way."""

    refs: dict[str, tuple[Ref, ...]]
    key: str
    caveats: tuple[Caveat, ...]
    inherited: tuple[Caveat, ...]


def execute(plan: Plan, book: Book, store: Store, pool: Pool, watch: Watcher | None = None) -> dict[str, Outcome]:
    """Run what is not yet known of a plan and return every node's outcome; raises StoreError when the disk is full.

    `watch` is called with each outcome as it comes.
    """
    return Execution(plan, book, store, pool, watch or _unwatched).run()


def pending(plan: Plan, book: Book, store: Store) -> int:
    """Return how many nodes would have to be run, as far as can be told before running any."""
    return len(plan.nodes) - len(Execution(plan, book, store, InLine(places=0), _unwatched).run())


def _unwatched(_outcome: Outcome) -> None:
    """Nobody looks."""


class Execution:
    """The state of one execution: outcomes so far, nodes under way, nodes whose evicted files are made again."""

    def __init__(self, plan: Plan, book: Book, store: Store, pool: Pool, watch: Watcher) -> None:
        self.plan, self.book, self.store, self.pool, self.watch = plan, book, store, pool, watch
        self.outcomes: dict[str, Outcome] = {}
        self.bound: dict[str, Bound] = {}
        self.under_way: dict[str, str] = {}
        self.again: set[str] = set()
        self.full: StoreError | None = None

    def run(self) -> dict[str, Outcome]:
        """Settle all nodes."""
        while not self.full and self._advance():
            for task, record in self.pool.results():
                self._take(task, record)
        if self.full:
            raise self.full
        return self.outcomes

    def _advance(self) -> bool:
        """Settle what is known, submit what is ready; return whether anything is left to wait for."""
        for node in self.plan.nodes:
            if node.id not in self.outcomes and all(name in self.outcomes for name in node.needs):
                self._start(node)
        seen: set[str] = set()
        while fresh := self.again - seen:  # what is made again may itself need something made again
            seen |= fresh
            for name in sorted(fresh):
                self._remake(self.plan.node(name))
        return bool(self.under_way)

    def _start(self, node: Node) -> None:
        recipe = self.book.recipe(node.recipe)
        bound = self.bound.get(node.id) or self._bind(node, recipe)
        if bound is None:
            return
        self.bound[node.id] = bound
        record = self.store.record(bound.key)
        if record is not None and self._serves(node, record):
            self._settle(node, record, reused=True)
        elif node.id not in self.under_way and self.pool.room() > 0:
            self._submit(node, bound)

    def _serves(self, node: Node, record: Mapping[str, Any]) -> bool:
        """Return whether what is stored will do: products must be there, intermediates may have been evicted."""
        if not set(node.publish) <= set(record["published"]) and State(record["state"]).good:
            return False
        return all(
            path.exists() for output in node.publish for path in self.store.files(record["key"], output, dict(record))
        )

    def _submit(self, node: Node, bound: Bound) -> None:
        """Submit a node if all that it reads is on disk; else have that made again first."""
        gone = [name for name in node.needs if self.outcomes[name].state.good and not self._on_disk(name)]
        self.again |= set(gone)
        if gone or bound.key in self.under_way.values():
            return
        self.under_way[node.id] = bound.key
        self.pool.submit(self._task(node, bound))

    def _remake(self, node: Node) -> None:
        if self._on_disk(node.id):
            self.again.discard(node.id)
        elif node.id not in self.under_way and self.pool.room() > 0:
            self._submit(node, self.bound[node.id])

    def _on_disk(self, name: str) -> bool:
        outcome = self.outcomes[name]
        return self.store.whole(outcome.key, outcome.record)

    def _bind(self, node: Node, recipe: Recipe) -> Bound | None:
        """Return the node's real inputs; a required one that was not made blocks the node.

        What failed is left out of inputs that take many, and is absent from optional ones: both with a caveat.
        """
        refs: dict[str, tuple[Ref, ...]] = {}
        lost: list[Caveat] = []
        for name, wanted in node.inputs.items():
            refs[name] = tuple(ref for ref in wanted if self._made(ref))
            missing = [ref.node for ref in wanted if isinstance(ref, OutputRef) and not self._made(ref)]
            spare = name in recipe.optional or (name in recipe.many and refs[name])
            if missing and not spare:
                self._block(node, name, missing)
                return None
            lost += [Caveat("input.failed", f"{name} without {one}: {self.outcomes[one].message}") for one in missing]
        keys = {name: [self._key(ref) for ref in group] for name, group in refs.items()}
        values = {name: setting.value for name, setting in node.parameters.items()}
        inherited = merged(*(self.outcomes[one].caveats for one in _nodes_of(refs)))
        return Bound(refs, node_key(recipe, values, keys), merged(node.caveats, inherited, lost), inherited)

    def _made(self, ref: Ref) -> bool:
        return isinstance(ref, RawRef) or self.outcomes[ref.node].state.good

    def _key(self, ref: Ref) -> str:
        if isinstance(ref, RawRef):
            return raw_key(self.plan.raws[ref.path])
        return f"{self.outcomes[ref.node].key}/{ref.output}"

    def _block(self, node: Node, name: str, missing: list[str]) -> None:
        found = "; ".join(dict.fromkeys(self._root(one) for one in missing))
        error = {"kind": "Blocked", "wanted": f"{name} from {', '.join(missing)}", "found": found, "remedy": ""}
        record = {"key": "", "node": node.id, "recipe": node.recipe, "state": State.BLOCKED.value, "error": error}
        self._settle(node, record, reused=False)

    def _root(self, name: str) -> str:
        """Return what went wrong in the first place: what is blocked tells of that, not of the chain from there."""
        outcome = self.outcomes[name]
        if outcome.state is State.BLOCKED:
            return str(outcome.record["error"]["found"])
        return f"{name}: {outcome.message}"

    def _task(self, node: Node, bound: Bound) -> Task:
        return Task(
            node=node.id,
            key=bound.key,
            book=self.book.address,
            recipe=node.recipe,
            out=str(self.store.out),
            inputs={name: [self._located(ref) for ref in group] for name, group in bound.refs.items()},
            parameters=to_plain(node.parameters),
            provenance=self._provenance(node, bound),
            caveats=bound.caveats,
            inherited=bound.inherited,
            published=tuple(node.publish),
        )

    def _located(self, ref: Ref) -> dict[str, Any]:
        if isinstance(ref, RawRef):
            return {"raw": to_plain(self.plan.raws[ref.path])}
        outcome = self.outcomes[ref.node]
        files = self.store.files(outcome.key, ref.output, outcome.record)
        return {"files": [str(path) for path in files], "many": outcome.record["outputs"][ref.output]["many"]}

    def _provenance(self, node: Node, bound: Bound) -> dict[str, Any]:
        """Return what the record says of where the inputs come from."""
        return {
            "target": node.target,
            "exposure": node.exposure,
            "label": node.label,
            "publish": node.publish,
            "inputs": {name: [self._origin(ref) for ref in group] for name, group in bound.refs.items()},
            "reasons": to_plain(node.reasons),
            "about": {} if node.exposure or not node.publish else self._about(node),
        }

    def _about(self, node: Node) -> dict[str, Any]:
        """Return the first raw frame behind a master and its detector: by them a later night finds it."""
        for raw in (self.plan.raws[path] for path in node.raws):
            if raw.exposure.type is not FrameType.REDUCED:
                return {"exposure": to_plain(raw.exposure), "detector": raw.detector.name}
        found = (self._about(self.plan.node(name)) for name in node.needs)
        return next((one for one in found if one), {})

    def _origin(self, ref: Ref) -> dict[str, str]:
        if isinstance(ref, RawRef):
            return {"raw": ref.path, "sha256": self.plan.raws[ref.path].exposure.sha256}
        return {"node": ref.node, "output": ref.output, "key": self.outcomes[ref.node].key}

    def _take(self, task: Task, record: dict[str, Any]) -> None:
        """Note a finished task."""
        self.under_way.pop(task.node, None)
        if record.get("error", {}).get("kind") == "StoreError":
            error = record["error"]
            self.full = StoreError(error["wanted"], error["found"], error["remedy"])
        elif task.node not in self.outcomes:
            self._settle(self.plan.node(task.node), record, reused=False)
        elif not State(record["state"]).good:
            self._unmade(task.node, record)

    def _unmade(self, name: str, record: dict[str, Any]) -> None:
        """Note that an evicted result could not be made again: what waits for it is then blocked."""
        self.again.discard(name)
        self.outcomes[name] = replace(self.outcomes[name], state=State(record["state"]), record=record)
        for node in self.plan.nodes:
            if name in node.needs and node.id not in self.outcomes:
                self.bound.pop(node.id, None)

    def _settle(self, node: Node, record: dict[str, Any], *, reused: bool) -> None:
        bound = self.bound.get(node.id)
        own = tuple(from_plain(Caveat, item) for item in record.get("own_caveats", ()))
        caveats = merged(bound.caveats if bound else node.caveats, own)
        state = State(record["state"])
        if state.good:
            state = State.CAVEATS if caveats else State.OK
        outcome = Outcome(node, state, record.get("key", ""), record, caveats, reused)
        self.outcomes[node.id] = outcome
        self.watch(outcome)


def _nodes_of(refs: Mapping[str, tuple[Ref, ...]]) -> list[str]:
    return list(dict.fromkeys(ref.node for group in refs.values() for ref in group if isinstance(ref, OutputRef)))
