"""Cosmic rays: in one frame by their sharpness, among repeated exposures by their absence from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.cosmics import lacosmic
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.steps.detector.fit import name_of, same_shape
from nightpipe.steps.detector.scene import Look, look, shift_between

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


class Cosmics(Step):
    """Flag cosmic rays in one frame by their sharp edges (L.A.Cosmic), protecting sky lines and bright objects."""

    sigclip: float = parameter(4.5, "least significance of a cosmic ray's edge", unit="sigma", gt=0)
    objlim: float = parameter(3.0, "least contrast between its edge and fine structure", gt=0)
    grow: float = parameter(3.0, "pixels touching it join when brighter than this", unit="sigma", gt=0)
    rim: float = parameter(2.5, "and once more, when brighter than this", unit="sigma", gt=0)
    iterations: int = parameter(4, "how often to search anew with what was found removed", ge=1, le=20)
    rows: int = parameter(40, "rows whose median is the sky", unit="pixel", ge=8)
    columns: int = parameter(25, "columns whose median is an object", unit="pixel", ge=5)
    protect: float = parameter(0.02, "error granted to the model of sky and objects, relative", ge=0, lt=1)
    most: float = parameter(0.02, "a larger fraction of flagged pixels is worth a caveat", gt=0, lt=1)

    def run(self, frame: Frame) -> Frame:
        """Return the frame with `COSMIC` set; the data stay as they are.

        The search runs on native pixels in electrons, on what a smooth model of sky and objects leaves over, and takes
        its noise from the model: lines and stars then have no edges. Van Dokkum 2001, PASP 113, 1420.
        """
        seen = look(frame, frame.good, self.rows, self.columns, self.protect)
        clean = frame.good & (seen.rest < 8 * np.sqrt(seen.var))  # the first model is made of pixels that were hit
        seen = look(frame, clean, self.rows, self.columns, self.protect)
        found = lacosmic(
            seen.rest,
            seen.var,
            ~frame.good,
            photon=1.0 if frame.photon_var is None else frame.photon_var,
            model=np.zeros_like(seen.rest),
            sigclip=self.sigclip,
            objlim=self.objlim,
            growclip=self.grow,
            rimclip=self.rim,
            iterations=self.iterations,
        )
        hits = connected(found & frame.good, frame.good & (seen.rest > self.grow * np.sqrt(seen.var)))
        return frame.flagged(hits, Flag.COSMIC).but(caveats=_many(frame, hits, self.most))


class RejectRepeats(Step):
    """Flag what shines in one exposure of a target and in no other one of the same setup."""

    significance: float = parameter(5.0, "least excess over all other exposures", unit="sigma", gt=1)
    grow: float = parameter(3.0, "touching pixels in excess by this belong to it", unit="sigma", gt=0)
    rows: int = parameter(40, "rows whose median is the sky", unit="pixel", ge=8)
    columns: int = parameter(25, "columns whose median is an object", unit="pixel", ge=5)
    protect: float = parameter(0.02, "error granted to the model of sky and objects, relative", ge=0, lt=1)
    reach: int = parameter(2, "a feature may lie this far off in the other exposure", unit="pixel", ge=0, le=10)

    def run(self, frame: Frame, others: tuple[Frame, ...]) -> Frame:
        """Return `frame` with `COSMIC` set where no other exposure supports what is seen; the data stay as they are.

        Each exposure is compared after removing its own smooth sky and objects, so that changing sky, seeing and slit
        losses do not matter. A feature is supported if another exposure shows it, scaled to this one, within `reach`
        pixels of the same place on the detector or of the same place relative to the objects: a real line never is
        alone. Pixels that all others have flagged cannot be judged, and are left.

        Raises
        ------
        BadFrameError
            The frames have different shapes or units.
        """
        if not others:
            return frame
        mine = self._look(frame)
        excess = np.full(frame.shape, np.inf, dtype=np.float32)
        for other in others:
            same_shape(frame, other, "repeated exposure")
            excess = np.minimum(excess, self._excess(mine, self._look(other), frame, other))
        judged = frame.good & np.isfinite(excess)
        hits = connected(judged & (excess > self.significance), judged & (excess > self.grow))
        return frame.flagged(hits, Flag.COSMIC)

    def _look(self, frame: Frame) -> Look:
        return look(frame, frame.good, self.rows, self.columns, self.protect)

    def _excess(self, mine: Look, its: Look, frame: Frame, other: Frame) -> Floats:
        """Return by how many sigma `mine` exceeds all that the other exposure supports; inf where it is blind."""
        scale = _scale(mine, its, frame, other)
        support, blind = np.zeros(frame.shape, dtype=np.float32), np.zeros(frame.shape, dtype=np.bool_)
        for shift in {0, shift_between(mine.profile, its.profile)}:
            seen, known = _shifted(np.where(other.good, its.rest, 0), shift), _shifted(other.good, shift)
            support = np.maximum(support, _highest(seen, self.reach))
            blind |= ~known
        excess = (mine.rest - scale * support) / np.sqrt(mine.var + scale**2 * its.var)
        return np.where(blind, np.inf, excess).astype(np.float32)


def connected(seeds: Bools, bright: Bools) -> Bools:
    """Return the seeds and all of `bright` that touches them, directly or through other bright pixels."""
    if not seeds.any():
        return seeds
    from scipy.ndimage import binary_propagation

    return np.asarray(binary_propagation(seeds, np.ones((3, 3), dtype=np.bool_), mask=seeds | bright))


def _scale(mine: Look, its: Look, frame: Frame, other: Frame) -> float:
    """Return by how much brighter a feature may be here than there: by time, or by the light of the objects."""
    times = [f.exposure.exptime if f.exposure is not None else 0.0 for f in (frame, other)]
    ratio = times[0] / times[1] if min(times) > 0 else 1.0
    light = [float(np.sum(np.maximum(p - np.median(p), 0))) for p in (mine.profile, its.profile)]
    return float(np.clip(max(ratio, light[0] / light[1] if light[1] > 0 else ratio), 0.1, 10.0))


def _shifted(image: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return the image moved down by `rows`; what comes in from outside is 0."""
    moved = np.zeros_like(image)
    if rows >= 0:
        moved[: len(image) - rows] = image[rows:]
    else:
        moved[-rows:] = image[:rows]
    return moved


def _highest(image: NDArray[Any], reach: int) -> NDArray[Any]:
    """Return the largest value within `reach` pixels."""
    from scipy.ndimage import maximum_filter

    return np.asarray(maximum_filter(image, size=2 * reach + 1, mode="nearest"))


def _many(frame: Frame, hits: Bools, most: float) -> tuple[Caveat, ...]:
    share = float(hits.mean())
    if share <= most:
        return ()
    return (Caveat("cosmics.many", f"{share:.1%} of the pixels of {name_of(frame)} were taken for cosmic rays"),)
