"""Which flats serve: saturation, level, gradient, stars and their trails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.robust import mad_std
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.model.selection import Selection
from nightpipe.steps.detector.overscan import pedestal
from nightpipe.steps.detector.sections import check, cut

FloatArray = NDArray[np.float64]
THUMBNAIL = 64


@dataclass(frozen=True)
class Look:
    """What one frame shows: `level`, `saturated` as in `Selection`, and the median light of blocks (m, m) [adu]."""

    name: str
    level: float
    saturated: float
    blocks: FloatArray


class SelectFlats(Step):
    """Tell the flats that serve from those that are saturated, too bright, too faint, uneven, or full of stars."""

    amin: float = parameter(0.2, "least level, as a fraction of the full scale as read", ge=0, lt=1)
    amax: float = parameter(0.8, "largest level, as a fraction of the full scale as read", gt=0, le=1)
    saturated: float = parameter(1e-3, "largest fraction of saturated pixels", ge=0, le=1)
    gradient: float = parameter(0.05, "largest change of the illumination over the frame, against the others", gt=0)
    stars: float = parameter(0.02, "largest fraction of the field under stars and their trails", gt=0, le=1)
    bright: float = parameter(6.0, "light above the others' that counts as a star", unit="sigma", gt=1)
    keep: str = parameter("", "names of frames to take whatever they look like, with commas")
    drop: str = parameter("", "names of frames to leave out whatever they look like, with commas")

    def run(self, frames: tuple[RawFrame, ...], bias: Frame | None) -> Selection:
        """Return the judgement on each of `frames`; `bias` gives the pedestal where there is no overscan.

        Levels are judged as read, pedestal and all, as observers do when they expose. Gradient and stars are judged
        against the median of all frames that are well exposed, three or more, after taking out their levels.

        Raises
        ------
        BadFrameError
            There are no frames, or they do not hold the sections of the detector.
        """
        if not frames:
            raise BadFrameError("flats to choose from", "none", "add frames")
        looks = [_look(raw, bias) for raw in sorted(frames, key=lambda raw: raw.exposure.mjd)]
        reasons = [self._exposed(look) for look in looks]
        gradient, stars = self._compared(looks, [not reason for reason in reasons])
        for k, look in enumerate(looks):
            reasons[k] = self._wished(look.name, reasons[k] or self._even(gradient[k], stars[k]))
        names = tuple(look.name for look in looks)
        return Selection(
            names=names,
            reasons=tuple(reasons),
            level=np.array([look.level for look in looks]),
            saturated=np.array([look.saturated for look in looks]),
            gradient=gradient,
            stars=stars,
            thumbnails=np.array([_normal(look.blocks) for look in looks], dtype=np.float32),
            caveats=_caveats(names, reasons),
        )

    def _exposed(self, look: Look) -> str:
        if look.saturated > self.saturated:
            return f"saturated: {look.saturated:.1%} of its pixels"
        if look.level > self.amax:
            return f"too bright: {look.level:.1%} of the full scale"
        return f"too faint: {look.level:.1%} of the full scale" if look.level < self.amin else ""

    def _even(self, gradient: float, stars: float) -> str:
        if gradient > self.gradient:
            return f"uneven: its illumination changes by {gradient:.1%} against the others"
        return f"stars or trails on {stars:.1%} of the field" if stars > self.stars else ""

    def _wished(self, name: str, reason: str) -> str:
        if name in _names(self.drop):
            return reason or "left out by hand"
        return "" if name in _names(self.keep) else reason

    def _compared(self, looks: list[Look], well: list[bool]) -> tuple[FloatArray, FloatArray]:
        gradient, stars = np.full((2, len(looks)), np.nan)
        if sum(well) < 3:
            return gradient, stars
        usual = np.median([_normal(look.blocks) for look, use in zip(looks, well, strict=True) if use], axis=0)
        for k, look in enumerate(looks):
            if well[k]:
                ratio = _normal(look.blocks) / np.maximum(usual, 1e-3)
                gradient[k], rest = _plane(ratio)
                # blocks are medians of many pixels: what is left of the pixels' noise is small
                stars[k] = float(np.mean(rest > max(self.bright * mad_std(rest), 0.005)))
        return gradient, stars


def _names(text: str) -> set[str]:
    return {name.strip() for name in text.split(",") if name.strip()}


def _look(raw: RawFrame, bias: Frame | None) -> Look:
    check(raw)
    lows, highs, bottoms, tops = zip(*(amplifier.data for amplifier in raw.detector.amplifiers), strict=True)
    light = cut(raw.data, (min(lows), max(highs), min(bottoms), max(tops)))
    zero = _pedestal(raw, bias)
    full = raw.detector.saturation + zero
    # one adu of slack: full scale is told as a rounded number
    saturated = float(np.mean(light >= full - 1.0))
    level = float(np.median(light))
    return Look(raw.exposure.name, level / full, saturated, _blocks(light - zero))


def _pedestal(raw: RawFrame, bias: Frame | None) -> float:
    """Return the frame's pedestal [adu]: by overscan, else by the bias, else unknown and taken as zero."""
    first = raw.detector.amplifiers[0]
    if first.overscan:
        return float(np.median(pedestal(raw.data, first, knots=0).value))
    return 0.0 if bias is None else float(np.median(bias.data))


def _blocks(light: NDArray[Any]) -> FloatArray:
    """Return the medians of blocks on a grid of at most 64 x 64."""
    size = max(min(light.shape) // THUMBNAIL, 1)
    ny, nx = (n // size for n in light.shape)
    cells = light[: ny * size, : nx * size].reshape(ny, size, nx, size).swapaxes(1, 2).reshape(ny, nx, -1)
    return np.asarray(np.median(cells, axis=2), dtype=np.float64)


def _normal(blocks: FloatArray) -> FloatArray:
    level = float(np.median(blocks))
    return blocks / level if level > 0 else np.ones_like(blocks)


def _plane(ratio: FloatArray) -> tuple[float, FloatArray]:
    """Return how much a plane through the blocks changes from edge to edge, and what it leaves over."""
    ny, nx = ratio.shape
    y, x = np.mgrid[:ny, :nx]
    terms = np.stack([np.ones(ratio.size), x.ravel() / nx - 0.5, y.ravel() / ny - 0.5], axis=1)
    keep = np.abs(ratio.ravel() - np.median(ratio)) <= 5 * max(mad_std(ratio), 1e-6)
    found = np.linalg.lstsq(terms[keep], ratio.ravel()[keep], rcond=None)[0]
    return float(np.abs(found[1]) + np.abs(found[2])), ratio - (terms @ found).reshape(ratio.shape)


def _caveats(names: tuple[str, ...], reasons: list[str]) -> tuple[Caveat, ...]:
    """Return one sentence on all that were refused, by kind of reason."""
    kinds: dict[str, list[str]] = {}
    for name, reason in zip(names, reasons, strict=True):
        if reason:
            kinds.setdefault(reason.split(":")[0], []).append(name)
    if not kinds:
        return ()
    told = "; ".join(f"{len(group)} {kind} ({', '.join(group)})" for kind, group in kinds.items())
    lost = sum(map(len, kinds.values()))
    return (Caveat("flat.refused", f"{lost} of {len(names)} flats do not serve: {told}"),)
