"""The light of images: zero points of frames and stacks, photometry through the PSF, magnitudes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nightpipe.base.errors import ConfigError, NightpipeError, NoSolutionError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.references import extinction
from nightpipe.model.exposure import Exposure
from nightpipe.model.pointing import Place
from nightpipe.model.references import Extinction
from nightpipe.model.sources import Psf, Sources, ZeroPoint, ZeroPoints
from nightpipe.model.stack import Stack
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Alignment, Astrometry
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.photometry import Photometer
from nightpipe.steps.imaging.psf import ModelPsf
from nightpipe.steps.imaging.segments import MapSegments
from nightpipe.steps.imaging.zeropoint import FitZeroPoint

MAG = 2.5 / np.log(10)
MAGNITUDES = {"mag": ("flux", "flux_error"), "aperture_mag": ("aperture_flux", "aperture_error"),
              "kron_mag": ("kron_flux", "kron_error")}  # fmt: skip
"""Columns of magnitudes, and the fluxes that they are made of."""


@recipe(
    "calibrateimages",
    inputs=("sources", "places", "alignment", "stars"),
    many=("sources", "places"),
    outputs=("zeropoints",),
    steps=(FitZeroPoint,),
)
def calibrateimages(
    run: Run,
    *,
    sources: tuple[Sources, ...],
    places: tuple[Place, ...],
    alignment: Alignment,
    stars: tuple[StarCatalogue, ...],
) -> dict[str, Any]:
    """Fit the zero point of each image of a field; sky and transparency follow. Without a catalogue there is none."""
    if not stars:
        return {"zeropoints": ZeroPoints((None,) * len(sources))}
    fits = [
        None if solution is None else _zero_point(run, one, solution, stars[0], place.exposure)
        for one, place, solution in zip(sources, places, alignment.solutions, strict=True)
    ]
    known = tuple(
        None if one is None else _lit(one, place, _best(fits)) for one, place in zip(fits, places, strict=True)
    )
    for one, place in zip(known, places, strict=True):
        if one is not None:
            _tell_frame(run, one, place.exposure.name)
    return {"zeropoints": ZeroPoints(known)}


def _zero_point(
    run: Run, sources: Sources, solution: Astrometry, stars: StarCatalogue, exposure: Exposure
) -> ZeroPoint | None:
    """Return a zero point; None, with a caveat, where stars or bands do not allow one."""
    try:
        found: ZeroPoint = run(
            FitZeroPoint, sources=sources, astrometry=solution, catalogue=stars, exposure=exposure,
            extinction=_extinction(exposure),
        )  # fmt: skip
    except (NoSolutionError, ConfigError) as error:
        run.caveat("zeropoint.none", _short(exposure.name, error))
        return None
    return found


def _short(name: str, error: NightpipeError) -> str:
    return f"{name} has no zero point: wanted {error.wanted}, found {error.found}"


def _extinction(exposure: Exposure) -> Extinction | None:
    return None if exposure.site is None else extinction(exposure.site)


def _clear(one: ZeroPoint) -> float:
    """Return the zero point above the air; where the extinction is not known, that below it."""
    return one.above if np.isfinite(one.above) else one.zp


def _best(fits: list[ZeroPoint | None]) -> float:
    return max((_clear(one) for one in fits if one is not None), default=float("nan"))


def _lit(one: ZeroPoint, place: Place, best: float) -> ZeroPoint:
    """Return a frame's zero point with its transparency [against the field's best] and its sky, which is subtracted."""
    sky = float(one.zp - 2.5 * np.log10(place.sky / place.scale**2)) if place.sky > 0 else float("nan")
    return replace(one, sky=sky, transparency=float(10 ** (0.4 * (_clear(one) - best))))


def _tell_frame(run: Run, one: ZeroPoint, name: str) -> None:
    run.metric(f"frame_zero_point/{name}", one.zp, "mag")
    run.metric(f"transparency/{name}", one.transparency)
    for metric, value in ((f"frame_depth/{name}", one.depth), (f"frame_sky_brightness/{name}", one.sky)):
        if np.isfinite(value):
            run.metric(metric, value, "mag")


@recipe(
    "imagephotometry",
    inputs=("stack", "sources", "stars", "zeropoints"),
    outputs=("sources", "psf", "zeropoint"),
    steps=(ModelPsf, Photometer, FitZeroPoint),
)
def imagephotometry(
    run: Run, *, stack: Stack, sources: Sources, stars: tuple[StarCatalogue, ...], zeropoints: ZeroPoints
) -> dict[str, Any]:
    """Measure the sources of a stack through its PSF, in apertures and ellipses; magnitudes where there are stars."""
    psf = _psf(run, stack, sources)
    measured: Sources = run(Photometer, frame=stack, sources=sources, psf=psf)
    ra, dec = stack.wcs.to_sky(measured.x, measured.y)
    measured = replace(measured, columns={**measured.columns, "ra": ra, "dec": dec})
    zero = _of_stack(run, stack, measured, stars)
    if zero is not None:
        zero = replace(zero, sky=_median([one.sky for one in zeropoints.known]))
        measured = with_magnitudes(measured, zero)
        _tell(run, zero)
    return {
        "sources": measured,
        "psf": () if psf is None else (psf,),
        "zeropoint": () if zero is None else (zero,),
    }


@recipe("segments", inputs=("stack", "sources"), outputs=("segments",), steps=(Detect, MapSegments))
def segments(run: Run, *, stack: Stack, sources: Sources) -> dict[str, Any]:
    """Tell which pixels of a stack belong to which row of its catalogue."""
    return {"segments": run(MapSegments, stack=stack, sources=sources, search=run.step(Detect))}


def _psf(run: Run, stack: Stack, sources: Sources) -> Psf | None:
    try:
        psf: Psf = run(ModelPsf, frame=stack, sources=sources)
    except NoSolutionError as error:
        run.caveat("psf.none", f"no PSF was made: wanted {error.wanted}, found {error.found}")
        return None
    run.metric("psf_stars", psf.stars)
    run.metric("psf_fwhm", psf.fwhm * stack.wcs.scale, "arcsec")
    run.metric("psf_chi", psf.chi)
    return psf


def _of_stack(run: Run, stack: Stack, sources: Sources, stars: tuple[StarCatalogue, ...]) -> ZeroPoint | None:
    """Return the stack's own zero point, from its own stars; the frames' serve to bring them to one scale alone."""
    if not stars or stack.exposure is None:
        run.caveat("zeropoint.none", "no catalogue: fluxes are in electrons per second, without magnitudes")
        return None
    nan = float("nan")
    epoch = 2000.0 + (stack.exposure.mjd - 51544.5) / 365.25
    solution = Astrometry(stack.wcs, "joint", 0, (nan, nan), nan, "", epoch, nan, nan, np.zeros((0, 6)))
    return _zero_point(run, sources, solution, stars[0], stack.exposure)


def _median(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


def with_magnitudes(sources: Sources, zero: ZeroPoint) -> Sources:
    """Return the sources with magnitudes by their fluxes; nan where a flux is not positive.

    They are on the instrument's own system at the colour ``zero.colour_zero``; errors leave out that of the zero point,
    which all share.
    """
    columns = dict(sources.columns)
    for name, (flux_name, error_name) in MAGNITUDES.items():
        flux = sources.flux if flux_name == "flux" else columns.get(flux_name)
        error = sources.flux_error if error_name == "flux_error" else columns.get(error_name)
        if flux is None or error is None:
            continue
        lit = np.where(flux > 0, flux, np.nan)
        columns[name], columns[f"{name}_error"] = zero.zp - 2.5 * np.log10(lit), MAG * error / lit
    return replace(sources, columns=columns)


def _tell(run: Run, zero: ZeroPoint) -> None:
    run.metric("zero_point", zero.zp, "mag")
    run.metric("zero_point_error", zero.error, "mag")
    run.metric("zero_point_scatter", zero.scatter, "mag")
    run.metric("zero_point_stars", zero.stars)
    run.metric("colour_term", zero.colour_term)
    for name, value, unit in (("depth", zero.depth, "mag"), ("sky_brightness", zero.sky, "mag/arcsec2")):
        if np.isfinite(value):
            run.metric(name, value, unit)
