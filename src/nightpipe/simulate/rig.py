"""The telescope with its instrument in one setup: true geometry and detector, and the light that it lets through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser
from nightpipe.simulate.atmosphere import Air, bands, extinction, refraction
from nightpipe.simulate.bench import Bench
from nightpipe.simulate.detector import Silicon, canonical_shape, silicon
from nightpipe.simulate.geometry import Bend, Geometry, lay_out
from nightpipe.simulate.optics import Seen, star, star_density
from nightpipe.simulate.schedule import Shot
from nightpipe.simulate.sources import Target
from nightpipe.simulate.turbulence import SlitImage, disc_through_slit, slit_image

FloatArray = NDArray[np.float64]
Curve = Callable[[FloatArray], FloatArray]

PHOTON = 1.98645e-8  # hc in erg A
_GUIDED = 5500.0  # wavelength [A] at which the guider holds the star


@dataclass(frozen=True)
class Rig:
    """One setup of one night. `air` and `seed` are the night's, `dust` is the slit's transmission on a grid of arcsec,
    `second_order` is the strength of second-order light over first-order light of the same wavelength.
    """

    known: Bench
    disperser: Disperser
    detector: Detector
    geometry: Geometry
    silicon: Silicon
    air: Air
    dust: tuple[FloatArray, FloatArray]
    seed: int
    second_order: float = 0.0

    def efficiency(self, wave: FloatArray) -> FloatArray:
        """Return electrons per photon."""
        return self.known.efficiency(self.disperser, wave)

    def response(self, wave: FloatArray) -> FloatArray:
        """Return (electron/s/A) per (erg/s/cm2/A) at the top of the telescope, with no slit in the way."""
        return np.asarray(self.known.area * self.efficiency(wave) * wave / PHOTON)

    def atmosphere(self, wave: FloatArray, airmass: float) -> FloatArray:
        """Return what the air lets through: extinction and bands."""
        return np.asarray(10.0 ** (-0.4 * airmass * extinction(wave, self.air)) * bands(wave, airmass, self.air))

    def bend(self, shot: Shot) -> Bend:
        """Return the flexure of an exposure: it follows the telescope's attitude, and creeps."""
        sway, bins = self.known.flexure, self.detector.binning
        bin_x = bins[0 if self.detector.dispersion == "x" else 1]
        phase = stream(self.seed, "flexure").uniform(0.0, 2.0 * np.pi, 3)
        creep = stream(self.seed, f"creep {shot.start.isoformat()}").normal(0.0, 0.45, 3)
        tilt = np.radians([1.5 * shot.altitude, shot.parallactic, shot.altitude + shot.parallactic])
        shift, gradient, along = 1.2 * np.sin(tilt + phase) + creep
        return Bend(
            sway.shift * shift / bin_x,
            sway.gradient * gradient / bin_x,
            sway.along * along / self.detector.slit_binning,
        )

    def illumination(self, geometry: Geometry) -> FloatArray:
        """Return the slit's transmission on all pixels (ny, nx): vignetting, and dust that follows the trace."""
        ny, nx = geometry.shape
        row = np.arange(ny)[:, None] - geometry.trace_of(np.arange(nx))
        return np.interp((row - geometry.row_of(0.0)) * geometry.scale, *self.dust)

    def fringes(self, geometry: Geometry) -> FloatArray | float:
        """Return the interference pattern on all pixels (ny, nx), which belongs to detector and wavelength."""
        known = self.known.fringes
        wave = geometry.wave_map()
        if not known.amplitude or wave.max() < 7000.0:
            return 1.0
        ny, nx = geometry.shape
        x, y = np.arange(nx) / nx, np.arange(ny)[:, None] / ny
        layer = known.thickness * (1.0 + 0.004 * (x - 0.5) ** 2 + 0.006 * (y - 0.4) ** 2 + 0.003 * x * y)
        strength = np.clip(known.amplitude * np.exp((wave - 9500.0) / 600.0), 0.0, 1.5 * known.amplitude)
        return np.asarray(1.0 + strength * np.cos(4.0 * np.pi * 3.6 * layer * 1e4 / wave))

    def object_seen(self, geometry: Geometry, shot: Shot, target: Target) -> tuple[Seen, SlitImage]:
        """Return an object on the detector: extinction, refraction, slit losses and all."""
        blue, red = geometry.ends()
        nodes = 1.0 / np.linspace(1.0 / blue, 1.0 / red, 8)  # even in refraction
        angle = np.radians(shot.angle)
        lift = refraction(nodes, _GUIDED, shot.airmass, self.air)
        blur = geometry.sigma_y * geometry.scale
        image = slit_image(nodes, shot.seeing, shot.slit, shot.across + lift * np.sin(angle), blur)
        if target.scale_length:
            image = disc_through_slit(image, target.scale_length, shot.slit)
        light = star_density(geometry, self._electrons(shot, target), image)

        def rise(wave: FloatArray) -> FloatArray:
            arcsec = refraction(wave, _GUIDED, shot.airmass, self.air) * np.cos(angle)
            return np.asarray(arcsec / geometry.scale)

        return star(geometry, light, image, geometry.row_of(shot.along + target.offset), rise), image

    def _electrons(self, shot: Shot, target: Target) -> Curve:
        """Return the object's electrons per A before the slit, with second-order light where the rig has it."""

        def first(wave: FloatArray) -> FloatArray:
            air = self.atmosphere(wave, shot.airmass) * shot.clear
            return np.asarray(target.light(wave) * air * self.response(wave) * shot.exptime)

        if not self.second_order:
            return first
        return lambda wave: first(wave) + self.second_order * first(wave / 2.0) / 2.0


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one purpose, so that what one part draws never shifts another's."""
    return np.random.default_rng([seed, crc32(name.encode())])


def build(
    known: Bench,
    disperser: Disperser,
    detector: Detector,
    raw_shape: tuple[int, int],
    seed: int,
    second_order: float = 0.0,
) -> Rig:
    """Return the rig of one setup; the same seed gives the same optics whatever the binning."""
    shape = canonical_shape(detector)
    geometry = lay_out(known, disperser, detector, shape, stream(seed, "dispersion"))
    chip = silicon(known, detector, raw_shape, stream(seed, "silicon"))
    weather = stream(seed, "weather")
    air = known.site_air
    air = Air(
        **{
            **vars(air),
            "aerosol": air.aerosol * weather.lognormal(0.0, 0.15),
            "water": air.water * weather.lognormal(0.0, 0.3),
        }
    )
    return Rig(known, disperser, detector, geometry, chip, air, _dust(stream(seed, "dust")), seed, second_order)


def _dust(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return the slit's transmission: even in the middle, vignetted outwards, with specks of dust on its jaws."""
    arcsec = np.arange(-260.0, 260.0, 0.05)
    open_part = 1.0 - 0.04 * (arcsec / 100.0) ** 2 + 0.006 * np.sin(arcsec / 17.0 + rng.uniform(0, 6))
    for place, depth, width in zip(
        rng.uniform(-260, 260, 90), rng.uniform(0.003, 0.03, 90), rng.uniform(0.2, 0.8, 90), strict=True
    ):
        near = np.abs(arcsec - place) < 6 * width
        open_part[near] *= 1.0 - depth * np.exp(-0.5 * ((arcsec[near] - place) / width) ** 2)
    return arcsec, np.maximum(open_part, 0.2)
