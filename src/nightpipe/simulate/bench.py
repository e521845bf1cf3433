"""What the simulator knows of an instrument beyond its description: optics, detector, lamps, a typical night."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from nightpipe.base.errors import ConfigError
from nightpipe.model.disperser import Disperser
from nightpipe.simulate.atmosphere import Air

FloatArray = NDArray[np.float64]


class Known(BaseModel):
    """What all parts share: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Optics(Known):
    """Camera and slit: lengths in unbinned pixels unless said otherwise.

    `camera_sigma` is the rms blur; a slit `w` arcsec wide covers ``w / scale * anamorphic`` pixels. `tilt`,
    `tilt_change` and `curve` are the displacement of a line per 1000 pixels along the slit, its change from middle to
    end of the spectrum, and per (1000 pixels)^2. `trace` is the run of a star across half the spectrum (linear,
    quadratic). `sag` holds the quadratic and higher terms of wavelength, as fractions of the linear one.
    """

    camera_sigma: float
    anamorphic: float = 1.0
    slit_arcsec: tuple[float, float]
    tilt: float
    tilt_change: float
    curve: float
    trace: tuple[float, float]
    sag: tuple[float, ...]


class Chip(Known):
    """The detector's true behaviour; `gain_factor`, `noise_factor` are truth over what the header says."""

    gain_factor: float
    noise_factor: float
    pedestal: float
    pedestal_step: float = 0.0
    night_rise: tuple[float, float]
    drift: float
    structure: float
    slope: float
    full_well: float
    ceiling: int
    dark: float
    thickness: float
    pixel: float
    prnu: float
    bad_columns: int
    hot_pixels: int
    cosmic_rate: float
    nonlinear: float


class Fringes(Known):
    """Interference in the detector: `amplitude` at 9500 A, layer `thickness` [micron]."""

    amplitude: float
    thickness: float


class Sway(Known):
    """Flexure, rms over the night: `shift` [unbinned pixel], its `gradient` at 40 arcsec off, and `along` the slit."""

    shift: float
    gradient: float
    along: float


class LampKnown(Known):
    """An arc lamp: the names that headers give to what is lit, strengths of elements, level of the brightest line."""

    lit: tuple[str, ...]
    weights: dict[str, float]
    exptime: float
    electrons: float
    continuum: float


class FlatKnown(Known):
    """The flat lamp: `electrons` per pixel at its brightest in one exposure, filament `temperature` [K]."""

    exptime: float
    electrons: float
    temperature: float


class Efficiency(Known):
    """Electrons per photon at the top of the telescope: a table, or a bell of height `peak` over the useful range."""

    wave: tuple[float, ...] = ()
    value: tuple[float, ...] = ()
    peak: float = 0.15


class TypicalNight(Known):
    """A night as it was taken: setup, times (UT), what was observed, how many of each."""

    disperser: str
    slit: float
    arc_slit: float | None = None
    flat_slit: float | None = None
    binning: tuple[int, int]
    date: str
    bias_start: str
    flat_start: str | None = None
    arc_first: str | None = None
    standards: tuple[str, ...]
    lamp: str
    seeing: float
    target_v: float
    science_exptime: float
    bias: int
    flats: int
    dark: int = 0


class Bench(Known):
    """All that the simulator knows of one arm; `area` is the telescope's [cm2], `city` the strength of street lamps."""

    site_air: Air
    city: float
    area: float
    bench: Optics
    detector: Chip
    fringes: Fringes
    flexure: Sway
    lamps: dict[str, LampKnown]
    flat: FlatKnown
    throughput: dict[str, Efficiency]
    night: TypicalNight
    name: str = Field(default="")

    def efficiency(self, disperser: Disperser, wave: FloatArray) -> FloatArray:
        """Return electrons per photon at `wave` for one disperser: telescope, spectrograph and detector."""
        known = self.throughput.get(disperser.name, self.throughput["default"])
        if known.wave:
            return _smooth_table(wave, known)
        low, high = disperser.range
        bell = known.peak * np.exp(-(np.abs((wave - (low + high) / 2) / (0.42 * (high - low))) ** 2.6))
        return np.asarray(bell / (1.0 + np.exp((low - 60.0 - wave) / 40.0)))


def _smooth_table(wave: FloatArray, known: Efficiency) -> FloatArray:
    from scipy.interpolate import PchipInterpolator

    curve = PchipInterpolator(known.wave, known.value, extrapolate=False)
    held = np.where(wave < known.wave[0], known.value[0], known.value[-1])
    return np.asarray(np.where(np.isfinite(curve(wave)), curve(wave), held))


@cache
def known_benches() -> tuple[str, ...]:
    """Return the names that `bench` accepts."""
    folder = files("nightpipe.simulate").joinpath("data")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


@cache
def bench(name: str) -> Bench:
    """Return what is known of an instrument's arm; ConfigError lists those there are."""
    if name not in known_benches():
        raise ConfigError("an instrument that can be simulated", name, f"one of {', '.join(known_benches())}")
    text = files("nightpipe.simulate").joinpath("data", f"{name}.toml").read_text(encoding="utf-8")
    return Bench.model_validate({**tomllib.loads(text), "name": name})
