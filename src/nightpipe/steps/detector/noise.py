"""Gain and read noise as measured on the night's own frames, against what the header says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.maths.transfer import (
    Transfer,
    Value,
    bias_noise,
    gain,
    joined,
    overscan_noise,
    transfer,
    transfer_by_light,
)
from nightpipe.model.detector import Amplifier, Noise
from nightpipe.model.frame import RawFrame
from nightpipe.steps.detector.overscan import pedestal, steady_lines
from nightpipe.steps.detector.sections import check, cut, overscan_lines

UNKNOWN = Value(float("nan"), float("nan"), 0)


class Measured(NamedTuple):
    """What was measured for one amplifier: `gain` [electron/adu] and `noise` [adu], each with its source."""

    gain: Value
    noise: Value
    gain_source: str
    noise_source: str


class MeasureNoise(Step):
    """Measure gain and read noise from pairs of bias and flat frames; fall back on overscan, then on the header."""

    version: ClassVar[int] = 3
    box: int = parameter(32, "side of the boxes in which pairs are compared", unit="pixel", ge=8, le=512)
    pairs: int = parameter(6, "use this many pairs of each kind at most", ge=1, le=100)
    least_light: float = parameter(3.0, "flat boxes need this much photon noise", unit="read noise", gt=0)
    differ: float = parameter(0.05, "a fraction by which the header may differ without a caveat", ge=0)
    significant: float = parameter(3.0, "and by how many standard errors", unit="sigma", ge=0)
    credible: float = parameter(4.0, "a gain further from the header's than this factor is not believed", gt=1)
    precise: float = parameter(0.1, "a gain measured worse than this fraction is not used", gt=0, lt=1)
    common: float = parameter(0.02, "how well two read speeds keep the ratio of their headers' gains", gt=0, lt=0.5)

    def run(self, biases: tuple[RawFrame, ...], flats: tuple[RawFrame, ...], other: Noise | None = None) -> Noise:
        """Return gain and read noise of every amplifier of the first frame's detector, with errors and sources.

        Read noise comes from bias pairs, else from the overscan of any frame, else from the header (caveat
        ``noise.header``); the gain from flat pairs, else from the same detector at another read speed, `other`, by the
        ratio of their headers (caveat ``gain.other_speed``): one output and one chain of amplifiers serve all speeds,
        and what a header is wrong by at one it is wrong by at the next; else from the header (caveat ``gain.header``).
        What differs from
        the header significantly carries ``gain.differs`` or ``noise.differs``, naming both numbers. Behind lenslets
        light changes from pixel to pixel: pixels of equal light stand for boxes.

        Raises
        ------
        BadFrameError
            A frame does not hold the sections of its detector's description.
        """
        frames = (*biases, *flats)
        if not frames:
            return Noise((), (), (), (), (), (), (), "header", "header")
        for raw in frames:
            check(raw)
        amplifiers = frames[0].detector.amplifiers
        found = [self._amplifier(k, biases, flats) for k in range(len(amplifiers))]
        result = self._noise(amplifiers, found)
        if other is not None:
            result = self._borrowed(result, other)
        return replace(result, caveats=(*_fallbacks(result), *self._differences(result)))

    def _amplifier(self, k: int, biases: tuple[RawFrame, ...], flats: tuple[RawFrame, ...]) -> Measured:
        amplifier = (*biases, *flats)[0].detector.amplifiers[k]
        noise, source = self._read_noise(k, biases, flats)
        found = self._gain(k, biases, flats, noise.value) if np.isfinite(noise.value) else UNKNOWN
        return Measured(found, noise, "pairs" if self._usable(found, amplifier) else "header", source)

    def _read_noise(self, k: int, biases: tuple[RawFrame, ...], flats: tuple[RawFrame, ...]) -> tuple[Value, str]:
        pairs = _pairs(biases, self.pairs)
        if pairs:
            values = [bias_noise(_light(one, k), _light(two, k), self.box) for one, two in pairs]
            return _averaged(values), "pairs"
        raws = [raw for raw in (*biases, *flats) if raw.detector.amplifiers[k].overscan]
        values = [_overscan(raw, k) for raw in raws]
        return (_averaged(values), "overscan") if values else (UNKNOWN, "header")

    def _gain(self, k: int, biases: tuple[RawFrame, ...], flats: tuple[RawFrame, ...], noise: float) -> Value:
        points = []
        for one, two in _pairs(flats, self.pairs):
            a, b = (_above_pedestal(raw, k, biases) for raw in (one, two))
            if a is None or b is None:
                return UNKNOWN
            limit = one.detector.linear_to or np.inf
            compare = transfer_by_light if one.disperser is not None and one.disperser.lenslets else transfer
            points.append(_lit(compare(a, b, (a >= limit) | (b >= limit), noise, self.box), self.least_light))
        if not points:
            return UNKNOWN
        value = gain(joined(points))
        return value._replace(error=value.error * _shared(len(points)))

    def _usable(self, value: Value, amplifier: Amplifier) -> bool:
        if not (np.isfinite(value.value) and value.error < self.precise * value.value):
            return False
        return 1 / self.credible < value.value / amplifier.gain < self.credible

    def _noise(self, amplifiers: tuple[Amplifier, ...], found: list[Measured]) -> Noise:
        by_pairs = all(m.gain_source == "pairs" for m in found)
        gains = [m.gain if by_pairs else Value(a.gain, 0.0, 0) for a, m in zip(amplifiers, found, strict=True)]
        noises = [_electrons(m, g, a) for a, m, g in zip(amplifiers, found, gains, strict=True)]
        return Noise(
            amplifiers=tuple(a.name for a in amplifiers),
            gain=tuple(g.value for g in gains),
            read_noise=tuple(n.value for n in noises),
            gain_error=tuple(g.error for g in gains),
            read_noise_error=tuple(n.error for n in noises),
            header_gain=tuple(a.gain for a in amplifiers),
            header_read_noise=tuple(a.read_noise for a in amplifiers),
            gain_source="pairs" if by_pairs else "header",
            read_noise_source=found[0].noise_source,
        )

    def _borrowed(self, noise: Noise, other: Noise) -> Noise:
        """Return `noise` with the gain of another read speed, where that was measured and its own was not.

        The read noise, measured in adu, follows.
        """
        if noise.gain_source != "header" or other.gain_source != "pairs" or noise.amplifiers != other.amplifiers:
            return noise
        header, known = np.array(noise.header_gain), np.array(other.gain)
        gain = known * header / np.array(other.header_gain)
        error = gain * np.hypot(np.array(other.gain_error) / known, self.common)
        measured = noise.read_noise_source != "header"
        scale, wide = (gain / np.array(noise.gain), error / gain) if measured else (np.ones_like(gain), 0.0 * gain)
        read_noise = np.array(noise.read_noise) * scale
        read_error = np.hypot(np.array(noise.read_noise_error) * scale, read_noise * wide)
        return replace(
            noise, gain=_listed(gain), gain_error=_listed(error), read_noise=_listed(read_noise),
            read_noise_error=_listed(read_error), gain_source="other speed",
        )  # fmt: skip

    def _differences(self, noise: Noise) -> list[Caveat]:
        """Return a caveat for each number that differs from the header's by too much to be chance."""
        rows = (
            ("gain", "electron/adu", noise.gain, noise.gain_error, noise.header_gain),
            ("noise", "electron", noise.read_noise, noise.read_noise_error, noise.header_read_noise),
        )
        found = []
        for code, unit, values, errors, headers in rows[noise.gain_source == "other speed" :]:  # that is told already
            for name, value, error, header in zip(noise.amplifiers, values, errors, headers, strict=True):
                if abs(value - header) > max(self.differ * header, self.significant * error):
                    found.append(Caveat(f"{code}.differs", _sentence(code, name, unit, value, error, header)))
        return found


def _listed(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _sentence(code: str, name: str, unit: str, value: float, error: float, header: float) -> str:
    what = "gain" if code == "gain" else "read noise"
    return f"amplifier {name}: the {what} is {value:.4g} +- {error:.2g} {unit} as measured, {header:.4g} by the header"


def _fallbacks(noise: Noise) -> list[Caveat]:
    found = []
    if noise.gain_source == "header":
        gains = ", ".join(f"{gain:g}" for gain in noise.gain)
        found.append(
            Caveat("gain.header", f"no pair of flats gave the gain: the header's {gains} electron/adu is used")
        )
    if noise.gain_source == "other speed":
        listed = ", ".join(f"{one:.4g} +- {off:.2g}" for one, off in zip(noise.gain, noise.gain_error, strict=True))
        headers = ", ".join(f"{one:g}" for one in noise.header_gain)
        text = f"no flats of this read speed: {listed} electron/adu from those of another; the header has {headers}"
        found.append(Caveat("gain.other_speed", text))
    if noise.read_noise_source == "header":
        values = ", ".join(f"{value:g}" for value in noise.read_noise)
        found.append(Caveat("noise.header", f"no bias and no overscan: the header's read noise of {values} e- is used"))
    return found


def _electrons(measured: Measured, gain_used: Value, amplifier: Amplifier) -> Value:
    """Return the read noise in electrons, the gain's error included; the header's where none was measured."""
    if measured.noise_source == "header":
        return Value(amplifier.read_noise, 0.0, 0)
    value = measured.noise.value * gain_used.value
    relative = np.hypot(measured.noise.error / measured.noise.value, gain_used.error / gain_used.value)
    return Value(value, float(value * relative), measured.noise.boxes)


def _pairs(frames: tuple[RawFrame, ...], most: int) -> list[tuple[RawFrame, RawFrame]]:
    """Return neighbours in time with the same sections."""
    ordered = sorted(frames, key=lambda raw: raw.exposure.mjd)
    return [pair for pair in pairwise(ordered) if pair[0].data.shape == pair[1].data.shape][:most]


def _light(raw: RawFrame, k: int) -> NDArray[np.float64]:
    return cut(raw.data, raw.detector.amplifiers[k].data).astype(np.float64)


def _overscan(raw: RawFrame, k: int) -> Value:
    amplifier = raw.detector.amplifiers[k]
    lines = overscan_lines(raw.data, amplifier)
    return overscan_noise(lines[:, steady_lines(lines)], pedestal(raw.data, amplifier, knots=24).value)


def _above_pedestal(raw: RawFrame, k: int, biases: tuple[RawFrame, ...]) -> NDArray[np.float64] | None:
    """Return a flat's light [adu]: its overscan gives the pedestal, else the mean bias; None where neither is there."""
    amplifier = raw.detector.amplifiers[k]
    if amplifier.overscan:
        found = pedestal(raw.data, amplifier, knots=24)
        return np.asarray(_light(raw, k) - found.over(amplifier.data, amplifier.overscan_axis)[0])
    if biases:
        return np.asarray(_light(raw, k) - np.mean([_light(bias, k) for bias in biases], axis=0))
    return None


def _lit(points: Transfer, least: float) -> Transfer:
    """Return the points whose photon noise exceeds the readout's by the factor `least`."""
    use = points.variance - points.readout > least**2 * points.readout
    return Transfer(*(column[use] for column in points))


def _averaged(values: list[Value]) -> Value:
    """Return the mean of measurements of neighbouring pairs, which share frames."""
    value = float(np.median([v.value for v in values]))
    error = float(np.sqrt(np.mean([v.error**2 for v in values]) / len(values))) * _shared(len(values))
    return Value(value, error, sum(v.boxes for v in values))


def _shared(pairs: int) -> float:
    """Return the factor on the error that comes from sharing frames: neighbouring pairs correlate by 1/4."""
    return float(np.sqrt(1 + 0.5 * (pairs - 1) / max(pairs, 1)))
