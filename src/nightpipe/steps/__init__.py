"""Steps: each changes the data for one scientific reason, and is its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from nightpipe.base.errors import ConfigError
from nightpipe.base.step import Step

STEPS: Mapping[str, str] = MappingProxyType(
    {
        "BadPixels": "detector.badpixels",
        "MaskBad": "detector.badpixels",
        "Bias": "detector.bias",
        "CompareBias": "detector.bias",
        "CombineFrames": "detector.combine",
        "Cosmics": "detector.cosmics",
        "RejectRepeats": "detector.cosmics",
        "Dark": "detector.dark",
        "NormaliseFlat": "detector.flat",
        "FlatField": "detector.flat",
        "Electrons": "detector.gain",
        "MaskStars": "detector.imageflat",
        "NormaliseImageFlat": "detector.imageflat",
        "Linearity": "detector.linearity",
        "CheckNoise": "detector.noisecheck",
        "MeasureNoise": "detector.noise",
        "Overscan": "detector.overscan",
        "SelectFlats": "detector.select",
        "FindSpaxels": "spaxels.find",
        "MapSpaxels": "spaxels.wavemap",
        "FlatSpaxels": "spaxels.flat",
        "Boxcar": "spectra.boxcar",
        "Coadd": "spectra.coadd",
        "FindSources": "spectra.find",
        "PlaceSource": "spectra.find",
        "Flexure": "spectra.flexure",
        "NominalWave": "spectra.nominal",
        "Optimal": "spectra.optimal",
        "FitProfile": "spectra.profile",
        "SubtractSky": "spectra.sky",
        "NodSky": "spectra.sky",
        "Splice": "spectra.splice",
        "FindSlit": "spectra.trace",
        "WholeSlit": "spectra.trace",
        "Identify": "spectra.wavecal",
        "MapWavelength": "spectra.wavemap",
        "ApplySpaxelFlat": "spaxels.response",
        "ExtractSpaxels": "spaxels.extract",
        "FlexSpaxels": "spaxels.flexure",
        "GridCube": "spaxels.grid",
        "CosmicsImage": "imaging.background",
        "SubtractBackground": "imaging.background",
        "ReferenceStars": "imaging.stars",
        "Detect": "imaging.detect",
        "MapSegments": "imaging.segments",
        "StackImages": "imaging.stack",
        "SolveAstrometry": "imaging.solve",
        "AlignFrames": "imaging.align",
        "Photometer": "imaging.photometry",
        "ModelPsf": "imaging.psf",
        "FitZeroPoint": "imaging.zeropoint",
        "NewSources": "imaging.newsources",
        "Subtract": "imaging.subtract",
        "FindTransients": "imaging.transients",
        "BackgroundSky": "imaging.skyframe",
        "FramesSky": "imaging.skyframe",
        "RemoveSky": "imaging.skyframe",
        "BuildFringe": "imaging.fringe",
        "Defringe": "imaging.fringe",
        "ForcedPhotometry": "imaging.forced",
        "ForcedPlaces": "imaging.places",
        "ChooseReference": "imaging.reference",
        "MakeColour": "imaging.colour",
        "RankSources": "imaging.regions",
        "GatherLightCurve": "imaging.lightcurve",
        "ApertureSpectrum": "spaxels.aperture",
        "ChooseScene": "spaxels.choose",
        "FitScene": "spaxels.scene",
        "ForcedSpectrum": "spaxels.forcedspectrum",
        "DrawFinder": "spaxels.place",
        "MatchNoise": "imaging.background",
        "PlaceTarget": "spaxels.place",
        "GradeSpectrum": "spaxels.grade",
        "LocateTarget": "spaxels.locate",
        "SelectSpaxels": "spaxels.select",
        "SeparateContours": "spaxels.separate",
        "Barycentre": "post.barycentre",
        "Classify": "post.classify",
        "FluxCalibrate": "post.fluxcal",
        "FluxCalibrateImage": "post.fluxcal",
        "Sensitivity": "post.sensitivity",
        "FitAir": "post.telluric",
        "CorrectTelluric": "post.telluric",
        "StateFluxError": "post.photometry",
        "MatchPhotometry": "post.photometry",
    }
)
"""The table of all steps: the name by which users set parameters, and the module below this one that holds it."""


def find_step(name: str) -> type[Step]:
    """Return the step called `name`, importing only its own module.

    Raises
    ------
    ConfigError
        No step has this name.
    """
    if name not in STEPS:
        raise ConfigError("a step's name", name, f"one of {', '.join(STEPS)}")
    step: type[Step] = getattr(import_module(f"{__name__}.{STEPS[name]}"), name)
    return step
