"""The sky of one image taken away: its level, a plane, or a frame of the sky made of many."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.cosmics import lacosmic
from nightpipe.kernels.meshes import clipped_levels
from nightpipe.maths.robust import mad_std, truncation
from nightpipe.maths.strips import by_strips, marked
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame, Image
from nightpipe.steps.imaging.picture import blank_variance

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


BRIGHT = 2.5
"""Pixels of a block that far from its mean [sigma] are light, not sky."""

LARGE = 4_000_000
"""Pixels of an image beyond which its sky is told by a part of them."""


class SubtractBackground(Step):
    """Subtract the sky that an image shows by itself: nothing, its level, or a plane; galaxies stay as they are."""

    version = 2
    method: Literal["none", "level", "plane"] = parameter("plane", "what the sky is taken for")
    box: int = parameter(64, "side of the blocks whose medians are the sky", unit="pixel", ge=8)
    clip: float = parameter(2.0, "blocks brighter than the rest by this hold objects", unit="sigma", gt=0.5)

    def run(self, frame: Frame) -> Frame:
        """Return the frame without its sky [electron]; ``NPSKY`` in the header is the level that was taken away,
        with what was taken before.

        Blocks with stars and galaxies are found by their medians and left out; a plane cannot follow what is left of
        them, unlike a mesh. The variance stays: it is that of the photons that came.
        """
        places, levels = self._blocks(frame)
        if not len(levels) or self.method == "none":
            return frame.but(header=frame.header | {"NPSKY": _before(frame)})
        terms = places if self.method == "plane" and len(levels) >= 9 else places[:, :1]
        fitted = self._fit(terms, levels)
        x, y = (np.linspace(-1, 1, n) for n in (frame.shape[1], frame.shape[0]))
        across, along = (fitted[1] * x, fitted[2] * y) if len(fitted) == 3 else (0 * x, 0 * y)
        (data,) = by_strips(
            lambda part, up: ((part - (fitted[0] + across + up)).astype(np.float32),), frame.data, along[:, None]
        )
        # the middle of the plane, which is its median, too
        return frame.but(data=data, header=frame.header | {"NPSKY": round(float(fitted[0]) + _before(frame), 4)})

    def _blocks(self, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """Return (1, x, y) of the middles of blocks, x and y from -1 to 1, and the levels of their sky."""
        # where blocks are thousands, a fifth of their pixels tells enough; an odd step takes all columns alike
        thin = 5 if frame.data.size > LARGE else 1
        levels = clipped_levels(
            frame.data, ~frame.good, self.box, clip=BRIGHT, truncation=truncation(BRIGHT), thin=thin
        )
        y, x = (_middles(n, self.box) for n in frame.shape)
        places = np.stack(np.broadcast_arrays(1.0, x[None, :], y[:, None]), axis=-1)
        known = np.isfinite(levels)
        return places[known], levels[known]

    def _fit(self, terms: FloatArray, levels: FloatArray) -> FloatArray:
        keep = np.ones(len(levels), dtype=np.bool_)
        found: FloatArray = np.zeros(terms.shape[1])
        for _ in range(10):
            found = np.asarray(np.linalg.lstsq(terms[keep], levels[keep], rcond=None)[0], np.float64)
            rest = levels - terms @ found
            width = max(float(mad_std(rest[keep])), 1e-9)
            new = (rest - np.median(rest[keep]) < self.clip * width) & (rest - np.median(rest[keep]) > -4 * width)
            if new.sum() < max(3 * terms.shape[1], len(levels) // 10) or np.array_equal(new, keep):
                break
            keep = new
        return np.asarray(found, dtype=np.float64)


def _middles(n: int, box: int) -> FloatArray:
    """Return the middles of the blocks of `box` pixels along an axis of `n`, from -1 to 1."""
    first = np.arange(0, n, box)
    last = np.minimum(first + box, n) - 1
    return (first + last) / max(n - 1, 1) - 1


def _before(frame: Frame) -> float:
    """Return the level of the sky [electron] that was taken off before."""
    return float(frame.header.get("NPSKY", 0.0))


class MatchNoise(Step):
    """Raise the variance to the scatter of its blank sky, where its pedestal, and so its photons, is a guess."""

    least: float = parameter(1.2, "scatter over that which the variance says, above which it is raised", ge=1)

    def run(self, frame: Frame) -> Frame:
        """Return the frame, sky subtracted, with one number [electron2] added to its variance; never one taken off.

        A frame without bias and overscan lost an unknown part of its sky with the pedestal: by what is left, noise
        passes for thousands of stars.
        """
        good = frame.good[::4]
        every = frame.data[::4][good].astype(np.float64)
        if every.size < 100:
            return frame
        seen = float(mad_std(every)) ** 2
        said = float(np.median(frame.var[::4][good]))
        if seen <= self.least**2 * said:
            return frame
        return frame.but(var=(frame.var + np.float32(seen - said)).astype(np.float32))


class CosmicsImage(Step):
    """Flag cosmic rays in one image by their sharp edges (L.A.Cosmic), where dithers cannot tell them."""

    version = 3
    when: Literal["few", "always", "never"] = parameter("few", "few: only where fewer than `enough` images are stacked")
    enough: int = parameter(3, "so many images of a field find cosmic rays when they are stacked", ge=2)
    sigclip: float = parameter(5.0, "least significance of a cosmic ray's edge", unit="sigma", gt=0)
    objlim: float = parameter(5.0, "least contrast between its edge and fine structure", gt=0)
    grow: float = parameter(3.0, "pixels touching it join when brighter than this", unit="sigma", gt=0)
    iterations: int = parameter(4, "how often to search anew with what was found removed", ge=1, le=20)
    most: float = parameter(0.02, "a larger fraction of flagged pixels is worth a caveat", gt=0, lt=1)

    def run(self, frame: Frame, images: int) -> Frame:
        """Return the frame with `COSMIC` set; `images` of its field are stacked. The data stay as they are.

        Read noise and gain are the measured ones; the photons of the sky that was taken off make noise, too. Sharp
        stars are spared by the contrast with fine structure, saturated ones by the light around them. Van Dokkum 2001,
        PASP 113, 1420.
        """
        if self.when == "never" or (self.when == "few" and images >= self.enough):
            return frame
        good = frame.good
        blank = _blank(frame, good)
        found = lacosmic(
            frame.data,
            blank,
            ~good,
            photon=1.0 if frame.photon_var is None else frame.photon_var,
            sigclip=self.sigclip,
            objlim=self.objlim,
            growclip=self.grow,
            iterations=self.iterations,
        )
        hits = found & good
        hits &= ~rims(frame.data, blank, hits, marked(frame.mask, Flag.SATURATED))
        return frame.flagged(hits, Flag.COSMIC).but(caveats=self._many(hits))

    def _many(self, hits: NDArray[np.bool_]) -> tuple[Caveat, ...]:
        share = float(hits.mean())
        text = f"{share:.1%} of the pixels were taken for cosmic rays: the noise may be wrong"
        return (Caveat("cosmics.many", text),) if share > self.most else ()


def rims(data: Image, var: Image, hits: Bools, saturated: Bools, ring: int = 2) -> Bools:
    """Return the `hits` (ny, nx) that are what a saturated star shows of its flanks, where its middle is a hole.

    They touch saturated pixels, and light goes on around them: the median of a `ring` [pixel] stands above the noise
    `var` of blank sky. Around the track of a particle, saturated or not, it is dark.
    """
    from scipy import ndimage

    if not saturated.any():
        return np.zeros_like(hits)
    label, _ = ndimage.label(hits | saturated, np.ones((3, 3)))
    found = np.zeros_like(hits)
    boxes = ndimage.find_objects(label)
    for number in np.unique(label[saturated]):
        rows, columns = boxes[number - 1]
        cut = (
            slice(max(rows.start - ring, 0), rows.stop + ring),
            slice(max(columns.start - ring, 0), columns.stop + ring),
        )
        own = label[cut] == number
        around = ndimage.binary_dilation(own, iterations=ring) & (label[cut] == 0)
        if around.any() and np.median(data[cut][around]) > np.sqrt(np.median(var[cut][around])):
            found[cut] |= own & hits[cut]
    return found


def _blank(frame: Frame, good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the variance [electron2] that blank sky has, hot pixels with their own: what was taken off made noise."""
    sky = blank_variance(frame.var, ~good, 64)
    return sky if frame.read_var is None else np.maximum(sky, frame.read_var, out=sky)
