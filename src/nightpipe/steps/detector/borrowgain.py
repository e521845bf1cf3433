"""The gain of one read speed from another's: exposures of the sky are read slowly, lamps fast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.model.detector import Noise


class BorrowGain(Step):
    """Where no pairs of flats were read at this speed, bring the gain measured at another one by the headers' ratio.

    One output and one chain of amplifiers serve all speeds of a detector: what a header is wrong by at one speed it is
    wrong by at the next.
    """

    common: float = parameter(
        0.02, "how well two speeds' gains keep the ratio of their headers, relative", gt=0, lt=0.5
    )

    def run(self, noise: Noise, other: Noise) -> Noise:
        """Return `noise` with the gain of `other`, where that was measured and its own was not.

        The read noise, measured in adu, follows. The caveat ``gain.other_speed`` takes the place of those that tell
        of the header's gain.
        """
        if noise.gain_source != "header" or other.gain_source != "pairs" or noise.amplifiers != other.amplifiers:
            return noise
        header, known = np.array(noise.header_gain), np.array(other.gain)
        gain = known * header / np.array(other.header_gain)
        error = gain * np.hypot(np.array(other.gain_error) / known, self.common)
        scale = gain / np.array(noise.gain) if noise.read_noise_source != "header" else np.ones_like(gain)
        listed = ", ".join(f"{one:.4g} +- {off:.2g}" for one, off in zip(gain, error, strict=True))
        headers = ", ".join(f"{one:g}" for one in header)
        text = (
            f"no flats were read at this speed: {listed} electron/adu from those of another; the header has {headers}"
        )
        kept = tuple(one for one in noise.caveats if one.code != "gain.header")
        return replace(
            noise,
            gain=_plain(gain),
            gain_error=_plain(error),
            read_noise=_plain(noise.read_noise * scale),
            read_noise_error=_plain(np.hypot(noise.read_noise_error * scale, noise.read_noise * scale * error / gain)),
            gain_source="other speed",
            caveats=(*kept, Caveat("gain.other_speed", text)),
        )


def _plain(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
