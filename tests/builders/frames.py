"""Small frames with known truth: a detector, raw frames with overscan, clean frames in electrons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nightpipe.model.detector import Amplifier, Detector, Noise
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.model.frame import Frame, RawFrame


def exposure(kind: FrameType = FrameType.SCIENCE, exptime: float = 100.0, name: str = "raw0001", **changes) -> Exposure:
    """Return the facts of one exposure."""
    made = Exposure(f"/raw/{name}.fits", "0" * 64, "test", kind, "target", Setup(mode="longslit"), "", 59000.0, exptime)
    return replace(made, **changes)


def detector(nx: int = 96, ny: int = 64, over: int = 16, amps: int = 1, axis: str = "y", **changes) -> Detector:
    """Return a detector with `amps` amplifiers side by side, light on (ny, nx), `over` overscan lines beyond it.

    `axis` ``"y"``: overscan columns at the right, one set for each amplifier; ``"x"``: overscan rows at the top;
    ``""``: none. Nominal gain 1.5 and read noise 5; wavelength runs along x.
    """
    wide = nx // amps
    amplifiers = tuple(
        Amplifier(f"A{k}", (k * wide, (k + 1) * wide, 0, ny), _overscan(k, wide, nx, ny, over, axis), axis, 1.5, 5.0)
        for k in range(amps)
    )
    made = Detector("chip", amplifiers, "x", True, 60000.0, 50000.0, 0.2)
    return replace(made, **changes)


def _overscan(k: int, wide: int, nx: int, ny: int, over: int, axis: str) -> tuple[tuple[int, int, int, int], ...]:
    if axis == "y":
        return ((nx + k * over, nx + (k + 1) * over, 0, ny),)
    return ((k * wide, (k + 1) * wide, ny, ny + over),) if axis == "x" else ()


def raw(
    rng: np.random.Generator,
    electrons=0.0,
    *,
    chip: Detector | None = None,
    pedestal=1000.0,
    gain: float | tuple[float, ...] = 1.5,
    read_noise: float = 5.0,
    digital: bool = True,
    **facts,
) -> RawFrame:
    """Return a raw frame of Poisson `electrons` (scalar or the light-sensitive shape) on `pedestal` [adu].

    `pedestal` is a scalar or has the shape of the whole array; `gain` and `read_noise` are the truth.
    """
    chip = detector() if chip is None else chip
    ny, nx = array_shape(chip)
    light = np.zeros((ny, nx))
    x1, y1 = max(a.data[1] for a in chip.amplifiers), max(a.data[3] for a in chip.amplifiers)
    light[:y1, :x1] = electrons
    noisy = rng.poisson(light) + rng.normal(0, read_noise, (ny, nx))
    adu = noisy / gain_map(chip, gain) + pedestal
    data = np.clip(np.round(adu), 0, 65535) if digital else adu
    return RawFrame(data.astype(np.float32), exposure(**facts), chip)


def array_shape(chip: Detector) -> tuple[int, int]:
    """Return the shape of the array as read."""
    sections = [s for a in chip.amplifiers for s in (a.data, *a.overscan)]
    return max(s[3] for s in sections), max(s[1] for s in sections)


def gain_map(chip: Detector, gain: float | tuple[float, ...]) -> np.ndarray:
    """Return the gain at each pixel of the array as read."""
    gains = gain if isinstance(gain, tuple) else (gain,) * len(chip.amplifiers)
    result = np.ones(array_shape(chip))
    for amplifier, value in zip(chip.amplifiers, gains, strict=True):
        for x0, x1, y0, y1 in (amplifier.data, *amplifier.overscan):
            result[y0:y1, x0:x1] = value
    return result


def noise(chip: Detector, gain: float = 1.5, read_noise: float = 5.0) -> Noise:
    """Return a noise model that is exactly true."""
    names = tuple(a.name for a in chip.amplifiers)
    n = len(names)
    zero = (0.0,) * n
    header = tuple(a.gain for a in chip.amplifiers), tuple(a.read_noise for a in chip.amplifiers)
    return Noise(names, (gain,) * n, (read_noise,) * n, zero, zero, *header, "pairs", "pairs")


def clean(
    rng: np.random.Generator, electrons, *, read_noise: float = 5.0, shape: tuple[int, int] = (64, 96), **facts
) -> Frame:
    """Return a clean frame: Poisson `electrons` plus readout, with its true variance."""
    truth = np.broadcast_to(np.asarray(electrons, dtype=float), shape)
    data = rng.poisson(truth) + rng.normal(0, read_noise, shape)
    var = truth + read_noise**2
    return Frame(
        data.astype(np.float32),
        var.astype(np.float32),
        np.zeros(shape, np.uint32),
        "electron",
        exposure(**facts),
        detector(nx=shape[1], ny=shape[0]),
        read_var=np.full(shape, read_noise**2, np.float32),
    )
