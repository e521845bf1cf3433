"""Many frames of one thing into one: bias, dark, flat, arc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.combine import Combined, clipped_mean, clipped_median
from nightpipe.maths.robust import clipped_stats
from nightpipe.model.exposure import Exposure, Header
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.frame import Frame, Image, finite
from nightpipe.steps.detector.fit import name_of, same_shape


class CombineFrames(Step):
    """Combine frames of one kind: scale them if asked to, reject outliers, average, propagate the variance."""

    method: Literal["mean", "median"] = parameter("mean", "mean, or median where outliers are many")
    scale: Literal["none", "level", "exptime"] = parameter("none", "bring frames to one level: of light, of time")
    reject: Literal["clip", "none"] = parameter("clip", "reject outliers, or keep all values")
    low: float = parameter(5.0, "reject values this far below the middle", unit="sigma", gt=1)
    high: float = parameter(4.5, "reject values this far above the middle", unit="sigma", gt=1)
    iterations: int = parameter(5, "how often to clip at most", ge=1, le=20)
    dim: float = parameter(0.1, "scale=level leaves out frames fainter than this fraction of the others", ge=0, lt=1)

    def run(self, frames: tuple[Frame, ...]) -> Frame:
        """Return the combined frame, at the level of the first one.

        Outliers are judged by the frames' variance where they have one (electrons); in adu by their own scatter, never
        taken below that of the whole stack, since a few values know their scatter badly. Scaled frames are weighted by
        their light. The header keeps ``NCOMBINE`` and, in adu, the noise of one frame as ``NPNOISE`` [adu].

        Raises
        ------
        BadFrameError
            There are no frames, or of different shapes or units, or none of them has light where scale=level.
        """
        if not frames:
            raise BadFrameError("frames to combine", "none", "add frames, or leave this calibration out")
        for frame in frames[1:]:
            same_shape(frames[0], frame, "frame to combine")
        frames, factors, caveats = self._scaled(frames)
        noisy = all(frame.read_var is not None for frame in frames)
        sigma = 0.0 if noisy else stack_noise(frames, factors)
        combined = self._combined(frames, factors, sigma, noisy=noisy)
        var = np.square(combined.error) if noisy else _pooled_variance(combined, sigma, frames, factors)
        return _described(frames, factors, combined, var, sigma, caveats)

    def _scaled(self, frames: tuple[Frame, ...]) -> tuple[tuple[Frame, ...], list[float], list[Caveat]]:
        if self.scale == "exptime":
            times = [frame.exposure.exptime if frame.exposure else 0.0 for frame in frames]
            if min(times) <= 0:
                raise BadFrameError("exposure times to scale by", str(times), "set CombineFrames.scale=none")
            return frames, [times[0] / time for time in times], []
        if self.scale == "none" or len(frames) == 1:
            return frames, [1.0] * len(frames), []
        return _level(frames, self.dim)

    def _combined(self, frames: tuple[Frame, ...], factors: list[float], sigma: float, *, noisy: bool) -> Combined:
        bad = [~frame.good for frame in frames]
        if len(frames) == 2 and self.reject == "clip":
            bad = [b | high for b, high in zip(bad, _higher(frames, factors, sigma, self.high), strict=True)]
        options: dict[str, Any] = {
            "mask": bad,
            "low": self.low,
            "high": self.high,
            "iterations": self.iterations if self.reject == "clip" else 0,
            "factors": factors,
            "variance": [frame.var for frame in frames] if noisy else None,
            "scale": "variance" if noisy else "empirical",
            "floor": sigma,
        }
        stack = [frame.data for frame in frames]
        if self.method == "median":
            return clipped_median(stack, **options)
        return clipped_mean(stack, weights=1 / np.array(factors), **options)


def _level(frames: tuple[Frame, ...], dim: float) -> tuple[tuple[Frame, ...], list[float], list[Caveat]]:
    """Return the frames that have light, what brings each to the first one's level, and what was left out."""
    levels = np.array([np.median(frame.data, axis=0) for frame in frames])
    brightest = int(np.argmax(np.median(levels, axis=1)))
    lit = levels[brightest] >= np.percentile(levels[brightest], 60)
    if np.median(levels[brightest, lit]) <= 0:
        raise BadFrameError("frames with light to combine", "none above zero", "drop them: was the lamp on?")
    ratios = [_ratio(frame, frames[brightest], lit) for frame in frames]
    usual = float(np.median(ratios))
    kept = [k for k, ratio in enumerate(ratios) if ratio > dim * max(usual, 0.0) and ratio > 0]
    caveats = [
        Caveat("combine.dim", f"{name_of(frames[k])} was left out: {ratios[k]:.1%} of the light of the others")
        for k in range(len(frames))
        if k not in kept
    ]
    return tuple(frames[k] for k in kept), [ratios[kept[0]] / ratios[k] for k in kept], caveats


def _ratio(frame: Frame, reference: Frame, lit: NDArray[np.bool_]) -> float:
    """Return the light of `frame` over that of `reference`: the median of the ratios of whole columns.

    Ratios of single pixels, or pixels chosen because they are bright, would be biased by their noise.
    """
    both = frame.good & reference.good
    one, two = (np.where(both, f.data, 0)[:, lit].sum(axis=0) for f in (frame, reference))
    known = two > 0
    return float(np.median(one[known] / two[known])) if known.any() else 0.0


def stack_noise(frames: Sequence[Frame], factors: Sequence[float]) -> float:
    """Return the noise of a single frame, pooled over the stack: from pairs, or from neighbours in a lone frame."""
    first, *rest = frames
    if not rest:
        return clipped_stats(np.diff(first.data, axis=1))[1] / np.sqrt(2)
    pairs = list(zip(frames[:-1], rest, factors[:-1], factors[1:], strict=True))[:5]
    thin = max(first.data.size // 200_000, 1)
    widths = [
        clipped_stats((b * two.data - a * one.data).ravel()[::thin])[1] / np.hypot(a, b) for one, two, a, b in pairs
    ]
    return float(np.median(widths))


def _higher(
    frames: tuple[Frame, ...], factors: list[float], sigma: float, limit: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where each of two frames exceeds the other by too much: of two values no middle can be taken."""
    difference = factors[0] * frames[0].data - factors[1] * frames[1].data
    own = [sigma**2 if frame.read_var is None else frame.var for frame in frames]
    var = factors[0] ** 2 * own[0] + factors[1] ** 2 * own[1]
    both = frames[0].good & frames[1].good
    error = limit * np.sqrt(var)
    return both & (difference > error), both & (-difference > error)


def _pooled_variance(combined: Combined, sigma: float, frames: tuple[Frame, ...], factors: list[float]) -> Image:
    """Return the variance of the mean in adu: the pooled one, the pixel's own where that is significantly larger."""
    count = np.maximum(combined[2], 1)
    given = np.mean([f**2 * frame.var for f, frame in zip(factors, frames, strict=True)], axis=0) / count
    pooled = sigma**2 / count
    own = np.square(combined.error)
    noisy = own > pooled * _unlikely(len(frames) - 1)
    return np.where(noisy, own, pooled + given).astype(np.float32)


def _unlikely(freedom: int, sigma: float = 4.5) -> float:
    """Return the reduced chi-square exceeded with the probability of `sigma` (Wilson & Hilferty 1931, PNAS 17, 684)."""
    if freedom < 1:
        return float("inf")
    width = 2 / (9 * freedom)
    return float((1 - width + sigma * np.sqrt(width)) ** 3)


def _described(
    frames: tuple[Frame, ...],
    factors: list[float],
    combined: Combined,
    var: Image,
    sigma: float,
    caveats: list[Caveat],
) -> Frame:
    first, masks = frames[0], [frame.mask for frame in frames]
    empty = combined[2] == 0
    common = np.bitwise_and.reduce(masks)
    mask = np.where(empty, np.bitwise_or.reduce(masks), common & ~np.where(empty, 0, np.uint32(UNUSABLE)))
    header = first.header | _mean_pedestals(frames) | {"NCOMBINE": len(frames)}
    read_var, photon_var = _noise_terms(frames, factors, combined)
    return finite(
        replace(
            first,
            data=combined.value,
            var=var,
            mask=mask.astype(np.uint32),
            header=header | ({"NPNOISE": sigma} if sigma else {}),
            exposure=_mid_exposure(frames),
            caveats=merged(*(frame.caveats for frame in frames), caveats),
            read_var=read_var,
            photon_var=photon_var,
        )
    )


def _noise_terms(
    frames: tuple[Frame, ...], factors: list[float], combined: Combined
) -> tuple[Image | None, Image | None]:
    """Return read and photon variance of the weighted mean, so that a noiseless model gives its variance."""
    known = [frame.read_var for frame in frames if frame.read_var is not None]
    if len(known) < len(frames):
        return None, None
    weight = 1 / np.array(factors)
    used = len(frames) / np.maximum(combined[2], 1) / weight.sum() ** 2
    read = np.sum(known, axis=0)  # weight times factor is 1
    photons = sum((w * _per_electron(frame) for w, frame in zip(weight, frames, strict=True)), np.float32(0))
    return (used * read).astype(np.float32), (used * photons).astype(np.float32)


def _per_electron(frame: Frame) -> Any:
    return np.float32(1) if frame.photon_var is None else frame.photon_var


def _mean_pedestals(frames: tuple[Frame, ...]) -> Header:
    keys = [key for key in frames[0].header if key.startswith("NPPED")]
    return {key: float(np.mean([float(f.header.get(key, np.nan)) for f in frames])) for key in keys}


def _mid_exposure(frames: tuple[Frame, ...]) -> Exposure | None:
    """Return the first exposure's facts at the mean time of all."""
    times = [frame.exposure.mjd for frame in frames if frame.exposure is not None]
    first = frames[0].exposure
    return None if first is None else replace(first, mjd=float(np.mean(times)))
