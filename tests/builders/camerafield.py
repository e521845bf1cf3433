"""One clean frame of a simulated camera, with what is true of it: every star's light, the zero point, the place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from builders.frames import exposure
from nightpipe.model.exposure import Exposure, Setup
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Astrometry, Wcs
from nightpipe.simulate.imaging.camera import Filter, observatory
from nightpipe.simulate.imaging.reference import REFCAT, reference
from nightpipe.simulate.imaging.scene import Light, field_of, science
from nightpipe.simulate.imaging.schedule import ImagingOptions, Planner
from nightpipe.simulate.rig import stream


@dataclass(frozen=True)
class CameraField:
    """A `frame` [electron] without sky, the `light` in it, the survey's `stars`, and the true `plate`.

    `mag` and `colour` (g-i) are the true ones of all stars in the light.
    """

    frame: Frame
    light: Light
    stars: StarCatalogue
    plate: Astrometry
    band: Filter
    clear: float
    mag: np.ndarray
    colour: np.ndarray

    @property
    def flux(self) -> np.ndarray:
        """Return the true light of all stars [electron/s]."""
        return self.light.patches[0].flux / self.frame.exposure.exptime

    def zero(self, colour: float) -> float:
        """Return the true zero point, under the air, of a star of this g-i."""
        c, band, air = colour - 1.0, self.band, self.frame.exposure.airmass
        natural = band.colour * c + band.bend * c * c + air * (band.extinction + band.second * c)
        return band.zero + 2.5 * np.log10(self.clear) - natural


def camera_field(name: str, band: str, seed: int, **options) -> CameraField:
    """Return the first exposure of a simulated night on perfect pixels, its noise that of photons and reading out."""
    known = observatory(name)
    asked = ImagingOptions(filters=(band,), exposures=1, trails=False, **options)
    camera = next(c for c in known.cameras if any(band in patch.filters for patch in c.patches))
    field = field_of(known, asked, seed)
    shot = next(s for s in Planner(known, asked, stream(seed, "schedule")).night() if s.kind == "science")
    light = science(known, camera, shot, field, asked, seed)
    rng = stream(seed, "noise of the test")
    sky = light.patches[0].sky
    charge = rng.poisson(np.maximum(light.image, 0)) + rng.normal(0, camera.noise, light.image.shape)
    full = charge > camera.full_well
    var = np.maximum(charge, 1) + camera.noise**2
    facts = _exposure(known.site, band, shot.exptime, shot.mjd, shot.airmass)
    frame = Frame(
        (np.minimum(charge, camera.full_well) - sky).astype(np.float32), var.astype(np.float32),
        np.where(full, np.uint32(Flag.SATURATED), np.uint32(0)), "electron", facts, header={"NPSKY": sky},
    )  # fmt: skip
    columns = {n: v for n, (v, _) in reference(REFCAT, field.stars, field.galaxies, stream(seed, "survey")).items()}
    stars, mags = _catalogue(columns), field.stars.mags
    return CameraField(
        frame,
        light,
        stars,
        _plate(light),
        known.filters[band],
        shot.clear,
        mags[known.filters[band].band],
        mags["g"] - mags["i"],
    )


def _exposure(site: str, band: str, exptime: float, mjd: float, airmass: float) -> Exposure:
    return replace(exposure(exptime=exptime), setup=Setup(mode="imaging", filter=band), mjd=mjd, airmass=airmass,
                   band=band[-1])  # fmt: skip


def _catalogue(c: dict[str, np.ndarray]) -> StarCatalogue:
    bands = "griz"
    return StarCatalogue(
        "refcat2", c["ra"], c["dec"], REFCAT.epoch, (0.0, 0.0), 1.0, c["pm_ra"], c["pm_dec"], c["error"],
        {b: c[b] for b in bands}, {b: c[f"{b}_error"] for b in bands}, dict.fromkeys(bands, "PS1"),
        extended=c["extended"] > 0,
    )  # fmt: skip


def _plate(light: Light) -> Astrometry:
    """Return the true place; what bends it is below the radius within which stars are matched."""
    p = light.pointing
    wcs = Wcs(p.centre, p.middle, p.cd)
    return Astrometry(wcs, "truth", 99, (0.01, 0.01), 0.01, "truth", 2020.0, 0.0, 100.0, np.zeros((0, 6)))
