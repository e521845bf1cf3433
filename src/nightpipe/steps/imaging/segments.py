"""The map of which pixels belong to which source of a catalogue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.step import Step, parameter
from nightpipe.model.segments import Segments
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.picture import picture


class MapSegments(Step):
    """Label every pixel of a stack with the row of the catalogue that it belongs to."""

    within: float = parameter(2.0, "farthest a source's place may lie from its pixels' middle", unit="pixel", gt=0)

    def run(self, stack: Stack, sources: Sources, search: Detect) -> Segments:
        """Return the labels (ny, nx), by the `search` that found the sources: isophotes at its threshold, deblended."""
        seen = picture(stack, search.box)
        found, _ = search.found(seen, segments=True)
        none = np.zeros(stack.data.shape, np.int32)
        if found.segments is None or not len(found) or not len(sources):
            return Segments(none, stack.wcs)
        rows = self._rows(np.column_stack([found.x, found.y]), np.column_stack([sources.x, sources.y]))
        label = np.concatenate([np.zeros(1, np.int32), rows])
        return Segments(label[found.segments], stack.wcs)

    def _rows(self, places: NDArray[np.float64], listed: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return for each detection the row of the catalogue, from 1, that is nearest and to which it is nearest."""
        from scipy.spatial import cKDTree

        apart, row = (np.asarray(part) for part in cKDTree(listed).query(places))
        back = np.asarray(cKDTree(places).query(listed)[1])
        mutual = (back[row] == np.arange(len(places))) & (apart < self.within)
        return np.where(mutual, row + 1, 0).astype(np.int32)
