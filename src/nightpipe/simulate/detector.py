"""From expected electrons to the numbers in a raw frame: photon noise, cosmic rays, wells, amplifiers, pedestal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.model.detector import Amplifier, Detector, Section
from nightpipe.simulate.bench import Bench, Chip
from nightpipe.simulate.cosmics import expected_count, tracks

FloatArray = NDArray[np.float64]

_LEAK = 35000.0  # adu in the sections that the description calls bad: glowing or saturated in every frame


@dataclass(frozen=True)
class Silicon:
    """The true detector of one night, in the canonical orientation (ny, nx) unless said otherwise.

    `response` multiplies light (pixel response, weak columns), `dark` is electrons per second, `structure` [adu] the
    fixed pattern of the bias. `gain` [electron/adu], `noise` [electron] and `offset` [adu] belong to the amplifiers of
    `detector`. `raw_shape` is that of the array as read.
    """

    known: Chip
    detector: Detector
    raw_shape: tuple[int, int]
    response: NDArray[np.float32]
    dark: NDArray[np.float32]
    structure: NDArray[np.float32]
    bad: NDArray[np.bool_]
    gain: tuple[float, ...]
    noise: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Return (ny, nx) of the trimmed and oriented array."""
        ny, nx = self.response.shape
        return ny, nx

    @property
    def pixel(self) -> tuple[float, float]:
        """Return the size (x, y) [micron] of a pixel as read, in the canonical orientation."""
        x, y = (self.known.pixel * binning for binning in self.detector.binning)
        return (y, x) if self.detector.dispersion == "y" else (x, y)


def light_section(detector: Detector) -> Section:
    """Return the rectangle of the array as read that all amplifiers' data sections cover together."""
    sections = np.array([amp.data for amp in detector.amplifiers])
    x0, x1, y0, y1 = (
        int(value) for value in (sections[:, 0].min(), sections[:, 1].max(), sections[:, 2].min(), sections[:, 3].max())
    )
    return x0, x1, y0, y1


def canonical_shape(detector: Detector) -> tuple[int, int]:
    """Return (ny, nx) of the trimmed and oriented array."""
    x0, x1, y0, y1 = light_section(detector)
    return (x1 - x0, y1 - y0) if detector.dispersion == "y" else (y1 - y0, x1 - x0)


def silicon(known: Bench, detector: Detector, raw_shape: tuple[int, int], rng: np.random.Generator) -> Silicon:
    """Return the true detector: its gain and noise are not those of the header."""
    chip, shape = known.detector, canonical_shape(detector)
    binned = detector.binning[0] * detector.binning[1]
    response = 1.0 + rng.normal(0.0, chip.prnu / np.sqrt(binned), shape)
    weak = rng.integers(0, shape[1], chip.bad_columns), rng.integers(0, shape[0], chip.bad_columns)
    for column, begin in zip(*weak, strict=True):  # a trap holds back light from where it sits to the far end
        response[begin:, column] *= 0.35
    dark = np.full(shape, chip.dark / 3600.0 * binned)
    hot = rng.integers(0, shape[0], chip.hot_pixels), rng.integers(0, shape[1], chip.hot_pixels)
    dark[hot] += rng.lognormal(1.0, 1.5, chip.hot_pixels)
    amps = detector.amplifiers
    return Silicon(
        known=chip,
        detector=detector,
        raw_shape=raw_shape,
        response=response.astype(np.float32),
        dark=dark.astype(np.float32),
        structure=_structure(chip, shape, rng),
        bad=(response < 0.6) | (dark > 0.1),
        gain=tuple(amp.gain * chip.gain_factor * (1.0 + 0.01 * rng.normal()) for amp in amps),
        noise=tuple(amp.read_noise * chip.noise_factor * (1.0 + 0.01 * rng.normal()) for amp in amps),
        offset=tuple(chip.pedestal + k * chip.pedestal_step for k in range(len(amps))),
    )


def _structure(chip: Chip, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the fixed pattern of the bias [adu]: a rise at one edge of the slit's axis and stripes along x."""
    y = np.arange(shape[0])[:, None]
    stripes = rng.normal(0.0, 0.25, (shape[0], 1))
    pattern = np.exp(-y / 12.0) - 0.15 + stripes + 0.2 * np.cos(np.arange(shape[1]) / shape[1] * 3.0)
    return (chip.structure * pattern).astype(np.float32)


def expose(
    silicon: Silicon,
    expected: FloatArray | None,
    exptime: float,
    rise: float,
    rng: np.random.Generator,
    *,
    cosmics: bool = True,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the raw array [adu] as read, and the charge of cosmic rays [electron] (canonical orientation).

    `expected` (ny, nx) are electrons of light on perfect pixels, None with the shutter closed; `rise` [adu] is by how
    much the pedestal stands above that of the afternoon.
    """
    mean = silicon.dark * exptime
    if expected is not None:
        mean = mean + np.maximum(expected, 0.0) * silicon.response
    cosmic = _cosmics(silicon, exptime, rng) if cosmics else np.zeros(silicon.shape, dtype=np.float32)
    electrons = rng.poisson(mean).astype(np.float64) + cosmic
    return _read(silicon, _wells(silicon.known, electrons), rise, rng), cosmic


def _cosmics(silicon: Silicon, exptime: float, rng: np.random.Generator) -> NDArray[np.float32]:
    chip = silicon.known
    mean = expected_count(chip.cosmic_rate, silicon.shape, silicon.pixel, exptime)
    return tracks(silicon.shape, silicon.pixel, chip.thickness, int(rng.poisson(mean)), rng)


def _wells(chip: Chip, electrons: FloatArray) -> FloatArray:
    """Return the charge that is read: a part is lost near the full well, and all of it above."""
    filled = electrons / chip.full_well
    return np.asarray(np.minimum(electrons * (1.0 - chip.nonlinear * np.minimum(filled, 1.0) ** 4), chip.full_well))


def _read(silicon: Silicon, electrons: FloatArray, rise: float, rng: np.random.Generator) -> NDArray[np.int64]:
    detector = silicon.detector
    x0, x1, y0, y1 = light_section(detector)
    charge, pattern = np.zeros(silicon.raw_shape), np.zeros(silicon.raw_shape)
    charge[y0:y1, x0:x1] = as_read(electrons, detector)
    pattern[y0:y1, x0:x1] = as_read(silicon.structure, detector)
    raw = pattern + rise + rng.normal(0.0, 0.3)
    owners = _owners(detector, silicon.raw_shape)
    values = zip(detector.amplifiers, silicon.gain, silicon.noise, silicon.offset, strict=True)
    for number, (amp, gain, noise, offset) in enumerate(values):
        mine = owners == number
        run = _run(silicon.known, amp, silicon.raw_shape, rng)
        raw[mine] += (charge / gain + run + offset)[mine]
        raw[mine] += rng.normal(0.0, noise / gain, int(mine.sum()))
    for u0, u1, v0, v1 in detector.bad:
        raw[v0:v1, u0:u1] += _LEAK * np.exp(-0.5 * np.linspace(-1.5, 1.5, u1 - u0) ** 4)
    return np.clip(np.round(raw), 0, silicon.known.ceiling).astype(np.int64)


def as_read(canonical: NDArray[np.floating], detector: Detector) -> NDArray[np.floating]:
    """Return a canonical array as the detector reads it: the inverse of `Detector.oriented`."""
    array = canonical if detector.increasing else canonical[:, ::-1]
    return array.T if detector.dispersion == "y" else array


def _owners(detector: Detector, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return which amplifier delivers each pixel of the array as read; what no section names is the first one's."""
    owners = np.zeros(shape, dtype=np.uint8)
    for number, amp in enumerate(detector.amplifiers):
        for x0, x1, y0, y1 in (amp.data, *amp.overscan):
            owners[y0:y1, x0:x1] = number
    return owners


def _run(chip: Chip, amp: Amplifier, shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return how the pedestal runs along the axis that the overscan follows [adu]: settling, and a slow wave."""
    size = shape[1] if amp.overscan_axis == "x" else shape[0]
    place = np.arange(size) / size
    wave = np.exp(-place / 0.15) + 0.3 * np.sin(2.0 * np.pi * (place + rng.uniform()))
    run = chip.slope * wave * rng.uniform(0.7, 1.3)
    return np.asarray(run[None, :] if amp.overscan_axis == "x" else run[:, None])
