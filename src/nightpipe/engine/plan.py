"""The plan: a graph of recipe runs, made from headers, printable, complete: what an executor needs and no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import PlanError
from nightpipe.base.plain import from_plain, to_plain
from nightpipe.engine.config import Setting, Settings, near
from nightpipe.engine.match import Reason
from nightpipe.engine.night import Skipped
from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser
from nightpipe.model.exposure import Exposure


@dataclass(frozen=True)
class RawRef:
    """An input that is a raw frame, by the path of its file."""

    path: str


@dataclass(frozen=True)
class OutputRef:
    """An input that another node makes."""

    node: str
    output: str


Ref = RawRef | OutputRef
Inputs = dict[str, tuple[Ref, ...]]


@dataclass(frozen=True)
class RawInput:
    """What reading a raw frame takes: its exposure, detector and disperser as planned."""

    exposure: Exposure
    detector: Detector
    disperser: Disperser | None = None


@dataclass(frozen=True)
class Node:
    """One run of a recipe, planned.

    `inputs` are references by name, an empty tuple where an optional input is absent. `exposure` is the name of the
    raw frame that the run is about (empty for masters), `target` the target whose folder it belongs to. `publish` maps
    outputs to human names below the output folder, without ending. ``node["frame"]`` refers to an output.
    """

    id: str
    recipe: str
    inputs: Inputs
    parameters: Settings
    exposure: str = ""
    target: str = ""
    label: str = ""
    caveats: tuple[Caveat, ...] = ()
    reasons: tuple[Reason, ...] = ()
    publish: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, output: str) -> OutputRef:
        return OutputRef(self.id, output)

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the ids of the nodes whose outputs go in."""
        refs = (ref for group in self.inputs.values() for ref in group)
        return tuple(dict.fromkeys(ref.node for ref in refs if isinstance(ref, OutputRef)))

    @property
    def raws(self) -> tuple[str, ...]:
        """Return the paths of the raw frames that go in directly."""
        refs = (ref for group in self.inputs.values() for ref in group)
        return tuple(dict.fromkeys(ref.path for ref in refs if isinstance(ref, RawRef)))


@dataclass(frozen=True)
class Plan:
    """Nodes in an order in which they can run, the raw frames they read, the files left aside, notes for the user."""

    nodes: tuple[Node, ...]
    raws: dict[str, RawInput] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def node(self, name: str) -> Node:
        """Return the node of this id; raises PlanError."""
        for node in self.nodes:
            if node.id == name:
                return node
        raise PlanError("a node of the plan", name, near(name, [node.id for node in self.nodes]))

    def ancestors(self, ids: Iterable[str]) -> set[str]:
        """Return `ids` and all nodes that they descend from."""
        wanted = set(ids)
        for node in reversed(self.nodes):
            if node.id in wanted:
                wanted |= set(node.needs)
        return wanted

    def only(self, keep: Callable[[Node], bool]) -> Plan:
        """Return the plan of the nodes for which `keep` holds and their ancestors."""
        wanted = self.ancestors(node.id for node in self.nodes if keep(node))
        nodes = tuple(node for node in self.nodes if node.id in wanted)
        read = {path for node in nodes for path in node.raws}
        raws = {path: one for path, one in self.raws.items() if path in read}
        return Plan(nodes, raws, self.skipped, self.notes)

    def for_targets(self, names: Iterable[str]) -> Plan:
        """Return the plan of these targets and what they need; names compare without case and blanks."""
        wanted = [folded(name) for name in names]
        if not wanted:
            return self
        targets = dict.fromkeys(node.target for node in self.nodes if node.target)
        if lost := [name for name in names if folded(name) not in map(folded, targets)]:
            raise PlanError(
                "objects of this night", ", ".join(lost), near(lost[0], targets) + f" ({', '.join(targets)})"
            )
        return self.only(lambda node: folded(node.target) in wanted)

    def to_json(self) -> str:
        """Return the plan as JSON text; `from_json` reads it back."""
        return json.dumps(to_plain(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Plan:
        """Return the plan that `to_json` wrote."""
        plain = json.loads(text)
        nodes = tuple(_node(item) for item in plain["nodes"])
        raws = {path: from_plain(RawInput, item) for path, item in plain["raws"].items()}
        skipped = tuple(from_plain(Skipped, item) for item in plain["skipped"])
        return Plan(nodes, raws, skipped, tuple(plain["notes"]))

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")


def folded(name: str) -> str:
    """Return a name for comparison: without case, blanks and underscores."""
    return "".join(name.split()).replace("_", "").casefold()


def _node(item: Mapping[str, object]) -> Node:
    plain = dict(item)
    inputs = {name: tuple(map(_ref, refs)) for name, refs in plain.pop("inputs").items()}  # type: ignore[attr-defined]
    node = from_plain(Node, plain | {"inputs": {}})
    parameters = {name: from_plain(Setting, one) for name, one in plain["parameters"].items()}  # type: ignore[attr-defined]
    return Node(**{**vars(node), "inputs": inputs, "parameters": parameters})


def _ref(item: Mapping[str, str]) -> Ref:
    return RawRef(item["path"]) if "path" in item else OutputRef(item["node"], item["output"])
