"""Three stacks of one field as one colour image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.model.colour import Colour
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.subtract import aligned

ORDER = "KHJYyZzIiRrVgBUu"
"""Bands from the reddest to the bluest."""


class MakeColour(Step):
    """Bring stacks of one field through three filters onto one grid: that of the middle one."""

    bands: str = parameter("", "bands for red, green and blue, with commas; empty: the outermost and one between")

    least: float = parameter(0.2, "share of the middle one's field that all three must show", gt=0, le=1)

    def run(self, stacks: Sequence[Stack]) -> Colour:
        """Return the colour image.

        Raises NoSolutionError: fewer than three bands, another than asked for, or bands that show different sky, as
        the four cameras on one detector of SEDM do.
        """
        known = {_band(stack): stack for stack in reversed(stacks)}
        names = [part.strip() for part in self.bands.split(",") if part.strip()] or _chosen(list(known))
        if len(names) != 3 or not set(names) <= set(known):
            raise NoSolutionError("stacks in three bands", ", ".join(known) or "none", "MakeColour.bands=i,r,g")
        goal = known[names[1]]
        laid = [aligned(known[name], goal) for name in names]
        common = np.mean(np.all([(one.mask & np.uint32(UNUSABLE)) == 0 for one in laid], axis=0))
        if common < self.least:
            raise NoSolutionError(f"{', '.join(names)} of the same sky", f"{common:.0%} in common", "MakeColour.bands")
        red, green, blue = (one.data for one in laid)
        return Colour(red, green, blue, (names[0], names[1], names[2]), goal.wcs)


def _band(stack: Stack) -> str:
    shot = stack.exposure
    return "" if shot is None else shot.band or shot.setup.filter


def _chosen(bands: list[str]) -> list[str]:
    """Return the reddest band, one between and the bluest; bands that nobody knows are left out."""
    order = sorted((band for band in bands if len(band) == 1 and band in ORDER), key=ORDER.index)
    return [order[0], order[len(order) // 2], order[-1]] if len(order) >= 3 else order
