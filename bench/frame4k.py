"""One raw frame of 4k to a catalogue with places and a zero point: every step, and what each takes."""

from __future__ import annotations

import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

EXPTIME, SKY, ZP, SCALE = 100.0, 400.0, 26.0, 0.24


def run(table_class, *, small):
    size = 1024 if small else 4096
    raw, bias, flat, noise, stars, start, shown = _scene(size)
    table = table_class(f"one raw frame of {size} x {size}, {shown} stars: to places and zero point")
    steps = [(name, function) for name, function in _steps(raw, bias, flat, noise, stars, start).items()]
    state = {}
    for name, function in steps:
        table.time(name, lambda function=function: function(state), repeat=1)
    total = sum(seconds for _, seconds, _ in table.rows)
    zero, plate = state["zero"], state["plate"]
    off = f"zero point {zero.zp:.4f} +- {zero.error:.4f} (true {ZP:.1f}), {plate.matches} stars, rms {plate.rms[0]:.3f}"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    table.rows.append(("together", total, f"{len(state['sources'])} sources; {off} arcsec; peak {memory:.2f} GB"))
    if not small:
        table.judge("CPU s", total, 10.0)
    table.show()


def _steps(raw, bias, flat, noise, stars, start):
    from nightpipe.steps.detector.bias import Bias
    from nightpipe.steps.detector.flat import FlatField
    from nightpipe.steps.detector.gain import Electrons
    from nightpipe.steps.detector.linearity import Linearity
    from nightpipe.steps.detector.overscan import Overscan
    from nightpipe.steps.imaging.background import CosmicsImage, SubtractBackground
    from nightpipe.steps.imaging.detect import Detect
    from nightpipe.steps.imaging.photometry import Photometer
    from nightpipe.steps.imaging.psf import ModelPsf
    from nightpipe.steps.imaging.solve import SolveAstrometry
    from nightpipe.steps.imaging.zeropoint import FitZeroPoint

    def clean(s):
        frame = Bias().run(Linearity().run(Overscan().run(raw)), bias)
        s["frame"] = FlatField().run(Electrons().run(frame, noise), flat)

    def zero(s):
        found = s["sources"]
        s["zero"] = FitZeroPoint(band="r").run(found, s["plate"], stars, replace(raw.exposure, airmass=1.0))

    return {
        "overscan, bias, gain, flat": clean,
        "SubtractBackground": lambda s: s.update(frame=SubtractBackground().run(s["frame"])),
        "CosmicsImage": lambda s: s.update(frame=CosmicsImage().run(s["frame"], 1)),
        "Detect": lambda s: s.update(sources=Detect().run(s["frame"])),
        "ModelPsf": lambda s: s.update(psf=ModelPsf().run(s["frame"], s["sources"])),
        "Photometer": lambda s: s.update(sources=Photometer().run(s["frame"], s["sources"], s["psf"])),
        "SolveAstrometry": lambda s: s.update(
            plate=SolveAstrometry().run(s["sources"], s["frame"].shape, stars, epoch=2016.0, prior=start)
        ),
        "FitZeroPoint": zero,
    }


def _scene(size):
    """Return a raw frame, its calibrations, the reference stars, a header's solution, and how many stars are in it."""
    from builders import frames, starfield
    from builders import imagefield as field
    from nightpipe.model.frame import Frame
    from nightpipe.model.stars import StarCatalogue

    rng = np.random.default_rng(1)
    count = (size // 64) ** 2
    x, y = rng.uniform(5, size - 5, (2, count))
    mag = 14 + 7.5 * rng.uniform(0, 1, count) ** 0.5
    light = np.zeros((size, size))
    starfield.draw(light, x, y, EXPTIME * 10 ** (-0.4 * (mag - ZP)), 4.0, 0.05, fine=3, reach=30)
    response = (1 + rng.normal(0, 0.006, (size, size))).astype(np.float32)
    chip = frames.detector(nx=size, ny=size, over=32)
    raw = frames.raw(rng, (light + SKY) * response, chip=chip, pedestal=1000.0, exptime=EXPTIME)
    zeros = np.zeros((size, size), np.float32)
    mask = np.zeros((size, size), np.uint32)
    bias = Frame(zeros, zeros + np.float32(0.5), mask, "adu", frames.exposure(), chip)
    flat = Frame(response, zeros + np.float32(1e-6), mask, "", frames.exposure(), chip)
    place = field.wcs((size, size), scale=SCALE, turn=12.0, distortion=6.0)
    ra, dec = place.to_sky(x, y)
    none, error = np.zeros(count), np.full(count, 0.01)
    mags = {"g": mag + 0.5 + rng.normal(0, 0.2, count), "r": mag, "i": mag - 0.2 + rng.normal(0, 0.1, count)}
    noisy = {band: values + rng.normal(0, 0.01, count) for band, values in mags.items()}
    stars = StarCatalogue("refcat2", ra, dec, 2016.0, field.CENTRE, 0.5, none, none, error * 2, noisy,
                          dict.fromkeys("gri", error), dict.fromkeys("gri", "PS1"))  # fmt: skip
    # what a header tells: nominal scale and rotation, no distortion, two arcminutes off
    none = np.zeros((0, 0))
    start = replace(place, crval=(field.CENTRE[0] + 0.03, field.CENTRE[1] - 0.02), a=none, b=none)
    return raw, bias, flat, frames.noise(chip), stars, start, count
