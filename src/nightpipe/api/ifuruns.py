"""The runs that made one exposure of a lenslet unit, and what they left: for figures and for SEDM's own files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nightpipe.api.outputs import Outputs
from nightpipe.api.reduction import Reduction
from nightpipe.engine.execute import Outcome
from nightpipe.engine.store import Store
from nightpipe.model.exposure import Exposure, FrameType

LIGHT, CUBE, FLUX, GUIDE, CLASS = "spectrophotometry", "cube", "ifucalibrate", "guide", "classify"


@dataclass(frozen=True)
class IfuRuns:
    """One exposure's runs by recipe, as far as they went well; `spectrophotometry` is always among them."""

    exposure: Exposure
    runs: dict[str, Outcome]
    store: Store

    @property
    def key(self) -> str:
        """Return what changes when anything of the exposure did."""
        return "+".join(one.key for one in self.runs.values())

    def all(self, recipe: str, output: str) -> tuple[Any, ...]:
        """Return the members of an output, none where the run is missing."""
        return Outputs(self.store, self.runs[recipe]).all(output) if recipe in self.runs else ()

    def first(self, recipe: str, output: str) -> Any:
        """Return the first member of an output, or None."""
        return next(iter(self.all(recipe, output)), None)

    @property
    def spectrum(self) -> Any:
        """Return the calibrated spectrum, or where there is none that in counts."""
        return self.first(FLUX, "spectra") or self.first(LIGHT, "spectra")

    @property
    def is_standard(self) -> bool:
        """Tell whether it is a standard's."""
        return self.exposure.type is FrameType.STANDARD


def ifu_runs(reduction: Reduction, names: tuple[str, ...] | None = None) -> Iterator[IfuRuns]:
    """Return the runs of each exposure of a lenslet unit, of those `names` alone where they are given."""
    store = Store(reduction.out)
    good = [one for one in reduction.outcomes.values() if one.state.good]
    for light in (one for one in good if one.node.recipe == LIGHT):
        name = light.node.exposure
        if names is not None and name not in names:
            continue
        runs = {one.node.recipe: one for one in good if one.node.exposure == name and one.node.recipe != CLASS}
        named = [one for one in good if one.node.recipe == CLASS and one.node.label == name]
        runs |= {CLASS: named[0]} if named else {}
        yield IfuRuns(reduction.night.named(name), runs, store)
