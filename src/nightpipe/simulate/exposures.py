"""The light of each kind of exposure: lamps, sky and objects as expected electrons on perfect pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nightpipe.model.exposure import FrameType
from nightpipe.simulate.density import Density
from nightpipe.simulate.geometry import Geometry
from nightpipe.simulate.optics import Seen, filled, glow_density
from nightpipe.simulate.rig import Rig, stream
from nightpipe.simulate.schedule import Fault, NightOptions, Shot
from nightpipe.simulate.sky import Glow, halogen, lamp, night_sky
from nightpipe.simulate.sources import Target, galaxy, quasar, standard_light, star, supernova
from nightpipe.simulate.turbulence import SlitImage

FloatArray = NDArray[np.float64]

_SATURATION = 60.0  # how much brighter a saturated arc is than a good one


@dataclass(frozen=True)
class LineTruth:
    """The lines of an exposure: `wave` vacuum [A], `electrons` per row, `species`, `listed` in the reduction's list."""

    wave: FloatArray
    electrons: FloatArray
    species: tuple[str, ...]
    listed: NDArray[np.bool_]


@dataclass(frozen=True)
class ObjectTruth:
    """An object of an exposure: how it is seen, and what the slit passed."""

    target: Target
    seen: Seen
    image: SlitImage


@dataclass(frozen=True)
class Light:
    """Expected electrons of one exposure on perfect pixels (ny, nx): `even` fills the slit, `objects` lie in it.

    `expected` is their sum times slit illumination and fringes: what falls on the real pixels.
    """

    geometry: Geometry
    even: FloatArray
    objects: tuple[ObjectTruth, ...]
    expected: FloatArray
    lines: LineTruth | None = None
    notes: dict[str, float] = field(default_factory=dict)


def light_of(rig: Rig, shot: Shot, options: NightOptions) -> Light | None:
    """Return the light of an exposure, None with the shutter closed."""
    geometry = rig.geometry.bent(rig.bend(shot))
    if shot.type in (FrameType.BIAS, FrameType.DARK):
        return None
    if shot.type is FrameType.FLAT:
        return _lit(rig, geometry, *_halogen(rig, geometry, shot))
    if shot.type is FrameType.ARC:
        return _lit(rig, geometry, *_arc(rig, geometry, shot, options))
    even, lines = _sky(rig, geometry, shot, options)
    objects = tuple(
        ObjectTruth(target, *rig.object_seen(geometry, shot, target)) for target in targets(rig, shot, options)
    )
    return _lit(rig, geometry, even, lines, objects)


def targets(rig: Rig, shot: Shot, options: NightOptions) -> tuple[Target, ...]:
    """Return what stands in the slit: the standard, or the target and its neighbour."""
    if shot.standard is not None:
        return (Target(shot.standard.name, standard_light(shot.standard)),)
    magnitude = options.magnitude or rig.known.night.target_v
    found: list[Target] = []
    if options.target == "quasar":
        found.append(Target(shot.name, quasar(options.redshift or 1.9, magnitude)))
    elif options.target == "supernova":
        found.append(Target(shot.name, supernova(options.redshift or 0.03, magnitude)))
    elif options.target == "galaxy":
        found.append(Target(shot.name, galaxy(options.redshift or 0.08, magnitude - 1.5), scale_length=2.5))
    if options.neighbour:
        found.append(Target("neighbour", star(5200.0, magnitude + 1.5), offset=7.5))
    return tuple(found)


def _lit(
    rig: Rig, geometry: Geometry, even: FloatArray, lines: LineTruth | None, objects: tuple[ObjectTruth, ...] = ()
) -> Light:
    total = even + sum((item.seen.image for item in objects), np.zeros(geometry.shape))
    expected = total * rig.illumination(geometry) * rig.fringes(geometry)
    return Light(geometry, even, objects, expected, lines)


def _halogen(rig: Rig, geometry: Geometry, shot: Shot) -> tuple[FloatArray, None]:
    """Return the flat lamp, which lights the slit a little unevenly."""
    known = rig.known.flat
    light = glow_density(geometry, halogen(known.temperature), rig.efficiency, shot.slit)
    flicker = stream(rig.seed, f"flat {shot.number}").normal(1.0, 0.003)
    slant = stream(rig.seed, "flat lamp").uniform(-0.006, 0.006)
    row = np.linspace(-1.0, 1.0, geometry.shape[0])[:, None]
    level = known.electrons / _peak(geometry, light) * flicker
    return filled(geometry, light) * level * (1.0 + slant * row), None


def _arc(rig: Rig, geometry: Geometry, shot: Shot, options: NightOptions) -> tuple[FloatArray, LineTruth]:
    """Return the arc lamp; its brightest line is well exposed unless a fault says otherwise."""
    known = rig.known.lamps[shot.lamp]
    glow = lamp(known.lit, known.weights, stream(rig.seed, "lamp"), continuum=known.continuum)
    level = known.electrons / _peak(geometry, glow_density(geometry, glow, rig.efficiency, shot.slit))
    if Fault.SATURATED_ARC in options.faults:
        level *= _SATURATION
    if Fault.DEAD_LAMP in options.faults:
        glow = Glow(glow.continuum, glow.wave[:0], glow.flux[:0], (), glow.listed[:0])

    def electrons(wave: FloatArray) -> FloatArray:
        return np.asarray(level * rig.efficiency(wave))

    image = filled(geometry, glow_density(geometry, glow, electrons, shot.slit))
    return image, LineTruth(glow.wave, glow.flux * electrons(glow.wave), glow.species, glow.listed)


def _sky(rig: Rig, geometry: Geometry, shot: Shot, options: NightOptions) -> tuple[FloatArray, LineTruth]:
    glow = night_sky(
        stream(rig.seed, f"sky {shot.number}"), city=rig.known.city, moon=options.moon, airmass=shot.airmass
    )
    seen = rig.known.area * shot.exptime * shot.slit * geometry.scale

    def electrons(wave: FloatArray) -> FloatArray:
        return np.asarray(seen * rig.efficiency(wave))

    image = filled(geometry, glow_density(geometry, glow, electrons, shot.slit))
    return image, LineTruth(glow.wave, glow.flux * electrons(glow.wave), glow.species, glow.listed)


def _peak(geometry: Geometry, light: Density) -> float:
    """Return the greatest light per pixel on the array."""
    edges = np.asarray(np.arange(geometry.shape[1] + 1) - 0.5, dtype=np.float64)
    return float(np.diff(light.below(edges)).max())
