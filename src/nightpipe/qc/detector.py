"""Numbers that judge detector calibrations and clean frames."""

from __future__ import annotations

import numpy as np

from nightpipe.maths.robust import clipped_stats
from nightpipe.model.detector import Noise
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame


def bias_metrics(bias: Frame) -> dict[str, float]:
    """Return level, structure and noise of a master bias [adu], and the pedestal that the overscan took away."""
    values = bias.data[bias.good]
    level, scatter, _ = clipped_stats(values)
    noise = float(np.sqrt(np.median(bias.var)))
    found = {
        "bias_level_adu": level,
        "bias_structure_adu": float(np.sqrt(max(scatter**2 - noise**2, 0.0))),
        "bias_error_adu": noise,
        "bias_frames": float(bias.header.get("NCOMBINE", 1)),
    }
    pedestals = [float(value) for key, value in bias.header.items() if key.startswith("NPPED")]
    if pedestals:
        found["pedestal_adu"] = float(np.mean(pedestals))
    if "NPNOISE" in bias.header:
        found["noise_adu"] = float(bias.header["NPNOISE"])
    return found


def flat_metrics(flat: Frame) -> dict[str, float]:
    """Return how far a flat reaches, how well it is measured, and how much pixels and slit differ."""
    covered = ((flat.mask & np.uint32(Flag.NO_FLAT | Flag.OUTSIDE_SLIT)) == 0) & flat.good
    inside = (flat.mask & np.uint32(Flag.OUTSIDE_SLIT)) == 0
    if not covered.any():
        return {"flat_coverage": 0.0}
    _, scatter, _ = clipped_stats(flat.data[covered])
    return {
        "flat_coverage": float(covered.sum() / max(int(inside.sum()), 1)),
        "flat_error": float(np.sqrt(np.median(flat.var[covered]))),
        "flat_scatter": scatter,
        "flat_bad_pixels": float(((flat.mask & np.uint32(Flag.BAD)) != 0).sum()),
    }


def noise_metrics(noise: Noise) -> dict[str, float]:
    """Return measured gain and read noise of each amplifier, and each over what the header says."""
    found: dict[str, float] = {}
    for k, name in enumerate(noise.amplifiers):
        found[f"gain_{name}"] = noise.gain[k]
        found[f"read_noise_{name}"] = noise.read_noise[k]
        found[f"gain_over_header_{name}"] = noise.gain[k] / noise.header_gain[k]
        found[f"read_noise_over_header_{name}"] = noise.read_noise[k] / noise.header_read_noise[k]
    return found


def frame_metrics(frame: Frame) -> dict[str, float]:
    """Return what share of a clean frame's pixels each kind of flag took, and its median signal and error."""
    size = frame.data.size
    counted = {
        "cosmic_pixels": Flag.COSMIC,
        "saturated_pixels": Flag.SATURATED,
        "nonlinear_pixels": Flag.NONLINEAR,
        "bad_pixels": Flag.BAD,
    }
    found = {name: float(((frame.mask & np.uint32(flag)) != 0).sum()) for name, flag in counted.items()}
    good = frame.good
    if good.any():
        found["signal_median"] = float(np.median(frame.data[good]))
        found["error_median"] = float(np.sqrt(np.median(frame.var[good])))
    return found | {"usable_fraction": float(good.sum() / size)}


def pair_chi(one: Frame, two: Frame, ratio: float = 1.0) -> float:
    """Return the scatter of ``one - ratio * two`` over its error: 1 where the noise model holds.

    `ratio` is that of their light. What both share (a master bias, say) cancels in the difference but not in the error:
    for frames that share much the number is too low.
    """
    both = one.good & two.good
    var = one.var + ratio**2 * two.var
    return clipped_stats(((one.data - ratio * two.data) / np.sqrt(var))[both], clip=5.0)[1]
