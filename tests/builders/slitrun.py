"""A built slit taken through sky, objects, profiles and extraction, as the recipe does it."""

from __future__ import annotations

from dataclasses import dataclass

from builders.slit import Built, Scene, build
from nightpipe.model.spectrum import Profile, SkyModel, Source, Spectrum
from nightpipe.steps.spectra.find import FindSources
from nightpipe.steps.spectra.optimal import Optimal
from nightpipe.steps.spectra.profile import FitProfile
from nightpipe.steps.spectra.sky import SubtractSky


@dataclass(frozen=True)
class Reduced:
    built: Built
    sky: SkyModel
    sources: tuple[Source, ...]
    profiles: tuple[Profile, ...]
    spectra: tuple[Spectrum, ...]


def reduced(scene: Scene, seed: int = 1) -> Reduced:
    """Return the reduction of a scene with default parameters."""
    built = build(scene, seed)
    sky, sources = searched(built)
    return extracted(built, sky, sources)


def searched(built: Built, finder: FindSources | None = None) -> tuple[SkyModel, tuple[Source, ...]]:
    """Return the sky and the objects after two rounds."""
    sources: tuple[Source, ...] = ()
    finder = finder or FindSources()
    for _ in range(2):
        sky = SubtractSky().run(frame=built.frame, wave=built.wave, slit=built.slit, sources=sources)
        sources = finder.run(frame=built.frame, sky=sky, wave=built.wave, slit=built.slit)
    return sky, sources


def extracted(built: Built, sky: SkyModel, sources: tuple[Source, ...]) -> Reduced:
    """Return the spectra of given objects."""
    frame = built.frame
    profiles = tuple(
        FitProfile().run(frame=frame, sky=sky, source=s, slit=built.slit, neighbours=sources) for s in sources
    )
    spectra = tuple(
        Optimal().run(
            frame=frame, sky=sky, profile=p, source=s, wave=built.wave, others=tuple(q for q in profiles if q is not p)
        )
        for p, s in zip(profiles, sources, strict=True)
    )
    return Reduced(built, sky, sources, profiles, spectra)
