"""The structure that the overscan leaves behind, and how it compares with earlier nights."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.maths.robust import clipped_stats
from nightpipe.maths.strips import by_strips
from nightpipe.model.detector import Comparison
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame, oriented_as
from nightpipe.steps.detector.fit import same_shape


class Bias(Step):
    """Subtract the master bias."""

    unstable: float = parameter(20.0, "pixels whose bias stands out by more are bad", unit="read noise", gt=0)

    def run(self, frame: Frame, bias: Frame) -> Frame:
        """Return `frame` minus `bias` [adu], variances added, bad pixels of the bias flagged.

        Where both kept their pedestal because there is no overscan, the bias takes it away. Pixels far off the rest of
        the bias (the first ones of a readout) are bad: such offsets never stay what they were.

        Raises
        ------
        BadFrameError
            The two have different shapes or units.
        """
        bias = bias if frame.detector is None else oriented_as(bias, frame.detector)
        same_shape(frame, bias, "bias")
        passed = np.uint32(Flag.BAD | Flag.NO_DATA)
        (mask,) = by_strips(lambda own, other: (own | (other & passed),), frame.mask, bias.mask)
        subtracted = frame.but(
            data=frame.data - bias.data,
            var=frame.var + bias.var,
            mask=mask,
            header=frame.header | {"NPBIAS": True},
        )
        return subtracted.flagged(self._offset(bias), Flag.BAD)

    def _offset(self, bias: Frame) -> NDArray[np.bool_]:
        """Return the pixels whose bias is too far from the others'; none where the noise of a frame is not known."""
        noise = _read_noise(bias)
        if not np.isfinite(noise):
            return np.zeros(bias.shape, dtype=np.bool_)
        return np.asarray(np.abs(bias.data - np.median(bias.data)) > self.unstable * noise)


class CompareBias(Step):
    """Compare a master bias with earlier ones: pedestal, structure, read noise."""

    level_step: float = parameter(20.0, "a pedestal that moved further is worth a caveat", unit="read noise", gt=0)
    structure_step: float = parameter(0.3, "structure that changed by more is worth a caveat", unit="read noise", gt=0)
    noise_step: float = parameter(0.1, "a read noise that changed by a larger fraction is worth a caveat", gt=0)

    def run(self, bias: Frame, earlier: tuple[Frame, ...]) -> Comparison:
        """Return how `bias` differs from each of `earlier`; what jumped carries a caveat.

        Raises
        ------
        BadFrameError
            One of them has another shape or unit.
        """
        for other in earlier:
            same_shape(bias, other, "earlier bias")
        rows = [_differences(bias, other) for other in earlier]
        names = tuple(_name(other, number) for number, other in enumerate(earlier))
        caveats = [c for name, row in zip(names, rows, strict=True) for c in self._caveats(name, row, bias)]
        level, structure, ratio = zip(*rows, strict=True) if rows else ((), (), ())
        return Comparison(names, level, structure, ratio, tuple(caveats))

    def _caveats(self, name: str, row: tuple[float, float, float], bias: Frame) -> list[Caveat]:
        level, structure, ratio = row
        unit = _read_noise(bias)
        found = []
        if abs(level) > self.level_step * unit:
            found.append(Caveat("bias.level", f"the pedestal moved by {level:+.1f} adu since {name}"))
        if structure > self.structure_step * unit:
            found.append(
                Caveat("bias.structure", f"the bias changed its structure by {structure:.2f} adu since {name}")
            )
        if abs(ratio - 1) > self.noise_step:
            found.append(Caveat("bias.noise", f"the read noise is {ratio:.2f} times that of {name}"))
        return found


def _differences(bias: Frame, other: Frame) -> tuple[float, float, float]:
    """Return the step of the pedestal [adu], the change of structure [adu], the ratio of the read noises."""
    difference = (bias.data - other.data)[bias.good & other.good]
    step, scatter, _ = clipped_stats(difference)
    expected = float(np.mean(bias.var) + np.mean(other.var))
    structure = math.sqrt(max(scatter**2 - expected, 0.0))
    return step + _pedestal(bias) - _pedestal(other), structure, _read_noise(bias) / _read_noise(other)


def _pedestal(bias: Frame) -> float:
    """Return the mean of the pedestals that the overscan took away, 0 where there was none."""
    found = [float(value) for key, value in bias.header.items() if key.startswith("NPPED")]
    return float(np.mean(found)) if found else 0.0


def _read_noise(bias: Frame) -> float:
    """Return the noise [adu] of a single frame behind a master; nan where the master does not say."""
    return float(bias.header.get("NPNOISE", math.nan))


def _name(frame: Frame, number: int) -> str:
    return frame.exposure.name if frame.exposure is not None else f"master {number + 1}"
