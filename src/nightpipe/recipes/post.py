"""From counts to flux: response from standards, calibration, combination of exposures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightpipe.base.errors import NoSolutionError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.references import extinction, find_standard
from nightpipe.io.responses import library_response
from nightpipe.io.telluric import SET as TELLURIC
from nightpipe.io.telluric import optical_depth
from nightpipe.maths.telluric import OpticalDepth
from nightpipe.model.atmosphere import AirState
from nightpipe.model.exposure import Exposure
from nightpipe.model.frame import Frame
from nightpipe.model.references import Extinction, Standard
from nightpipe.model.spectrum import Response, SkyModel, Spectrum
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.post.barycentre import Barycentre
from nightpipe.steps.post.fluxcal import FluxCalibrate, FluxCalibrateImage
from nightpipe.steps.post.points import template
from nightpipe.steps.post.sensitivity import Sensitivity
from nightpipe.steps.post.telluric import CorrectTelluric, FitAir
from nightpipe.steps.spectra.coadd import Coadd
from nightpipe.steps.spectra.splice import Splice


@recipe(
    "sensitivity",
    inputs=("spectra", "air"),
    many=("spectra",),
    optional=("air",),
    outputs=("response",),
    steps=(FitAir, CorrectTelluric, Sensitivity),
    data=("standards", "extinction", "telluric"),
    sets=(TELLURIC,),
)
def sensitivity(
    run: Run, *, spectra: tuple[tuple[Spectrum, ...], ...], air: tuple[AirState, ...] | None = None
) -> dict[str, Any]:
    """Derive the response from all exposures of standards of one setup; compare repeated ones and choose.

    The air's bands are taken out of the counts first: they leave no dents, and the response does not end at them. An
    exposure whose `air` is known is not fitted again.
    """
    measured = {state.source: state for state in air or ()}
    known: list[tuple[Spectrum, Standard]] = []
    for spectrum in (group[0] for group in spectra if group):
        standard = _standard(spectrum)
        if standard is None:
            run.caveat("standard.unknown", f"no flux table is known for {_target(spectrum)}: it was not used")
        else:
            known.append((spectrum, standard))
    if not known:
        raise NoSolutionError("a standard star in the slit", "none was found", "look at the two-dimensional spectra")
    tables = tuple(table for _, table in known)
    stars = tuple(_out_of_air(run, spectrum, table, measured) for spectrum, table in known)
    return {"response": run(Sensitivity, spectra=stars, standards=tables, extinction=_extinction(stars[0].exposure))}


@recipe(
    "air",
    inputs=("spectra",),
    many=("spectra",),
    outputs=("air",),
    steps=(FitAir,),
    data=("standards", "telluric"),
    sets=(TELLURIC,),
)
def air(run: Run, *, spectra: tuple[tuple[Spectrum, ...], ...]) -> dict[str, Any]:
    """Measure oxygen and water above the telescope on every standard, for targets that cannot tell themselves."""
    stars = [group[0] for group in spectra if group]
    return {"air": tuple(_air_of(run, star, _standard(star)) for star in stars)}


def _air_of(run: Run, spectrum: Spectrum, standard: Standard | None) -> AirState:
    own = None if standard is None else template(spectrum, standard)
    state: AirState = run(FitAir, spectrum=spectrum, depth=_depth(spectrum), template=own)
    return state


def _out_of_air(run: Run, spectrum: Spectrum, standard: Standard, measured: Mapping[str, AirState]) -> Spectrum:
    """Return a standard's counts without the air's bands; `measured` is the air by the exposure that saw it."""
    known = None if spectrum.exposure is None else measured.get(spectrum.exposure.name)
    state = known or _air_of(run, spectrum, standard)
    result: Spectrum = run(CorrectTelluric, spectrum=spectrum, depth=_depth(spectrum), state=state)
    return result


@recipe(
    "calibrate",
    inputs=("spectra", "frame", "sky", "wave", "response", "air"),
    optional=("response", "air"),
    outputs=("spectra", "image"),
    steps=(FluxCalibrate, FluxCalibrateImage, Barycentre, FitAir, CorrectTelluric),
    data=("extinction", "responses", "telluric"),
    sets=(TELLURIC,),
)
def calibrate(
    run: Run,
    *,
    spectra: tuple[Spectrum, ...],
    frame: Frame,
    sky: SkyModel,
    wave: WaveSolution,
    response: Response | None,
    air: tuple[AirState, ...] | None,
) -> dict[str, Any]:
    """Put spectra and sky-subtracted image on a flux scale, and take the air's bands out of the spectra.

    A night without a standard takes the library's response, with a caveat; without either the extinction is corrected.
    The image keeps its bands.
    """
    site = _extinction(frame.exposure)
    response = response or serving(frame.exposure)
    fluxed = tuple(on_flux_scale(run, spectrum, response, air or ()) for spectrum in spectra)
    clean = frame.but(data=frame.data - sky.model, var=frame.var + sky.var)
    image = run(FluxCalibrateImage, frame=clean, wave=wave, response=response, extinction=site)
    return {"spectra": fluxed, "image": image}


def serving(exposure: Exposure | None) -> Response | None:
    """Return the library's response for an exposure's setup, None where it has none."""
    return None if exposure is None else library_response(exposure)


def on_flux_scale(run: Run, spectrum: Spectrum, response: Response | None, known: tuple[AirState, ...]) -> Spectrum:
    """Return a spectrum in counts on a flux scale, the air's bands taken out; `known` is what the standards tell."""
    placed = run(Barycentre, spectrum=spectrum)
    site = _extinction(spectrum.exposure)
    fluxed = run(FluxCalibrate, spectrum=placed, response=response, extinction=site)
    depth = _depth(spectrum)
    state = run(FitAir, spectrum=fluxed, depth=depth, known=known)
    result: Spectrum = run(CorrectTelluric, spectrum=fluxed, depth=depth, state=state)
    return result


def _depth(spectrum: Spectrum) -> OpticalDepth:
    site = None if spectrum.exposure is None else spectrum.exposure.site
    return optical_depth(0.0 if site is None else site.height, float(spectrum.wave[-1]))


@recipe("combine", inputs=("spectra",), many=("spectra",), outputs=("spectra",), steps=(Coadd,))
def combine(run: Run, *, spectra: tuple[tuple[Spectrum, ...], ...]) -> dict[str, Any]:
    """Combine the exposures of a target, object by object, on native sampling."""
    groups = matched_objects(spectra)
    return {"spectra": tuple(group[0] if len(group) == 1 else run(Coadd, spectra=group) for group in groups)}


@recipe(
    "splice",
    inputs=("arms",),
    many=("arms",),
    outputs=("spectra",),
    steps=(Splice,),
)
def splice(run: Run, *, arms: tuple[tuple[Spectrum, ...], ...]) -> dict[str, Any]:
    """Join the arms of a spectrograph, brightest object with brightest object, and tell how they agree."""
    brightest = sorted((group[0] for group in arms if group), key=lambda spectrum: float(spectrum.wave[0]))
    joined = brightest[0]
    for red in brightest[1:]:
        joined = run(Splice, blue=joined, red=red)
    return {"spectra": (joined,)}


def matched_objects(
    spectra: tuple[tuple[Spectrum, ...], ...], tolerance: float = 1.5
) -> tuple[tuple[Spectrum, ...], ...]:
    """Group the objects of several exposures by their offset from the brightest object, within `tolerance` arcsec.

    The target wanders along the slit between exposures, so positions are compared relative to the brightest object.
    """
    groups: list[list[Spectrum]] = []
    anchors: list[float] = []
    for exposure in spectra:
        if not exposure:
            continue
        zero = float(max(exposure, key=_brightness).meta["slit_arcsec"])
        for spectrum in exposure:
            offset = float(spectrum.meta["slit_arcsec"]) - zero
            nearest = min(range(len(anchors)), key=lambda k: abs(anchors[k] - offset), default=None)
            if nearest is not None and abs(anchors[nearest] - offset) <= tolerance:
                groups[nearest].append(spectrum)
            else:
                groups.append([spectrum])
                anchors.append(offset)
    return tuple(tuple(group) for group in groups)


def _brightness(spectrum: Spectrum) -> float:
    return float(spectrum.meta.get("snr", 0.0))


def _standard(spectrum: Spectrum) -> Standard | None:
    exposure = spectrum.exposure
    return None if exposure is None else find_standard(exposure.standard or exposure.target, exposure.ra, exposure.dec)


def _target(spectrum: Spectrum) -> str:
    return "a spectrum without exposure" if spectrum.exposure is None else spectrum.exposure.target


def _extinction(exposure: Exposure | None) -> Extinction | None:
    return extinction(exposure.site) if exposure is not None and exposure.site is not None else None
