"""Which images tell each other's sky and fringes: by instrument, band and wish."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nightpipe.base.caveat import Caveat
from nightpipe.engine.builder import Builder
from nightpipe.engine.plan import Node, OutputRef
from nightpipe.model.exposure import Exposure
from nightpipe.recipes.names import filed, label_of, published
from nightpipe.recipes.wishes import wished

BATCH = 10
"""So many images make each other's sky at most: the sky changes within minutes, and memory is not endless."""
FRINGED = 12
"""So many images make the pattern of fringes at most, spread over the night."""


@dataclass(frozen=True)
class Skies:
    """What other images tell of each one, by its path; and what to tell where that was wanted and could not be."""

    skies: dict[str, OutputRef]
    fringes: dict[str, OutputRef]
    caveats: dict[str, tuple[Caveat, ...]]


def plan_skies(builder: Builder, exposures: Sequence[Exposure], prepared: dict[str, Node]) -> Skies:
    """Plan common skies and fringes of the images that want them: ``FramesSky.among``, ``BuildFringe.among``."""
    found = Skies({}, {}, defaultdict(tuple))
    for group in _groups(builder, exposures, "skyframes", "FramesSky"):
        _sky(builder, group, prepared, found)
    for group in _groups(builder, exposures, "fringes", "BuildFringe"):
        _fringe(builder, group, prepared, found)
    return found


def _groups(builder: Builder, exposures: Iterable[Exposure], recipe: str, step: str) -> list[list[Exposure]]:
    """Return the images that go together, in order of time: those of one camera and filter, or of one target too."""
    groups: dict[tuple[str, ...], list[Exposure]] = defaultdict(list)
    for one in exposures:
        among = wished(builder, recipe, one, f"{step}.among")
        if among != "none":
            setup = one.setup
            key = (one.instrument, setup.arm, setup.filter, "x".join(map(str, setup.binning)), str(setup.window))
            groups[key if among == "night" else (*key, one.target)].append(one)
    return [sorted(group, key=lambda one: (one.mjd, one.path)) for group in groups.values()]


def _sky(builder: Builder, group: list[Exposure], prepared: dict[str, Node], found: Skies) -> None:
    least = int(wished(builder, "skyframes", group[0], "FramesSky.least"))
    if len(group) < least:
        text = f"{len(group)} image through {group[0].setup.filter}, {least} make a common sky: its own was subtracted"
        _told(group, found, Caveat("sky.few", text))
        return
    for batch in batches(group, BATCH):
        frames = [prepared[one.path]["frame"] for one in batch]
        node = builder.node("skyframes", inputs={"frames": frames}, label=label_of("sky", batch[0], tuple(batch)))
        found.skies.update((one.path, node["skies"]) for one in batch)


def batches(group: list[Exposure], most: int) -> list[list[Exposure]]:
    """Return a sequence in parts of equal length, none longer than `most`."""
    count = -(-len(group) // most)
    edges = [len(group) * k // count for k in range(count + 1)]
    return [group[low:high] for low, high in pairwise(edges)]


def _fringe(builder: Builder, group: list[Exposure], prepared: dict[str, Node], found: Skies) -> None:
    least = int(wished(builder, "fringes", group[0], "BuildFringe.least"))
    if len(group) < least:
        text = f"{len(group)} images through {group[0].setup.filter}, {least} tell its fringes: they were left in"
        _told(group, found, Caveat("fringe.few", text))
        return
    chosen = [group[len(group) * k // FRINGED] for k in range(FRINGED)] if len(group) > FRINGED else group
    label = label_of("fringe", group[0], tuple(chosen)) + f"_{filed(group[0].setup.filter)}"
    frames = [prepared[one.path]["frame"] for one in chosen]
    node = builder.node("fringes", inputs={"frames": frames}, label=label, publish=published("fringe", label))
    found.fringes.update((one.path, node["fringe"]) for one in group)


def _told(group: list[Exposure], found: Skies, caveat: Caveat) -> None:
    for one in group:
        found.caveats[one.path] += (caveat,)
