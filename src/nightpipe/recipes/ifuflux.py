"""Spectra of a lenslet unit from counts to flux, and repeated exposures into one."""

from __future__ import annotations

from typing import Any

from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.telluric import SET as TELLURIC
from nightpipe.model.atmosphere import AirState
from nightpipe.model.spectrum import Response, Spectrum
from nightpipe.recipes.post import on_flux_scale, serving
from nightpipe.steps.post.barycentre import Barycentre
from nightpipe.steps.post.fluxcal import FluxCalibrate
from nightpipe.steps.post.photometry import MatchPhotometry, StateFluxError
from nightpipe.steps.post.telluric import CorrectTelluric, FitAir
from nightpipe.steps.spectra.coadd import Coadd

USABLE = 2
"""Spectra of a better quality than this, or of this one, are combined and classified."""


@recipe(
    "ifucalibrate",
    inputs=("spectra", "response", "air"),
    optional=("response", "air"),
    outputs=("spectra",),
    steps=(FluxCalibrate, Barycentre, FitAir, CorrectTelluric, StateFluxError, MatchPhotometry),
    data=("extinction", "responses", "telluric"),
    sets=(TELLURIC,),
)
def ifucalibrate(
    run: Run, *, spectra: tuple[Spectrum, ...], response: Response | None, air: tuple[AirState, ...] | None
) -> dict[str, Any]:
    """Put the extracted spectrum and its alternatives on a flux scale, and take the air's bands out.

    A night without a standard takes the library's response, with a caveat.
    """
    return {"spectra": tuple(_fluxed(run, spectrum, response, air or ()) for spectrum in spectra)}


def _fluxed(run: Run, spectrum: Spectrum, response: Response | None, air: tuple[AirState, ...]) -> Spectrum:
    response = response or serving(spectrum.exposure)
    fluxed = on_flux_scale(run, spectrum, response, air)
    stated = run(StateFluxError, spectrum=fluxed, response=response)
    result: Spectrum = run(MatchPhotometry, spectrum=stated)
    return result


@recipe("ifucombine", inputs=("spectra",), many=("spectra",), outputs=("spectra",), steps=(Coadd,))
def ifucombine(run: Run, *, spectra: tuple[tuple[Spectrum, ...], ...]) -> dict[str, Any]:
    """Combine the exposures of a target whose quality allows it; the best one alone where none or one does."""
    first = [group[0] for group in spectra if group]
    good = [one for one in first if quality(one) <= USABLE]
    left = [one for one in first if quality(one) > USABLE]
    if left and good:
        names = ", ".join(one.exposure.name for one in left if one.exposure is not None)
        run.caveat("combine.quality", f"left out for their quality: {names}")
    chosen = tuple(good or sorted(left, key=quality)[:1])
    if len(chosen) < 2:
        return {"spectra": chosen}
    return {"spectra": (run(Coadd, spectra=chosen),)}


def quality(spectrum: Spectrum) -> float:
    """Return a spectrum's quality, 0 where nobody graded it."""
    return float(spectrum.meta.get("quality", 0))
