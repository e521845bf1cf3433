"""The truth beside an imaging night: stars with magnitudes, frames with positions and fluxes, detectors, catalogues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from nightpipe.simulate.imaging.camera import Camera, Observatory
from nightpipe.simulate.imaging.chip import Chip
from nightpipe.simulate.imaging.dialects.base import Taken
from nightpipe.simulate.imaging.galaxies import Galaxies
from nightpipe.simulate.imaging.pointing import Pointing
from nightpipe.simulate.imaging.psf import OVERSAMPLING
from nightpipe.simulate.imaging.reference import REFCAT, SDSS, reference
from nightpipe.simulate.imaging.scene import Field, Light, Patched
from nightpipe.simulate.imaging.schedule import ImagingOptions
from nightpipe.simulate.rig import stream
from nightpipe.simulate.truth import SCHEMA, table, write_fits, write_json


def night_truth(
    folder: Path, known: Observatory, cameras: tuple[Camera, ...], field: Field, options: ImagingOptions, seed: int,
    facts: list[dict[str, Any]],
) -> None:  # fmt: skip
    """Write what is true of the whole night, and the catalogues that a reduction may use."""
    write_fits(folder / "stars.fits", [_stars(field)])
    if field.galaxies is not None:
        write_fits(folder / "galaxies.fits", [_galaxies(field.galaxies)])
    for survey in (REFCAT, SDSS):
        stars = _without_transient(field)
        columns = reference(survey, stars, field.galaxies, stream(seed, f"survey {survey.name}"))
        hdu = table(survey.name, columns)
        hdu.header["EPOCH"] = (survey.epoch, "Julian year of the positions")
        for band, depth in survey.depth.items():
            hdu.header[f"DEPTH_{band}"] = (depth, "5 sigma [mag]")
            hdu.header[f"SYS_{band}"] = "Vega" if band in "JHK" else survey.name.replace("REFCAT", "PS1")
        write_fits(folder / f"{survey.name.lower()}.fits", [hdu])
    night = {"schema": SCHEMA, "instrument": known.name, "seed": seed, "options": options.model_dump(mode="json")}
    place = {"centre": list(field.centre), "latitude": field.latitude, "side": field.side, "faintest": field.faintest}
    filters = {name: band.model_dump() for name, band in known.filters.items()}
    detectors = {camera.name: camera.model_dump(mode="json") for camera in cameras}
    extra: dict[str, Any] = {"filters": filters, "cameras": detectors, "field": place, "exposures": facts}
    if field.transient:
        ra, dec = float(field.stars.ra[-1]), float(field.stars.dec[-1])
        extra["transient"] = {"ra": ra, "dec": dec, "r": float(field.stars.mags["r"][-1]), "kind": options.transient}
    write_json(folder / f"{known.name}.json", {**night, **extra})


def _without_transient(field: Field) -> Any:
    from dataclasses import replace

    if not field.transient:
        return field.stars
    stars = field.stars
    cut = {name: getattr(stars, name)[:-1] for name in ("ra", "dec", "pm_ra", "pm_dec")}
    return replace(stars, mags={band: value[:-1] for band, value in stars.mags.items()}, **cut)


def _stars(field: Field) -> fits.BinTableHDU:
    stars = field.stars
    number = np.arange(len(stars))
    return table(
        "STARS",
        {
            "ID": (number, ""),
            "RA": (stars.ra, "deg"),
            "DEC": (stars.dec, "deg"),
            "PM_RA": (stars.pm_ra, "mas/yr"),
            "PM_DEC": (stars.pm_dec, "mas/yr"),
            "TRANSIENT": (number == len(stars) - 1 if field.transient else number < 0, ""),
            **{band: (values, "mag") for band, values in stars.mags.items()},
        },
    )


def _galaxies(galaxies: Galaxies) -> fits.BinTableHDU:
    return table(
        "GALAXIES",
        {
            "RA": (galaxies.ra, "deg"),
            "DEC": (galaxies.dec, "deg"),
            "RADIUS": (galaxies.radius, "arcsec"),
            "SERSIC": (galaxies.index, ""),
            "RATIO": (galaxies.axis_ratio, ""),
            "ANGLE": (galaxies.angle, "deg"),
            **{band: (values, "mag") for band, values in galaxies.mags.items()},
        },
    )


def camera_truth(path: Path, chip: Chip) -> None:
    """Write the images of a detector, of the part that sees light: flat, its pixels alone, dark, bias pattern, bad."""
    images = {"FLAT": chip.flat, "PIXELS": chip.pixels, "DARK": chip.dark, "BIAS": chip.pattern}
    hdus = [fits.ImageHDU(image, name=name) for name, image in images.items()]
    write_fits(path, [*hdus, fits.ImageHDU(chip.bad.astype(np.uint8), name="BAD")])


def frame_truth(path: Path, light: Light | None, field: Field, cosmic: NDArray[np.float32]) -> None:
    """Write what is true of a frame: where cosmic rays fell, and the stars on it, one table a filter.

    Positions are zero-based in the **array as read**; fluxes are electrons on perfect pixels.
    """
    if light is None:
        return
    hit = np.argwhere(cosmic > 0)
    charge = cosmic[cosmic > 0]
    hdus = [table("COSMICS", {"X": (hit[:, 1], "pixel"), "Y": (hit[:, 0], "pixel"), "ELECTRONS": (charge, "")})]
    for patch in light.patches:
        hdus += [_frame_stars(light, patch, field), _frame_psf(patch)]
    write_fits(path, hdus)


def _frame_stars(light: Light, patch: Patched, field: Field) -> fits.BinTableHDU:
    x0, x1, y0, y1 = patch.box
    on = (light.x > x0 - 0.5) & (light.x < x1 - 0.5) & (light.y > y0 - 0.5) & (light.y < y1 - 0.5)
    band = patch.filter.band
    columns: dict[str, tuple[Any, str]] = {
        "ID": (np.flatnonzero(on), ""),
        "X": (light.x[on] + light.corner[0], "pixel"),
        "Y": (light.y[on] + light.corner[1], "pixel"),
        "ELECTRONS": (patch.flux[on], ""),
        "MAG": (field.stars.mags[band][on], "mag"),
        "NATURAL": (patch.natural[on], "mag"),
    }
    hdu = table(f"STARS_{patch.name[:8]}", columns)
    hdu.header["FILTER"] = patch.name
    hdu.header["BAND"] = band
    return hdu


def _frame_psf(patch: Patched) -> fits.ImageHDU:
    """Return the PSFs at 3 x 3 places of the patch, sampled `OVERSAMPLING` times a pixel, integrated over pixels."""
    half = patch.star.nodes.shape[2] // 2
    size = min(half, 20 * OVERSAMPLING)
    cut = patch.star.nodes[:, :, half - size : half + size + 1, half - size : half + size + 1]
    hdu = fits.ImageHDU(np.ascontiguousarray(cut), name=f"PSF_{patch.name[:8]}")
    hdu.header["OVERSAMP"] = OVERSAMPLING
    return hdu


def frame_facts(name: str, taken: Taken, light: Light | None) -> dict[str, Any]:
    """Return the numbers that are true of a frame."""
    shot = taken.shot
    facts: dict[str, Any] = {
        "file": name, "camera": taken.camera.name, "type": shot.kind, "filters": list(taken.filters),
        "exptime": shot.exptime, "start": shot.start.replace(tzinfo=None).isoformat(), "airmass": shot.airmass,
        "level": shot.level, "rise": shot.rise, "target": taken.name, "number": shot.number,
    }  # fmt: skip
    if light is None:
        return facts
    return facts | {
        "clear": shot.clear,
        "seeing": shot.seeing,
        "epoch": shot.epoch,
        "offset": list(shot.offset),
        "error": list(shot.error),
        "trails": [list(trail) for trail in light.trails],
        "wcs": pointing_facts(light.pointing, light),
        "patches": [
            {
                "filter": patch.name, "band": patch.filter.band, "fwhm": patch.star.fwhm, "sky": patch.sky,
                "zero": patch.zero, "box": _raw(patch.box, light),
            }
            for patch in light.patches
        ],
    }  # fmt: skip


def _raw(box: tuple[int, int, int, int], light: Light) -> list[int]:
    x, y = light.corner
    return [box[0] + x, box[1] + x, box[2] + y, box[3] + y]


def pointing_facts(pointing: Pointing, light: Light) -> dict[str, Any]:
    """Return the true geometry: its numbers, and a grid of pixels (zero-based, as read) with their true ra and dec."""
    ny, nx = light.image.shape
    y, x = (part.ravel() for part in np.meshgrid(np.linspace(0, ny - 1, 9), np.linspace(0, nx - 1, 9), indexing="ij"))
    ra, dec = pointing.to_sky(x, y)
    corner = light.corner
    return {
        "centre": list(pointing.centre), "middle": [pointing.middle[0] + corner[0], pointing.middle[1] + corner[1]],
        "scale": pointing.scale, "rotation": pointing.rotation, "parity": pointing.parity, "cd": pointing.cd,
        "grid": {"x": (x + corner[0]).tolist(), "y": (y + corner[1]).tolist(), "ra": ra.tolist(), "dec": dec.tolist()},
    }  # fmt: skip
