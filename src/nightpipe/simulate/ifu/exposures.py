"""The light of each exposure on the detector: sky and sources through the lenslets, lamps, dome; and what is read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.simulate.atmosphere import Air, bands, extinction
from nightpipe.simulate.cosmics import expected_count, tracks
from nightpipe.simulate.ifu.instrument import AREA, MIRROR, SIZE, Epoch, efficiency
from nightpipe.simulate.ifu.lattice import Lattice
from nightpipe.simulate.ifu.paint import WAVE, painted, scattered
from nightpipe.simulate.ifu.schedule import Fault, IfuOptions, Shot
from nightpipe.simulate.ifu.sources import Seeing, Source, shares
from nightpipe.simulate.imaging.chip import poisson
from nightpipe.simulate.rig import PHOTON, stream
from nightpipe.simulate.sky import Glow, halogen, lamp, night_sky
from nightpipe.simulate.sources import Light, galaxy, standard_light, star, supernova

FloatArray = NDArray[np.float64]
F32 = NDArray[np.float32]

AIR = Air(625.0, 12.0, 6.0, 300.0, 0.07, 1.2, 1.0)
_CITY = 0.8  # Palomar's sky has the lamps of San Diego in it
_LAMPS = {"Hg": 4.0e4, "Cd": 4.5e4, "Xe": 2.5e4}  # electrons in a lenslet's brightest line
_DOME = 1100.0  # electrons per A at 6500 A
_SCATTER = 0.035


@dataclass(frozen=True)
class Shone:
    """One source in one exposure: its `light` at the top of the air, `electrons` per A (len(WAVE),) that the field
    catches of it, and the `share` in each lenslet (n, len(WAVE)).
    """

    source: Source
    light: Light
    electrons: FloatArray
    share: FloatArray


@dataclass(frozen=True)
class Lit:
    """The expected electrons (2048, 2048) of an exposure, its lenslets as flexure put them, sky [e-/A] and lines."""

    image: F32
    lenslets: Lattice
    sources: tuple[Shone, ...] = ()
    sky: FloatArray | None = None
    lines: FloatArray | None = None
    strengths: FloatArray | None = None


def lit(shot: Shot, lenslets: Lattice, options: IfuOptions, seed: int) -> Lit | None:
    """Return the light of an exposure; None with the shutter closed."""
    moved = lenslets.flexed(*shot.flexure)
    if shot.kind in ("dome", "lamp") and Fault.MISSING in options.faults:
        moved = shaded(moved)
    if shot.kind == "bias":
        return None
    if shot.kind in ("dome", "lamp"):
        glow, level = _calibration(shot, options, seed)
        return _painted(moved, np.zeros((len(moved), WAVE.size)), glow, level, ())
    return _sky(shot, moved, options, seed)


def shaded(lenslets: Lattice) -> Lattice:
    """Return the lattice with a dozen lenslets that the lamps do not reach, as behind a hair: alive on the sky."""
    hidden = np.hypot(lenslets.x - 640.0, lenslets.y - 1280.0) < 95.0
    return replace(lenslets, response=np.where(hidden, 0.01 * lenslets.response, lenslets.response))


def _sky(shot: Shot, lenslets: Lattice, options: IfuOptions, seed: int) -> Lit:
    glow = night_sky(stream(seed, f"sky {shot.number}"), city=_CITY, moon=options.moon, airmass=shot.middle_airmass)
    shone = tuple(_shone(shot, lenslets, *item) for item in scene(shot, options, seed))
    density = np.zeros((len(lenslets), WAVE.size))
    for item in shone:
        density += item.share * item.electrons
    return _painted(lenslets, density, glow, AREA * MIRROR * shot.exptime, shone)


def _painted(lenslets: Lattice, density: FloatArray, glow: Glow, level: float, shone: tuple[Shone, ...]) -> Lit:
    """Return what an evenly lit field and the sources' `density` (n, len(WAVE)) [e-/A] give on the detector."""
    even = level * efficiency(WAVE) * glow.continuum(WAVE)
    strengths = level * efficiency(glow.wave) * glow.flux
    seen = (glow.wave > WAVE[0]) & (glow.wave < WAVE[-1]) & (strengths > 0)
    lines, strengths = glow.wave[seen], strengths[seen]
    image = painted(lenslets, _respond(lenslets, WAVE) * (density + even), lines, _respond(lenslets, lines) * strengths)
    return Lit(scattered(image, _SCATTER), lenslets, shone, even, lines, strengths)


def _respond(lenslets: Lattice, wave: FloatArray) -> FloatArray:
    """Return each lenslet's response (n, len(wave)): grey, and a slope that differs."""
    tilt = lenslets.slope[:, None] * (wave - 6500.0) / 1000.0
    return np.asarray(lenslets.response[:, None] * np.maximum(1.0 + tilt, 0.1))


def _calibration(shot: Shot, options: IfuOptions, seed: int) -> tuple[Glow, float]:
    """Return dome or lamp and the level that it needs; the light is even, but for its flicker."""
    flicker = stream(seed, f"flicker {shot.number}").normal(1.0, 0.01)
    if shot.kind == "dome":
        bright = 60.0 if Fault.SATURATED_DOME in options.faults else 1.0
        return halogen(3100.0), _DOME * flicker * bright / float(efficiency(np.array([6500.0]))[0])
    kind = "Hg" if Fault.WRONG_LAMP in options.faults and shot.lamp == "Cd" else shot.lamp
    glow = lamp((kind,), {kind: 1.0}, stream(seed, f"lamp {kind}"), continuum=2e-5)
    peak = float((efficiency(glow.wave) * glow.flux).max())
    return glow, _LAMPS[shot.lamp] * flicker / peak


def scene(shot: Shot, options: IfuOptions, seed: int) -> tuple[tuple[Source, Light], ...]:
    """Return what stands in the field, and its light at the top of the air."""
    east, north = shot.offset
    if shot.standard is not None:
        return ((Source(shot.standard.name, east, north), standard_light(shot.standard)),)
    if shot.kind == "focus":
        return ((Source(shot.name, east, north), star(9000.0, 10.0)),)
    rng = stream(seed, f"scene {shot.name}")
    found: list[tuple[Source, Light]] = []
    if options.target != "blank":
        light = supernova(options.redshift, options.magnitude)
        if options.target == "star":
            light = star(5800.0, options.magnitude)
        found.append((Source(shot.name, east, north), light))
    trail = options.rate * shot.exptime / 3600.0
    east -= shot.moved  # what stands still is left behind by a telescope that follows the target
    turn = rng.uniform(0.0, 2.0 * np.pi)
    if options.host:
        place = (east + options.host_offset * np.cos(turn), north + options.host_offset * np.sin(turn))
        home = Source(
            "host",
            *place,
            options.host_radius,
            rng.uniform(0.9, 2.5),
            rng.uniform(0.4, 0.95),
            rng.uniform(0, np.pi),
            trail,
        )
        found.append((home, galaxy(options.redshift, options.host)))
    if options.neighbour:
        place = (east + 6.0 * np.cos(turn + 2.0), north + 6.0 * np.sin(turn + 2.0))
        found.append((Source("neighbour", *place, trail=trail), star(4600.0, options.neighbour)))
    return tuple(found)


def _shone(shot: Shot, lenslets: Lattice, source: Source, light: Light) -> Shone:
    airmass, above = shot.middle_airmass, shot.weather.air
    seeing = Seeing(shot.seeing * airmass**0.6, shot.jitter, airmass, shot.middle_parallactic, above)
    air = 10.0 ** (-0.4 * airmass * extinction(WAVE, above)) * _through_bands(airmass, above)
    photons = light(WAVE) * WAVE / PHOTON * MIRROR * shot.exptime * shot.clear
    return Shone(source, light, photons * air * efficiency(WAVE), shares(lenslets, source, seeing))


def _through_bands(airmass: float, above: Air) -> FloatArray:
    """Return the mean transmission of the bands in the bins of the grid, which are broader than the lines."""
    fine = WAVE[:, None] + (np.arange(16) - 7.5) / 16.0 * (WAVE[1] - WAVE[0])
    return np.asarray(bands(fine.ravel(), airmass, above).reshape(fine.shape).mean(axis=1))


@dataclass(frozen=True)
class Ccd:
    """The detector of the night: `pixels` (2048, 2048) response, `pattern` [adu] of the bias, `bad` columns in both."""

    epoch: Epoch
    pixels: F32
    pattern: F32
    bad: NDArray[np.bool_]


def ccd(epoch: Epoch, rng: np.random.Generator) -> Ccd:
    """Return a detector."""
    pixels = rng.normal(1.0, 0.008, (SIZE, SIZE)).astype(np.float32)
    for _ in range(3):
        column, row = rng.integers(60, SIZE - 60), rng.integers(0, SIZE // 2)
        pixels[row:, column] *= rng.uniform(0.0, 0.5)
    pixels[rng.uniform(size=pixels.shape) < 3e-5] *= 0.3
    bad = pixels < 0.7
    if epoch.first == 0:
        pixels[:, -3:] = 0.0  # PIXIS: the columns that serve as overscan
    rows = rng.normal(0.0, 0.4, (SIZE, 1)) + 2.0 * np.exp(-np.arange(SIZE)[:, None] / 60.0)
    return Ccd(epoch, pixels, (rows + 0.5 * np.cos(np.arange(SIZE) / 300.0)).astype(np.float32), bad)


def read(
    silicon: Ccd, shot: Shot, image: F32 | None, rng: np.random.Generator, *, cosmics: bool
) -> tuple[NDArray[np.uint16], F32]:
    """Return the array as read [adu] and the charge of cosmic rays [e-] (2048, 2048)."""
    epoch = silicon.epoch
    mean = np.full((SIZE, SIZE), 2e-4 * shot.exptime, np.float32)
    if image is not None:
        mean += image * silicon.pixels
    cosmic = np.zeros((SIZE, SIZE), np.float32)
    if cosmics:
        count = int(rng.poisson(expected_count(1.7, (SIZE, SIZE), (13.5, 13.5), shot.exptime)))
        cosmic = tracks((SIZE, SIZE), (13.5, 13.5), 16.0, count, rng)
    charge = np.minimum(poisson(mean, rng) + cosmic, 1.1e5)
    noise = epoch.noise[shot.speed] / epoch.gain
    raw = rng.standard_normal((SIZE, epoch.columns), dtype=np.float32) * np.float32(noise)
    raw += epoch.pedestal + shot.rise
    raw[:, epoch.first : epoch.first + SIZE] += charge / np.float32(epoch.gain) + silicon.pattern
    return np.clip(np.rint(raw), 0, 65535).astype(np.uint16), cosmic
