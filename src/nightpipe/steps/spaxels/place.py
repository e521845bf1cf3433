"""Where the target must be among the lenslets, by the guider's solution or by the telescope's pointing alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.robust import mad_std
from nightpipe.maths.tan import sky_of_plane
from nightpipe.model.scene import Finder, Placed
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Wcs

FloatArray = NDArray[np.float64]


class PlaceTarget(Step):
    """Say where the target is expected among the lenslets, with an honest error, from the frames of the guider."""

    pointing: float = parameter(
        3.0, "how far the telescope's pointing alone may leave the target from the field's middle", unit="arcsec", gt=0
    )
    corner: float = parameter(
        2.6,
        "error of a plate solution at the corner of its image, where the lenslets are, over that in its middle",
        ge=1,
    )

    def run(self, places: FloatArray, *, plate: float, epoch: float, stars: int = 0) -> Placed:
        """Return where the target lies from the field's middle; `places` (k, 2) [arcsec, east and north] are those of k
        frames by the stack's solution, none where nothing was solved.

        The error of the mean is that of the solution, `plate` [arcsec] in the image's middle, of the table of the
        field's places, `epoch` [arcsec], and the scatter of the frames over the root of their number. With an affine
        plate of n stars spread evenly over a square the variance at a corner is that of the middle times 1 + 3 + 3.
        """
        if not len(places):
            text = f"the guider was not solved: the target is within {self.pointing:g} arcsec of the field's middle"
            caveat = Caveat("guide.unsolved", f"{text} (one sigma) if the telescope points well")
            return Placed(0.0, 0.0, np.eye(2) * self.pointing**2, "header", caveats=(caveat,))
        east, north = (float(value) for value in places.mean(axis=0))
        scatter = np.cov(places.T) / len(places) if len(places) > 1 else np.zeros((2, 2))
        covariance = np.eye(2) * ((self.corner * plate) ** 2 + epoch**2) + scatter
        return Placed(east, north, covariance, "guider", spread=float(stars))


class DrawFinder(Step):
    """Put the guider's stacks together into one picture about the target, north up: what a person finds it by."""

    reach: float = parameter(100.0, "from the middle to an edge", unit="arcsec", gt=20, le=400)
    scale: float = parameter(0.8, "side of a pixel of the picture", unit="arcsec", gt=0.2, le=4)

    def run(
        self, stacks: tuple[Stack, ...], target: tuple[float, float], solved: Wcs | None, field: tuple[float, float],
        *, frames: int,
    ) -> Finder:  # fmt: skip
        """Return the picture about `target` (ra, dec) [deg]; the lenslets' middle lies at `field` [arcsec] in it.

        All stacks share one nominal sky; `solved` is the true sky of the first one's pixels, None where it is not
        known. Pixels are those nearest: the picture is to look at, not to measure on. Raises BadFrameError.
        """
        if not stacks:
            raise BadFrameError("images of the guider", "none", "leave the finder out")
        ra, dec = self._sky(target)
        if solved is not None:
            ra, dec = stacks[0].wcs.to_sky(*solved.to_pixel(ra, dec))
        image = np.full(ra.shape, np.nan, np.float32)
        for stack in stacks:
            _laid(image, stack, ra, dec)
        words = "its stars solved" if solved is not None else "not solved, by the telescope's pointing"
        return Finder(image, self.reach, field[0], field[1], frames, words)

    def _sky(self, target: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
        """Return the sky (n, n) [deg] of the picture's pixels: columns run from east to west."""
        n = 2 * int(self.reach / self.scale) + 1
        along = np.linspace(-self.reach, self.reach, n)
        east, north = np.meshgrid(-along, along)
        return sky_of_plane(east / 3600.0, north / 3600.0, target)


def _laid(image: NDArray[np.float32], stack: Stack, ra: FloatArray, dec: FloatArray) -> None:
    """Fill in what a stack shows of the picture, in its noises above its sky: quadrants differ in filter and depth."""
    x, y = (np.rint(part) for part in stack.wcs.to_pixel(ra, dec))
    ny, nx = stack.data.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny) & np.isnan(image)
    row, column = y[inside].astype(np.int64), x[inside].astype(np.int64)
    seen = (stack.count > 0) & np.isfinite(stack.data)
    if not seen.any():
        return
    sky, noise = float(np.median(stack.data[seen])), float(mad_std(stack.data[seen]))
    values = np.where(seen, (stack.data - sky) / max(noise, 1e-12), np.nan)
    image[inside] = values[row, column]
