"""Lenslet spectra without files: the simulator's true lattice as the reduction's models, its exposures as frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nightpipe.model.detector import Amplifier, Detector
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.model.frame import Frame
from nightpipe.model.spaxels import Spaxel, SpaxelSet, SpaxelWaves
from nightpipe.simulate.ifu.exposures import Lit, _respond, lit
from nightpipe.simulate.ifu.instrument import SIZE, along
from nightpipe.simulate.ifu.lattice import Lattice, lattice
from nightpipe.simulate.ifu.paint import WAVE, along_columns
from nightpipe.simulate.ifu.schedule import IfuOptions, Shot
from nightpipe.simulate.rig import stream

F64 = NDArray[np.float64]
LAST = SIZE - 1
DIRECT = 0.965
"""The share of the light that is not scattered."""
OFFSET = np.linspace(-8.0, 8.0, 1601)
SCALE = 100.0


@cache
def lenslets(seed: int = 1) -> Lattice:
    """Return the lenslets of the night that `nightpipe simulate sedm --seed` makes."""
    return lattice(stream(seed, "lattice"))


def geometry(true: Lattice) -> SpaxelSet:
    """Return the true spectra on the oriented frame, whose columns run from blue to red."""
    ends = np.array([true.column(k, np.array([3560.0, 10200.0])) for k in range(len(true))])
    return SpaxelSet(
        q=true.q, r=true.r, east=true.east, north=true.north, x=LAST - true.x, span=LAST - ends + [-4.0, 4.0],
        centre=np.stack([true.y, -true.tilt, true.bend], axis=1), sigma=true.width[:, None],
        offset=OFFSET, below=0.95 * ndtr(OFFSET) + 0.05 * ndtr(OFFSET / 2.6),
        state=np.where(true.dead, int(Spaxel.DEAD), int(Spaxel.MEASURED)),
        brightness=true.response / np.median(true.response), shape=(SIZE, SIZE),
    )  # fmt: skip


def wavelengths(true: Lattice) -> SpaxelWaves:
    """Return the true wavelengths; line widths with the pixel."""
    n, wave, none = len(true), np.arange(3300.0, 10650.0, 10.0), np.zeros(0)
    coef = np.stack([LAST - true.x, SCALE * (1.0 + true.stretch), -(SCALE**2) * true.skew], axis=1)
    return SpaxelWaves(
        law_wave=wave, law_pixel=-along(wave), scale=SCALE, coef=coef,
        fwhm_px=2.3548 * np.sqrt(true.line**2 + 1.0 / 12.0)[:, None], range=(4047.7, 9165.2), rms=np.zeros(n),
        used=np.full(n, 14), smooth=np.zeros(n, dtype=bool), line_wave=none, residual=np.zeros((n, 0)),
        lamps=("Cd", "Hg", "Xe"), source="truth",
    )  # fmt: skip


def shot(kind: str = "science", exptime: float = 900.0, **changes) -> Shot:
    """Return an exposure near the zenith."""
    base = Shot(
        1, kind, "ZTF26sima", datetime(2022, 3, 1, 6, tzinfo=UTC), exptime, 0.1, 150.0, 30.0, 1.1, 1.1, 65.0, 150.0,
        10.0, 12.0,
    )  # fmt: skip
    return replace(base, **changes)


def light(exposure: Shot, seed: int = 1, *, lattice_seed: int = 1, **options) -> Lit:
    """Return what shines in an exposure; options are those of the simulator."""
    found = lit(exposure, lenslets(lattice_seed), IfuOptions(**options), seed)
    assert found is not None
    return found


def counts(shining: Lit, first: NDArray[np.int64], m: int) -> F64:
    """Return the true electrons (n, m) of each lenslet's spectrum in the columns `first` ... `first` + m - 1."""
    true = shining.lenslets
    density = np.broadcast_to(shining.sky, (len(true), WAVE.size)).copy()
    for item in shining.sources:
        density += item.share * item.electrons
    density *= _respond(true, WAVE)
    strength = _respond(true, shining.lines) * shining.strengths
    out = np.zeros((len(true), m))
    for k in range(len(true)):
        start, values = along_columns(true, k, density[k], shining.lines, strength[k])
        columns = LAST - (start + np.arange(values.size)) - first[k]
        inside = (columns >= 0) & (columns < m)
        out[k, columns[inside]] = DIRECT * values[inside]
    return out


def frame(shining: Lit, seed: int = 1, *, noise: float = 4.6, grain: float = 0.0) -> Frame:
    """Return the clean, oriented frame of an exposure: photons, read noise, and pixels of uneven response."""
    rng = np.random.default_rng(seed)
    mean = shining.image[:, ::-1] * rng.normal(1.0, grain, shining.image.shape) if grain else shining.image[:, ::-1]
    data = (rng.poisson(mean) + rng.normal(0.0, noise, mean.shape)).astype(np.float32)
    var = (np.maximum(data, 0.0) + noise**2).astype(np.float32)
    read_var = np.full(data.shape, noise**2, dtype=np.float32)
    return Frame(data, var, np.zeros(data.shape, np.uint32), "electron", exposed(), detector(noise), read_var=read_var)


def detector(noise: float) -> Detector:
    amplifier = Amplifier("A", (0, SIZE, 0, SIZE), (), "y", 1.83, noise)
    return Detector("PIXIS", (amplifier,), "x", False, 5e4, 4.5e4, 0.635)


def exposed(kind: FrameType = FrameType.SCIENCE) -> Exposure:
    return Exposure(
        "raw/ifu20220301_06_00_00.fits", "0" * 64, "sedm", kind, "ZTF26sima", Setup(mode="05313416", arm="ifu"),
        "2022-03-01T06:00:00", 59639.25, 900.0, 1.1,
    )  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A noisy exposure with what is true of it."""

    frame: Frame
    spaxels: SpaxelSet
    waves: SpaxelWaves
    light: Lit
    x0: int = 0


def made(seed: int = 1, *, exposure: Shot | None = None, grain: float = 0.0, **options) -> Made:
    """Return an exposure, and geometry and wavelengths as flexure put them."""
    shining = light(exposure or shot(), seed, **options)
    true = shining.lenslets
    return Made(frame(shining, seed, grain=grain), geometry(true), wavelengths(true), shining)


def window(one: Made, x: tuple[int, int], y: tuple[int, int]) -> Made:
    """Return the part of an exposure in columns and rows of the oriented frame: quick to reduce."""
    cut, whole = np.s_[y[0] : y[1], x[0] : x[1]], one.frame
    part = whole.but(data=whole.data[cut], var=whole.var[cut], mask=whole.mask[cut], read_var=whole.read_var[cut])
    k = np.arange(len(one.spaxels))
    held = (one.spaxels.span[:, 1] > x[0]) & (one.spaxels.span[:, 0] < x[1])
    row = one.spaxels.row(k, np.clip(one.spaxels.x, *x))
    k = k[held & (row > y[0] - 12) & (row < y[1] + 12)]
    old, arrays = one.spaxels, ("q", "r", "east", "north", "sigma", "state", "brightness")
    spaxels = replace(
        old, x=old.x[k] - x[0], span=old.span[k] - x[0], centre=old.centre[k] - [y[0], 0.0, 0.0],
        shape=part.shape, **{name: getattr(old, name)[k] for name in arrays},
    )  # fmt: skip
    names = ("fwhm_px", "rms", "used", "smooth", "residual")
    waves = replace(
        one.waves, coef=one.waves.coef[k] - [x[0], 0.0, 0.0], **{name: getattr(one.waves, name)[k] for name in names}
    )
    lattice_part = replace(one.light.lenslets, **{name: value[k] for name, value in vars(one.light.lenslets).items()})
    sources = tuple(replace(item, share=item.share[k]) for item in one.light.sources)
    return Made(part, spaxels, waves, replace(one.light, lenslets=lattice_part, sources=sources), x[0])


def truth(one: Made, first: NDArray[np.int64], m: int) -> F64:
    """Return the true electrons of the spectra that begin at column `first` of the exposure's frame."""
    return counts(one.light, first + one.x0, m)
