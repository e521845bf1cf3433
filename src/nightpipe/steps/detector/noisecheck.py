"""A second opinion on gain and read noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.maths.transfer import stack_gain, stack_noise
from nightpipe.model.detector import Noise
from nightpipe.model.frame import RawFrame
from nightpipe.steps.detector.overscan import pedestal
from nightpipe.steps.detector.sections import cut


class CheckNoise(Step):
    """Measure gain and read noise once more, from whole stacks of flats and biases, and compare."""

    frames: int = parameter(8, "use this many frames of each kind at most", ge=3, le=100)
    side: int = parameter(1024, "use the middle of the detector, this many pixels a side", unit="pixel", ge=128)
    box: int = parameter(32, "side of the boxes in which variances are taken", unit="pixel", ge=8, le=512)
    differ: float = parameter(0.03, "a fraction by which the two estimators may differ without a caveat", gt=0)

    def run(self, noise: Noise, biases: tuple[RawFrame, ...], flats: tuple[RawFrame, ...]) -> Noise:
        """Return `noise` with the second estimators' values, nan where three frames are not there.

        Gain: each flat against the mean of the others, a line with a free intercept over all levels. Read noise: the
        scatter in time of each pixel of the biases. Disagreement is told (``gain.estimators``, ``noise.estimators``).
        """
        found = [self._amplifier(k, biases, flats) for k in range(len(noise.amplifiers))]
        gains = tuple(gain for gain, _ in found)
        noises = tuple(adu * gain for (_, adu), gain in zip(found, noise.gain, strict=True))
        told = (
            *self._differences("gain", noise, noise.gain, gains, "electron/adu"),
            *self._differences("noise", noise, noise.read_noise, noises, "electron"),
        )
        return replace(noise, gain_check=gains, read_noise_check=noises, caveats=(*noise.caveats, *told))

    def _amplifier(self, k: int, biases: tuple[RawFrame, ...], flats: tuple[RawFrame, ...]) -> tuple[float, float]:
        zeros = [self._middle(raw, k) for raw in biases[: self.frames]]
        lit = [self._middle(raw, k) for raw in flats[: self.frames]]
        adu = stack_noise(zeros).value
        if len(lit) < 3 or not (zeros or flats[0].detector.amplifiers[k].overscan):
            return float("nan"), adu
        level = np.mean(zeros, axis=0) if zeros and not flats[0].detector.amplifiers[k].overscan else np.float64(0)
        limit = flats[0].detector.linear_to or np.inf
        return stack_gain([flat - level for flat in lit], limit, self.box).value, adu

    def _middle(self, raw: RawFrame, k: int) -> NDArray[np.float64]:
        """Return the middle of an amplifier's light, less its overscan where it has one."""
        amplifier = raw.detector.amplifiers[k]
        light = cut(raw.data, amplifier.data).astype(np.float64)
        if amplifier.overscan:
            light -= pedestal(raw.data, amplifier, knots=24).over(amplifier.data, amplifier.overscan_axis)[0]
        skip = [max((n - self.side) // 2, 0) for n in light.shape]
        return light[skip[0] : skip[0] + self.side, skip[1] : skip[1] + self.side]

    def _differences(
        self, code: str, noise: Noise, first: tuple[float, ...], second: tuple[float, ...], unit: str
    ) -> list[Caveat]:
        what = "gain" if code == "gain" else "read noise"
        return [
            Caveat(f"{code}.estimators", f"amplifier {name}: the {what} is {one:.4g} or {two:.4g} {unit}, by estimator")
            for name, one, two in zip(noise.amplifiers, first, second, strict=True)
            if np.isfinite(two) and abs(two / one - 1) > self.differ
        ]
