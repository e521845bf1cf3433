"""From adu to electrons, and the variance that photons and readout give them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.noise import expected_signal
from nightpipe.maths.strips import by_strips
from nightpipe.model.detector import Noise
from nightpipe.model.exposure import Header
from nightpipe.model.frame import Frame, Image
from nightpipe.steps.detector.fit import keeps_pedestal, name_of


class Electrons(Step):
    """Turn adu into electrons with the measured gain, and set the variance."""

    trusted: float = parameter(400.0, "above this a pixel's own value gives its photon noise", unit="electron", ge=0)
    darkest: float = parameter(2.0, "without overscan and bias the pedestal is this percentile", unit="%", gt=0, lt=50)

    def run(self, frame: Frame, noise: Noise) -> Frame:
        """Return the frame in electrons with its variance: photons, readout, and all that was subtracted.

        The photons' part comes from the neighbours of faint pixels, not from the pixel itself, whose own fluctuation
        would bias every weighted sum; `read_var` keeps the rest, so that later steps form the variance anew from their
        model of the signal (`Frame.variance_of`). A frame whose pedestal nobody could subtract loses that of its
        darkest blocks (caveat ``pedestal.estimated``): photon noise of a pedestal would drown everything.

        Raises
        ------
        BadFrameError
            The frame is not in adu, or `noise` knows other amplifiers.
        """
        if frame.unit != "adu":
            raise BadFrameError(f"{name_of(frame)} in adu", frame.unit, "run Electrons once, before the flat field")
        frame = _without_pedestal(frame, self.darkest)
        gain, read_noise = (_per_pixel(frame, values, noise) for values in (noise.gain, noise.read_noise))
        data, read_var = by_strips(_scaled, frame.data, frame.var, gain, read_noise)
        photons = expected_signal(data, frame.good, trusted=self.trusted)
        (var,) = by_strips(_noise, read_var, photons)
        return frame.but(
            data=data,
            var=var,
            unit="electron",
            read_var=read_var,
            header=frame.header | _cards(noise),
            caveats=noise.caveats,
        )


def _scaled(data: Image, var: Image, gain: Any, read_noise: Any) -> tuple[Image, Image]:
    """Return data [electron] and the variance without photons."""
    return (data * gain).astype(np.float32), (var * gain**2 + read_noise**2).astype(np.float32)


def _noise(read_var: Image, photons: Image) -> tuple[Image]:
    # not 0 where it is negative: the variance of darkness must be right on average
    return ((read_var + np.maximum(photons, -0.5 * read_var)).astype(np.float32),)


def _per_pixel(frame: Frame, values: tuple[float, ...], noise: Noise) -> NDArray[Any] | np.float32:
    """Return each pixel's number: one for all, or by amplifier."""
    amplifiers = 1 if frame.amp is None else len(frame.detector.amplifiers) if frame.detector else len(values)
    if len(values) != amplifiers:
        raise BadFrameError(
            f"gain and read noise of {amplifiers} amplifiers for {name_of(frame)}",
            f"those of {', '.join(noise.amplifiers) or 'none'}",
            "measure the noise on frames of the same readout",
        )
    if frame.amp is None:
        return np.float32(values[0])
    table = np.ones(256, dtype=np.float32)
    table[: len(values)] = values
    return table[frame.amp]


def _without_pedestal(frame: Frame, percentile: float) -> Frame:
    """Return the frame; where neither overscan nor bias took the pedestal away, minus that of its darkest blocks."""
    if not keeps_pedestal(frame):
        return frame
    level = darkest_level(frame.data, percentile)
    text = f"no overscan and no bias: a pedestal of {level:.1f} adu was taken from the darkest part of the frame"
    return frame.but(data=frame.data - np.float32(level), caveats=(Caveat("pedestal.estimated", text),))


def darkest_level(data: NDArray[Any], percentile: float, size: int = 16) -> float:
    """Return the `percentile` of the medians of blocks of `size` pixels a side."""
    ny, nx = (n // size * size for n in data.shape)
    if not (ny and nx):
        return float(np.percentile(data, percentile))
    blocks = data[:ny, :nx].reshape(ny // size, size, nx // size, size).swapaxes(1, 2)
    return float(np.percentile(np.median(blocks.reshape(ny // size, nx // size, -1), axis=2), percentile))


def _cards(noise: Noise) -> Header:
    """Return gain and read noise as header cards ``NPGAINk`` [electron/adu] and ``NPRONk`` [electron]."""
    gains: Header = {f"NPGAIN{k}": round(value, 5) for k, value in enumerate(noise.gain)}
    return gains | {f"NPRON{k}": round(value, 4) for k, value in enumerate(noise.read_noise)}
