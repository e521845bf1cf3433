"""A field on the sky, and the light of it that one camera gathers in one exposure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.stamps import add_galaxies, add_points
from nightpipe.maths.tan import sky_of_plane
from nightpipe.simulate.imaging import sky
from nightpipe.simulate.imaging.camera import Box, Camera, Filter, Observatory
from nightpipe.simulate.imaging.galaxies import Galaxies, field_galaxies, host
from nightpipe.simulate.imaging.locus import BANDS, johnson
from nightpipe.simulate.imaging.pointing import Pointing, air_stretch
from nightpipe.simulate.imaging.psf import WING, Blur, StarImage, reach, star_image
from nightpipe.simulate.imaging.schedule import Fault, ImagingOptions, Shot, filters_of, wanted
from nightpipe.simulate.imaging.stars import Stars, field_stars, galactic, listed, one
from nightpipe.simulate.rig import stream

F32 = NDArray[np.float32]
FloatArray = NDArray[np.float64]

_MOON = {"u": 3.5, "B": 3.2, "g": 2.8, "V": 2.2, "r": 1.7, "R": 1.6, "i": 1.1, "I": 1.0, "z": 0.6, "y": 0.3}
_AFTERGLOW = {"u": 0.75, "g": 0.3, "r": 0.0, "i": -0.22, "z": -0.4, "y": -0.48, "J": -1.5, "H": -2.2, "K": -2.9}
_SUPERNOVA = {"u": 1.6, "g": 0.15, "r": 0.0, "i": 0.12, "z": 0.15, "y": 0.15, "J": -0.4, "H": -0.5, "K": -0.6}


@dataclass(frozen=True)
class Field:
    """What is in the sky: `stars`, of which the last is the transient where there is one, and `galaxies`."""

    stars: Stars
    galaxies: Galaxies | None
    centre: tuple[float, float]
    latitude: float
    side: float
    faintest: float
    transient: bool


@dataclass(frozen=True)
class Patched:
    """What one filter saw: the box in the light-sensitive array, star image, fluxes [e-] and the sky's level [e-]."""

    name: str
    filter: Filter
    box: Box
    star: StarImage
    flux: FloatArray
    natural: FloatArray
    sky: float
    zero: float


@dataclass(frozen=True)
class Light:
    """The expected electrons (ny, nx) of one camera on perfect pixels, and how they came about.

    `x`, `y` (n,) are the stars' positions in this array, whose first pixel is `corner` (x, y) of the array as read.
    """

    image: F32
    pointing: Pointing
    x: FloatArray
    y: FloatArray
    patches: tuple[Patched, ...]
    corner: tuple[int, int]
    trails: tuple[tuple[float, float, float], ...] = ()


def field_of(known: Observatory, options: ImagingOptions, seed: int) -> Field:
    """Return the sky about the target; the same seed gives the same sky for every camera."""
    centre = (
        known.centre[0] if options.ra is None else options.ra,
        known.centre[1] if options.dec is None else options.dec,
    )
    latitude = galactic(*centre)[1] if options.latitude is None else options.latitude
    side = _side(known, options)
    faintest = _faintest(known, options)
    rng = stream(seed, f"field {centre[0]:.3f} {centre[1]:.3f}")
    if options.catalogue:
        stars = _catalogue(Path(options.catalogue), rng)
    else:
        place = centre if options.latitude is None else _at_latitude(options.latitude)
        stars = field_stars(place, side, faintest, rng)
        if place != centre:
            stars = _moved(stars, place, centre)
    galaxies = field_galaxies(centre, side, min(faintest, 24.5), latitude, rng) if options.galaxies else None
    if options.transient == "none":
        return Field(stars, galaxies, centre, latitude, side, faintest, False)
    ra, dec = _shifted(centre, options.transient_sky)
    if options.host and galaxies is not None:
        angle = rng.uniform(0, 2 * np.pi)
        home = _shifted((ra, dec), (options.host_offset * np.cos(angle), options.host_offset * np.sin(angle)))
        galaxies = galaxies.joined(host(*home, options.host, 10 ** (0.3 - 0.1 * (options.host - 17.5)), rng))
    colours = _AFTERGLOW if options.transient == "afterglow" else _SUPERNOVA
    mags = {band: options.transient_mag + offset for band, offset in colours.items()}
    mags |= {band: float(value) for band, value in johnson({k: np.asarray(v) for k, v in mags.items()}).items()}
    return Field(stars.joined(one(ra, dec, mags)), galaxies, centre, latitude, side, faintest, True)


def fading(options: ImagingOptions, hours: float) -> float:
    """Return by how many magnitudes the transient has faded `hours` after the first science frame.

    A supernova near maximum: 0.02 mag/day. An afterglow found an hour after the burst: t**-1.1.
    """
    if options.transient == "afterglow":
        return 2.5 * 1.1 * float(np.log10(max(1.0 + hours, 0.1)))
    return 0.02 / 24.0 * hours


def pointing_of(camera: Camera, shot: Shot, seed: int, aim: tuple[float, float] | None = None) -> Pointing:
    """Return the true geometry of one camera in one exposure: the description's, perturbed as hardware is."""
    hardware = stream(seed, f"hardware {camera.name}")
    scale = camera.scale * (1.0 + hardware.normal(0.0, 0.002))
    rotation = camera.rotation + hardware.normal(0.0, 0.3)
    wander = stream(seed, f"wander {camera.name} {shot.number}")
    east, north = (
        sum(parts) + (1.5 if aim is None else 0.3) * hardware.normal()  # an aim that is asked for was measured
        for parts in zip(shot.offset, shot.axis, shot.error, aim or camera.offset, strict=True)
    )
    x0, x1, y0, y1 = camera.light
    middle = ((x1 - x0 - 1) / 2.0, (y1 - y0 - 1) / 2.0)
    xx, xy, yy = air_stretch(shot.airmass, shot.parallactic)
    return Pointing(
        centre=_shifted((shot.ra, shot.dec), (east, north)),
        middle=middle,
        scale=scale * (1.0 + wander.normal(0.0, 2e-5)),
        rotation=rotation + wander.normal(0.0, 0.01),
        parity=camera.parity,
        stretch=(xx, xy, yy),
        barrel=camera.barrel * hardware.normal(1.0, 0.1),
        tilt=(float(hardware.normal(0.0, 0.02)), float(hardware.normal(0.0, 0.02))),
    )


def science(known: Observatory, camera: Camera, shot: Shot, field: Field, options: ImagingOptions, seed: int) -> Light:
    """Return the light of the field in one exposure."""
    x0, x1, y0, y1 = camera.light
    image = np.zeros((y1 - y0, x1 - x0), np.float32)
    pointing = pointing_of(camera, shot, seed, options.aim)
    x, y = pointing.to_pixel(*field.stars.at(shot.epoch))
    patches = []
    for patch, name in zip(camera.patches, filters_of(camera, shot.turn, options), strict=True):
        box = (patch.box[0] - x0, patch.box[1] - x0, patch.box[2] - y0, patch.box[3] - y0)
        patches.append(_patch(known, camera, shot, field, options, seed, pointing, (x, y), name, box, image))
    if camera.patches[0].box != camera.light:
        _spill(image, patches)
    return Light(image, pointing, x, y, tuple(patches), (x0, y0), _satellites(image, shot, options, seed))


def _patch(
    known: Observatory, camera: Camera, shot: Shot, field: Field, options: ImagingOptions, seed: int,
    pointing: Pointing, place: tuple[FloatArray, FloatArray], name: str, box: Box, image: F32,
) -> Patched:  # fmt: skip
    """Add the light of one filter's part of the detector, and return what it was."""
    band = known.filters[name]
    bx0, bx1, by0, by1 = box
    part = np.zeros((by1 - by0, bx1 - bx0), np.float32)
    level = sky_level(band, camera, shot, options, seed)
    star = star_image(blur_of(known, band, shot), camera.scale)
    natural, air = natural_mags(field.stars.mags, band, shot.airmass)
    if field.transient:
        natural[-1] += fading(options, (shot.clock - 10800.0) / 3600.0)
    boost = 2e5 if Fault.SATURATED in options.faults else 1.0
    flux = shot.exptime * shot.clear * boost * 10 ** (-0.4 * (natural + air - band.zero))
    noise = float(np.sqrt(level + camera.noise**2))
    if field.galaxies is not None and len(field.galaxies):
        part += _galaxies(field.galaxies, pointing, band, shot, star, box)
    x, y = place[0] - bx0, place[1] - by0
    far = reach(flux, noise, star)
    near = (x > -far) & (x < bx1 - bx0 + far) & (y > -far) & (y < by1 - by0 + far)
    stamps = (x[near], y[near], flux[near], star.nodes, 8, far[near], WING)
    add_points(part, *stamps)
    phase = stream(seed, f"sky {camera.name} {name}")
    part += sky.night_sky(part.shape, level, band.fringe, shot.clock, phase, infrared=camera.infrared)
    image[by0:by1, bx0:bx1] += part
    zero = band.zero + 2.5 * float(np.log10(shot.clear))
    return Patched(name, band, box, star, flux, natural, level, zero)


def _spill(image: F32, patches: list[Patched]) -> None:
    """Let a little sky into the frame between the filters: a shadow, not black."""
    level = 0.25 * min(patch.sky for patch in patches)
    outside = np.ones(image.shape, bool)
    for patch in patches:
        x0, x1, y0, y1 = patch.box
        outside[y0:y1, x0:x1] = False
    image[outside] += np.float32(level)


def sky_level(band: Filter, camera: Camera, shot: Shot, options: ImagingOptions, seed: int) -> float:
    """Return the sky [e-/pixel]: dark sky, moon, airglow that wanders, and what clouds scatter."""
    moon = 10 ** (0.4 * _MOON.get(band.band, 0.1) * options.moon)
    wander = stream(seed, f"level {camera.name} {shot.number}").normal(0.0, band.drift / 3.0)
    slow = band.drift * np.sin(shot.clock / 1900.0 + stream(seed, f"slow {band.band}").uniform(0, 6.3))
    surface = 10 ** (-0.4 * (band.sky - band.zero)) * camera.scale**2 * shot.exptime
    return float(surface * moon * (1.0 + wander + slow) * (1.0 + 0.4 * (1.0 - shot.clear)) * shot.airmass**0.4)


def blur_of(known: Observatory, band: Filter, shot: Shot) -> Blur:
    """Return what blurs an exposure; the seeing grows as airmass**0.6."""
    seeing = shot.seeing * shot.airmass**0.6
    jitter = 0.08 * known.seeing
    return Blur(seeing, band.wave, known.mirror, jitter, shot.trail, known.field, known.coma, known.aureole)


def natural_mags(mags: dict[str, FloatArray], band: Filter, airmass: float) -> tuple[FloatArray, FloatArray]:
    """Return magnitudes (n,) in the camera's own bandpass above the air, and what the air takes [mag]."""
    colour = mags["g"] - mags["i"] - 1.0
    natural = mags[band.band] + band.colour * colour + band.bend * colour**2
    return np.asarray(natural), np.asarray(airmass * (band.extinction + band.second * colour))


def _galaxies(galaxies: Galaxies, pointing: Pointing, band: Filter, shot: Shot, star: StarImage, box: Box) -> F32:
    """Return the galaxies in a box, blurred by the PSF of its middle."""
    from scipy.signal import fftconvolve

    bx0, bx1, by0, by1 = box
    margin = 24
    x, y = pointing.to_pixel(galaxies.ra, galaxies.dec)
    x, y = x - bx0 + margin, y - by0 + margin
    ny, nx = by1 - by0 + 2 * margin, bx1 - bx0 + 2 * margin
    inside = (x > -40) & (x < nx + 40) & (y > -40) & (y < ny + 40)
    natural, air = natural_mags(galaxies.mags, band, shot.airmass)
    flux = shot.exptime * shot.clear * 10 ** (-0.4 * (natural + air - band.zero))
    turned = pointing.direction(galaxies.angle)
    canvas = np.zeros((ny, nx), np.float32)
    columns = (x, y, flux, galaxies.radius / pointing.scale, galaxies.index, galaxies.axis_ratio, turned)
    add_galaxies(canvas, *(column[inside] for column in columns))
    half = star.nodes.shape[2] // 2
    size = min(24, half // 8 - 1)
    kernel = star.nodes[1, 1][half - 8 * size : half + 8 * size + 1 : 8, half - 8 * size : half + 8 * size + 1 : 8]
    blurred = fftconvolve(canvas, kernel / kernel.sum(), mode="same")
    return np.asarray(blurred[margin:-margin, margin:-margin], dtype=np.float32)


def _satellites(image: F32, shot: Shot, options: ImagingOptions, seed: int) -> tuple[tuple[float, float, float], ...]:
    rng = stream(seed, f"satellite {shot.number}")
    if not options.trails or rng.uniform() > 0.06 + shot.exptime / 3000.0:
        return ()
    return (sky.satellite(image, float(rng.lognormal(6.0, 1.0)), 1.3, rng),)


def flat(known: Observatory, camera: Camera, shot: Shot, field: Field, options: ImagingOptions, seed: int) -> F32:
    """Return the light of a flat field: dome, or twilight with the stars that were there."""
    x0, x1, y0, y1 = camera.light
    shape = (y1 - y0, x1 - x0)
    range_ = (camera.ceiling + 1 - camera.pedestal) * camera.gain
    level = shot.level * min(range_, camera.full_well * 1.05)
    if shot.kind == "domeflat":
        return sky.dome(shape, level, stream(seed, f"dome {camera.name}"))
    image = sky.twilight(shape, level, stream(seed, f"twilight {shot.number}"))
    if shot.level < 0.9:
        dark = options.model_copy(update={"faults": (), "trails": False, "galaxies": False})
        star = replace(shot, kind="science", ra=field.centre[0], dec=field.centre[1], airmass=1.1, seeing=known.seeing)
        stars = science(known, camera, star, replace(field, galaxies=None), dark, seed)
        image += stars.image - sum(_as_sky(stars, patch) for patch in stars.patches)
    return image


def _as_sky(light: Light, patch: Patched) -> F32:
    """Return the night sky's level in a patch, which twilight has instead."""
    even = np.zeros(light.image.shape, np.float32)
    x0, x1, y0, y1 = patch.box
    even[y0:y1, x0:x1] = patch.sky
    return even


def _side(known: Observatory, options: ImagingOptions) -> float:
    """Return the side [deg] of the square that all frames together may see."""
    size = max(
        max(camera.light[1] - camera.light[0], camera.light[3] - camera.light[2]) * camera.scale
        + 2 * max(abs(value) for value in camera.offset)
        + 120 * max([abs(value) for _, *place in known.apertures for value in place], default=0.0)
        for camera in wanted(known, options)
    )
    reach_ = known.dither * np.sqrt(max(options.exposures, 10)) + 3 * known.pointing_error + options.bad_wcs + 200.0
    return float((1.08 * size * 1.1 + 2 * reach_) / 3600.0)


def _faintest(known: Observatory, options: ImagingOptions) -> float:
    """Return the r magnitude of a star that gives half the noise of one seeing disc in the deepest frame."""
    depth = []
    for camera in wanted(known, options):
        for patch in camera.patches:
            for name in patch.filters:
                band = known.filters[name]
                time = options.exptime or band.exptime
                area = np.pi * (options.seeing or known.seeing) ** 2
                noise = np.sqrt(10 ** (-0.4 * (band.sky - band.zero)) * area * time + 50.0)
                red = {"J": 2.2, "H": 2.8, "K": 3.0, "z": 0.5, "y": 0.7}.get(band.band, 0.0)
                depth.append(band.zero - 2.5 * np.log10(0.5 * noise / time) + red)
    return float(min(max(depth), 25.5))


def _shifted(centre: tuple[float, float], arcsec: tuple[float, float]) -> tuple[float, float]:
    ra, dec = sky_of_plane(arcsec[0] / 3600.0, arcsec[1] / 3600.0, centre)
    return float(ra), float(dec)


def _at_latitude(latitude: float) -> tuple[float, float]:
    """Return a place of the wanted galactic latitude on the meridian of the north galactic pole, longitude 123."""
    return 192.85948, min(27.12825 + 90.0 - abs(latitude), 89.0)


def _moved(stars: Stars, old: tuple[float, float], new: tuple[float, float]) -> Stars:
    from nightpipe.maths.tan import plane_of_sky

    ra, dec = sky_of_plane(*plane_of_sky(stars.ra, stars.dec, old), new)
    return replace(stars, ra=ra, dec=dec)


def _catalogue(path: Path, rng: np.random.Generator) -> Stars:
    from nightpipe.io.tables import named_columns

    table = named_columns(path)
    return listed(table["ra"], table["dec"], {band: table[band] for band in BANDS if band in table}, rng)
