"""Three stacks of one field as one colour image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.register import image_shift
from nightpipe.model.colour import Colour
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.frame import Image
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.subtract import aligned

ORDER = "KHJYyZzIiRrVgBUu"
"""Bands from the reddest to the bluest."""
ALONE = 0.1
"""A missing pixel with less of good neighbours, as a share of all, stays empty."""
SEEN = 0.3
"""Shifts [pixel] that nobody sees are left alone."""


class MakeColour(Step):
    """Bring stacks of one field through three filters onto one grid: that of the middle one.

    Where no catalogue ties the stacks to the sky, their headers may differ by arcseconds: the images themselves tell.
    """

    version: ClassVar[int] = 2
    bands: str = parameter("", "bands for red, green and blue, with commas; empty: the outermost and one between")

    reach: float = parameter(8.0, "how far the places of two stacks may differ", unit="arcsec", ge=0)
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
        moved = [self._settled(one, goal, known[name]) for one, name in zip(laid, names, strict=True)]
        laid = [one for one, _ in moved]
        common = np.mean(np.all([(one.mask & np.uint32(UNUSABLE)) == 0 for one in laid], axis=0))
        if common < self.least:
            raise NoSolutionError(f"{', '.join(names)} of the same sky", f"{common:.0%} in common", "MakeColour.bands")
        red, green, blue = (_filled(one) for one in laid)
        told = tuple(_told(name, names[1], by) for name, (_, by) in zip(names, moved, strict=True) if by > 0)
        return Colour(red, green, blue, (names[0], names[1], names[2]), goal.wcs, told)

    def _settled(self, laid: Stack, goal: Stack, stack: Stack) -> tuple[Stack, float]:
        """Return a stack laid on `goal` where the images say that it lies, and by how much it was moved [arcsec]."""
        good = ((laid.mask | goal.mask) & np.uint32(UNUSABLE)) == 0
        reach = int(np.ceil(self.reach / goal.wcs.scale))
        shift = image_shift(goal.data, laid.data, good, reach) if laid is not goal and reach > 0 else None
        if shift is None or np.hypot(*shift) < SEEN:
            return laid, 0.0
        u, v = goal.wcs.crpix
        moved = replace(goal, wcs=replace(goal.wcs, crpix=(u + shift[0], v + shift[1])))
        return aligned(stack, moved), float(np.hypot(*shift)) * goal.wcs.scale


def _filled(stack: Stack) -> Image:
    """Return the data, single missing pixels from their neighbours: in a picture they would be dots of false colour."""
    from scipy.ndimage import gaussian_filter

    good = ((stack.mask & np.uint32(UNUSABLE)) == 0) & np.isfinite(stack.data)
    weight = gaussian_filter(good.astype(np.float32), 1.0, truncate=3.0)
    around = gaussian_filter(np.where(good, stack.data, np.float32(0)), 1.0, truncate=3.0)
    return np.where(good, stack.data, np.where(weight > ALONE, around / np.maximum(weight, ALONE), stack.data))


def _told(name: str, other: str, by: float) -> Caveat:
    return Caveat("colour.moved", f"the {name} stack was moved by {by:.2f} arcsec onto that of {other}: their own "
                  "coordinates disagree")  # fmt: skip


def _band(stack: Stack) -> str:
    shot = stack.exposure
    return "" if shot is None else shot.band or shot.setup.filter


def _chosen(bands: list[str]) -> list[str]:
    """Return the reddest band, one between and the bluest; bands that nobody knows are left out."""
    order = sorted((band for band in bands if len(band) == 1 and band in ORDER), key=ORDER.index)
    return [order[0], order[len(order) // 2], order[-1]] if len(order) >= 3 else order
