"""The sky of images: a smooth background, or, in the infrared, the sky that the other frames saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.combine import clipped_mean, clipped_median
from nightpipe.maths.extract import background, roughness
from nightpipe.maths.objects import object_mask
from nightpipe.maths.robust import mad_std
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame, Image
from nightpipe.model.skyimage import SkyImage
from nightpipe.steps.detector.fit import name_of, same_shape

Bools = NDArray[np.bool_]


class BackgroundSky(Step):
    """Take the sky of one image from itself: a smooth surface through the medians of meshes, objects masked."""

    box: int = parameter(64, "mesh of the background", unit="pixel", ge=8)
    threshold: float = parameter(3.0, "objects are what exceeds so much in the smoothed image", unit="sigma", gt=0)
    grow: float = parameter(4.0, "widen objects by this", unit="pixel", ge=0)

    def run(self, frame: Frame) -> SkyImage:
        """Return the sky of `frame`; its variance is that of a mesh's median. Raises BadFrameError: no good pixel."""
        bad = _bad(frame)
        hidden = bad | object_mask(frame.data, bad, box=self.box, sigma=self.threshold, grow=self.grow)
        told: tuple[Caveat, ...] = ()
        if hidden.mean() > 0.8:  # a galaxy fills the frame: its meshes are all there is
            told = (
                Caveat("sky.crowded", f"objects cover {hidden.mean():.0%} of the frame: its sky holds their light"),
            )
            hidden = bad
        data, rms = background(frame.data, hidden, self.box)
        var = np.full(frame.shape, np.pi / 2 * rms**2 / self.box**2, np.float32)
        level = float(np.median(data))
        name, known = name_of(frame), np.zeros(frame.shape, np.uint32)
        return SkyImage(data, var, known, level, "background", (name,), name, told)


class FramesSky(Step):
    """Take the sky of each image from the others of its field or night: objects masked in two passes."""

    version = 3
    among: Literal["none", "target", "night"] = parameter(
        "none", "whose images tell the sky: of its target, or all through its filter; none: each its own smooth sky"
    )
    window: int = parameter(0, "frames before and after in time that make a frame's sky; 0: all others", ge=0)
    own: bool = parameter(False, "let a frame take part in its own sky")
    least: int = parameter(3, "fewest frames for a sky", ge=2)
    match: Literal["scale", "shift"] = parameter("scale", "bring frames to one level by a factor, or by an offset")
    box: int = parameter(64, "mesh of the background when objects are searched", unit="pixel", ge=8)
    first: float = parameter(5.0, "objects of the first pass, in the frames as they are", unit="sigma", gt=0)
    second: float = parameter(3.0, "objects of the second pass, in the frames less their first sky", unit="sigma", gt=0)
    grow: float = parameter(5.0, "widen objects by this", unit="pixel", ge=0)
    pattern: float = parameter(3.0, "without a flat: what so stands out in all frames is the detector's", gt=0)
    fine: int = parameter(32, "without a flat: mesh of what the other frames leave of the sky", unit="pixel", ge=8)

    def run(self, frames: Sequence[Frame], objects: Sequence[Bools] | None = None) -> tuple[SkyImage, ...]:
        """Return the sky of each of `frames` [electron], all of one detector and filter.

        In the first pass objects are masked that stand out in single frames; the sky that results shows fainter ones,
        which the second pass masks too, as surveys in the infrared do (e.g. Vandame 2004, thesis). `objects` (ny, nx)
        for each frame, from a catalogue or a stack, are masked in both. Every frame takes part; which ones make a
        frame's sky is a matter of `window` alone.

        Frames without a flat show the detector's pattern. An object moves with the sky and the pattern does not: single
        pixels that stand out in all frames are left out, the first pass, too, looks at what differs from the other
        frames, and what they leave of the sky (dark current and ghosts do not grow with it) is taken off in meshes.

        Raises
        ------
        BadFrameError
            Fewer frames than `least`, or of different shapes.
        """
        if len(frames) < self.least:
            raise BadFrameError(
                f"{self.least} frames for a sky", str(len(frames)), "take each frame's own background: BackgroundSky"
            )
        for frame in frames[1:]:
            same_shape(frames[0], frame, "frame of the same sky")
        bad = [_bad(frame) for frame in frames]
        known = [np.zeros_like(b) for b in bad] if objects is None else list(objects)
        bare = any(caveat.code == "flat.none" for frame in frames for caveat in frame.caveats)
        fixed = _pattern(frames, bad, self.pattern) if bare else np.zeros_like(bad[0])
        hidden = [b | o | fixed for b, o in zip(bad, known, strict=True)]
        if bare:
            masks = self._standing_out(frames, hidden, self._skies(frames, hidden), self.first, self.fine)
        else:
            masks = [h | self._objects(f.data, b, self.first) for f, b, h in zip(frames, bad, hidden, strict=True)]
        skies = self._skies(frames, masks)
        seen = self._standing_out(frames, hidden, skies, self.second, self.fine if bare else self.box)
        # where no frame tells the sky there is only a guess to stand out of: there the first pass has the word
        masks = [np.where(sky.mask != 0, old, new) for sky, old, new in zip(skies, masks, seen, strict=True)]
        skies = self._skies(frames, masks)
        return tuple(self._settled(*row, bare=bare) for row in zip(skies, frames, masks, strict=True))

    def _skies(self, frames: Sequence[Frame], masks: Sequence[Bools]) -> list[SkyImage]:
        levels = [_level(frame.data, mask) for frame, mask in zip(frames, masks, strict=True)]
        return [self._sky(k, frames, masks, levels) for k in range(len(frames))]

    def _standing_out(
        self, frames: Sequence[Frame], hidden: Sequence[Bools], skies: Sequence[SkyImage], sigma: float, mesh: int
    ) -> list[Bools]:
        """Return what is hidden in each frame, and what stands out of its sky."""
        rows = zip(frames, hidden, skies, strict=True)
        return [h | self._objects(f.data - s.data, h, sigma, mesh) for f, h, s in rows]

    def _objects(self, data: Image, bad: Bools, sigma: float, mesh: int = 0) -> Bools:
        return object_mask(data, bad, box=mesh or self.box, sigma=sigma, grow=self.grow)

    def _others(self, k: int, frames: Sequence[Frame]) -> list[int]:
        """Return which frames make the sky of frame `k`: the nearest in time, itself last of all."""
        times = np.array([frame.exposure.mjd if frame.exposure else 0.0 for frame in frames])
        order = [int(j) for j in np.argsort(np.abs(times - times[k]), kind="stable") if j != k]
        chosen = order[: 2 * self.window] if self.window else order
        return sorted([*chosen, k]) if self.own or len(chosen) < self.least - 1 else sorted(chosen)

    def _sky(self, k: int, frames: Sequence[Frame], masks: Sequence[Bools], levels: Sequence[float]) -> SkyImage:
        use = self._others(k, frames)
        scaled = self.match == "scale" and min(levels[j] for j in (*use, k)) > 0
        factors = [levels[k] / levels[j] if scaled else 1.0 for j in use]
        stack = [frames[j].data if scaled else frames[j].data + np.float32(levels[k] - levels[j]) for j in use]
        combine = clipped_median if len(use) < 6 else clipped_mean
        made = combine(
            stack, [masks[j] for j in use], factors=factors, low=4.0, high=3.0, variance=[frames[j].var for j in use]
        )
        unknown = made.used == 0
        bits = np.where(unknown, np.uint32(Flag.NO_DATA), np.uint32(0))
        filled, _ = background(made.value, unknown, self.box) if unknown.any() else (made.value, 0.0)
        data = np.where(unknown, filled, made.value).astype(np.float32)
        told = _told(unknown, name_of(frames[k]))
        names = tuple(name_of(frames[j]) for j in use)
        return SkyImage(data, np.square(made.error), bits, levels[k], "frames", names, name_of(frames[k]), told)

    def _settled(self, sky: SkyImage, frame: Frame, mask: Bools, *, bare: bool) -> SkyImage:
        """Return the sky shifted, or bent where the frame is `bare` of a flat, so that blank pixels have none left.

        What the pattern adds to the noise, region by region, counts as variance of the sky.
        """
        left = frame.data - sky.data
        if not bare or mask.all():
            return replace(sky, data=(sky.data + np.float32(_level(left, mask))).astype(np.float32))
        rest = background(left, mask, self.fine)[0]
        rough = np.square(roughness(left - rest, mask, self.box))
        var = np.maximum(rough - frame.var, sky.var)
        return replace(sky, data=(sky.data + rest).astype(np.float32), var=var.astype(np.float32))


class RemoveSky(Step):
    """Subtract a sky from an image, and add the sky's variance to the image's."""

    variance: bool = parameter(True, "add the sky's own variance")

    def run(self, frame: Frame, sky: SkyImage) -> Frame:
        """Return the frame without sky; ``NPSKY`` [electron] keeps its level. Raises BadFrameError: unlike shapes."""
        if sky.data.shape != frame.shape:
            raise BadFrameError(f"a sky of {name_of(frame)}'s shape {frame.shape}", str(sky.data.shape), "make it anew")
        changes = {"header": frame.header | {"NPSKY": sky.level}, "mask": frame.mask | sky.mask}
        var = frame.var + sky.var if self.variance else frame.var
        read = None if frame.read_var is None else frame.read_var + _photons(frame, sky)
        return frame.but(data=frame.data - sky.data, var=var, read_var=read, caveats=sky.caveats, **changes)


def _photons(frame: Frame, sky: SkyImage) -> Image:
    """Return the variance of the sky's photons: what is left of the frame no longer tells of them."""
    each = np.float32(1) if frame.photon_var is None else frame.photon_var
    return np.asarray(np.maximum(sky.data, 0) * each + sky.var, np.float32)


def _pattern(frames: Sequence[Frame], bad: Sequence[Bools], sigma: float, around: int = 7) -> Bools:
    """Return the pixels that stand out of their surroundings in all frames, all upwards or all downwards.

    Stars do not, unless the telescope stood still, and then no frame tells the sky of another.
    """
    least, most = np.full(frames[0].shape, np.inf, np.float32), np.full(frames[0].shape, -np.inf, np.float32)
    for frame, hidden in zip(frames, bad, strict=True):
        rest = frame.data - ndimage.median_filter(frame.data, around)
        rest /= np.float32(max(float(mad_std(rest[~hidden])), 1e-6))
        least, most = np.minimum(least, rest), np.maximum(most, rest)
    return np.asarray((least > sigma) | (most < -sigma))


def _bad(frame: Frame) -> Bools:
    bad = ~frame.good
    if bad.all():
        raise BadFrameError(f"good pixels in {name_of(frame)}", "none", "leave the frame out")
    return bad


def _level(data: Image, mask: Bools) -> float:
    """Return the median of what is not masked, or of all where everything is."""
    kept = data[~mask] if not mask.all() else data.ravel()
    return float(np.median(kept[:: max(1, kept.size // 300_000)]))


def _told(unknown: Bools, name: str) -> tuple[Caveat, ...]:
    share = float(unknown.mean())
    if share < 0.01:
        return ()
    text = (
        f"{name}: no frame shows the sky on {share:.0%} of the pixels: objects cover them in all; interpolated, masked"
    )
    return (Caveat("sky.unknown", text),)
