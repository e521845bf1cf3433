"""Long-slit spectroscopy: arc to wavelength map, clean frame to extracted spectra."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from nightpipe.base.errors import DataError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.references import line_list, sky_lines
from nightpipe.model.detector import Noise
from nightpipe.model.exposure import FrameType
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.model.spectrum import Profile, SkyModel, Source, Spectrum
from nightpipe.model.traces import TraceSet
from nightpipe.model.wave import WaveSolution
from nightpipe.qc.wave import sky_offsets
from nightpipe.recipes.detector import PRELUDE, clean
from nightpipe.steps.detector.badpixels import MaskBad
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.detector.cosmics import RejectRepeats
from nightpipe.steps.detector.flat import FlatField
from nightpipe.steps.spectra.find import FindSources, PlaceSource
from nightpipe.steps.spectra.flexure import Flexure
from nightpipe.steps.spectra.nominal import NominalWave
from nightpipe.steps.spectra.optimal import Optimal
from nightpipe.steps.spectra.profile import FitProfile
from nightpipe.steps.spectra.sky import NodSky, SubtractSky
from nightpipe.steps.spectra.trace import WholeSlit
from nightpipe.steps.spectra.wavecal import Identify
from nightpipe.steps.spectra.wavemap import MapWavelength

PASSES = 3
"""How often sky and objects are told apart at most; two suffice where the first objects are the last."""


@recipe(
    "arc",
    inputs=("frames", "bias", "dark", "noise", "flat", "slit", "bad"),
    many=("frames",),
    optional=("bias", "dark", "flat", "slit", "bad"),
    outputs=("wave", "arc"),
    steps=(*PRELUDE, MaskBad, CombineFrames, FlatField, WholeSlit, Identify, MapWavelength),
    data=("lines",),
    defaults=(("CombineFrames[arc].reject", "none"),),
)
def arc(
    run: Run,
    *,
    frames: tuple[RawFrame, ...],
    bias: Frame | None,
    dark: Frame | None,
    noise: Noise,
    flat: Frame | None,
    slit: TraceSet | None,
    bad: Frame | None,
) -> dict[str, Any]:
    """Identify the lamp's lines without a human and map wavelength over the native pixels."""
    cleaned = tuple(clean(run, raw, bias, dark, noise, bad) for raw in frames)
    frame = cleaned[0] if len(cleaned) == 1 else run(CombineFrames, label="arc", frames=cleaned)
    if flat is not None:
        frame = run(FlatField, frame=frame, flat=flat)
    slit = slit or run(WholeSlit, frame=frame)
    lamps = tuple(sorted({lamp for raw in frames for lamp in raw.exposure.lamps}))
    wave = run(Identify, arc=frame, slit=slit, lines=line_list(lamps))
    wave = run(MapWavelength, arc=frame, slit=slit, wave=wave)
    run.metric("wave_rms_px", wave.rms_px, "pixel")
    run.metric("wave_loo_px", wave.loo_px, "pixel")
    run.metric("wave_lines", int(wave.lines.used.sum()))
    return {"wave": wave, "arc": frame}


@recipe(
    "extract",
    inputs=("frame", "others", "partner", "wave", "slit"),
    many=("others",),
    optional=("partner", "wave", "slit"),
    outputs=("frame", "slit", "wave", "sky", "sources", "profiles", "spectra"),
    steps=(
        RejectRepeats,
        WholeSlit,
        NominalWave,
        Flexure,
        SubtractSky,
        NodSky,
        FindSources,
        PlaceSource,
        FitProfile,
        Optimal,
    ),
    data=("lines",),
    defaults=(("FindSources[standard].brightest_only", True),),
)
def extract(
    run: Run,
    *,
    frame: Frame,
    others: tuple[Frame, ...],
    partner: Frame | None,
    wave: WaveSolution | None,
    slit: TraceSet | None,
) -> dict[str, Any]:
    """Correct the flexure, model the sky, find the objects and extract them, all on native pixels."""
    if others:
        frame = run(RejectRepeats, frame=frame, others=others)
    slit = slit or run(WholeSlit, frame=frame)
    wave = wave or run(NominalWave, frame=frame)
    wave = run(Flexure, frame=frame, wave=wave, slit=slit, lines=sky_lines())
    sky, sources = _sky_and_sources(run, frame, partner, wave, slit)
    sources = _with_asked(run, frame, sky, wave, slit, sources)
    profiles: tuple[Profile, ...] = tuple(
        run(FitProfile, frame=frame, sky=sky, source=source, slit=slit, neighbours=sources) for source in sources
    )
    spectra = tuple(_extract_one(run, frame, sky, profiles, k, source, wave) for k, source in enumerate(sources))
    _judge(run, frame, wave, slit, sky, sources)
    return {
        "frame": frame,
        "slit": slit,
        "wave": wave,
        "sky": sky,
        "sources": sources,
        "profiles": profiles,
        "spectra": spectra,
    }


def _judge(
    run: Run, frame: Frame, wave: WaveSolution, slit: TraceSet, sky: SkyModel, sources: tuple[Source, ...]
) -> None:
    """Record the numbers that tell how good sky and wavelengths are; a slash in a name makes a table of it."""
    run.metric("sky_chi", sky.chi)
    run.metric("sources", len(sources))
    for one in sky_offsets(frame, wave, slit, sky_lines()):
        place = f"{one.line:.0f}/{one.row:.0f}"
        run.metric(f"sky_offset_angstrom/{place}", one.offset, "Angstrom")
        run.metric(f"sky_offset_sigma/{place}", one.sigma, "Angstrom")


def _sky_and_sources(
    run: Run, frame: Frame, partner: Frame | None, wave: WaveSolution, slit: TraceSet
) -> tuple[SkyModel, tuple[Source, ...]]:
    label = "standard" if frame.exposure is not None and frame.exposure.type is FrameType.STANDARD else "science"
    if partner is not None:
        sky = run(NodSky, frame=frame, partner=partner, wave=wave, slit=slit)
        return sky, run(FindSources, label=label, frame=frame, sky=sky, wave=wave, slit=slit)
    sky = run(SubtractSky, frame=frame, wave=wave, slit=slit, sources=())
    found = run(FindSources, label=label, frame=frame, sky=sky, wave=wave, slit=slit)
    for _ in range(PASSES - 1):  # the first model was made before anyone knew where the objects are
        sources, before = found, sky
        sky = run(SubtractSky, frame=frame, wave=wave, slit=slit, sources=sources, before=before)
        if sky is before:
            break
        found = run(FindSources, label=label, frame=frame, sky=sky, wave=wave, slit=slit)
        if _settled(sources, found):
            break
    return sky, found


def _with_asked(
    run: Run, frame: Frame, sky: SkyModel, wave: WaveSolution, slit: TraceSet, found: tuple[Source, ...]
) -> tuple[Source, ...]:
    """Return the sources with the one at the coordinate that `PlaceSource.ra` and `dec` name, as the last of them.

    It takes the place of what was found there. Where it cannot be placed a caveat says why, and the rest goes on.
    """
    asked = cast("PlaceSource", run.step(PlaceSource))
    if asked.ra is None and asked.dec is None:
        return found
    try:
        placed = run(PlaceSource, frame=frame, sky=sky, wave=wave, slit=slit, reference=found[0] if found else None)
    except DataError as error:
        run.caveat("source.not_placed", f"no extraction at the coordinate that was asked for: {error}")
        return found
    others = tuple(one for one in found if abs(one.y - placed.y) > 0.5 * one.fwhm)
    return tuple(replace(one, name=f"OBJ{k}") for k, one in enumerate((*others, placed), start=1))


def _settled(before: tuple[Source, ...], after: tuple[Source, ...]) -> bool:
    """Tell whether the sky was made with these objects masked already: the same ones, to half their width."""
    near = (abs(one.y - other.y) < 0.5 * one.fwhm for one, other in zip(before, after, strict=False))
    return len(before) == len(after) and all(near)


def _extract_one(
    run: Run, frame: Frame, sky: SkyModel, profiles: tuple[Profile, ...], k: int, source: Source, wave: WaveSolution
) -> Spectrum:
    others = tuple(other for j, other in enumerate(profiles) if j != k and _touch(profiles[k], other))
    spectrum: Spectrum = run(
        Optimal, frame=frame, sky=sky, profile=profiles[k], source=source, wave=wave, others=others
    )
    disperser = frame.disperser
    facts = {
        "second_order_from": disperser.second_order_from if disperser else 0.0,
        "fringes_from": disperser.fringes_from if disperser else 0.0,
    }
    return spectrum.but(meta=spectrum.meta | facts, caveats=wave.caveats)


def _touch(one: Profile, other: Profile) -> bool:
    """Tell whether two profiles share pixels, so that their fluxes must be fitted together."""
    return bool(np.any((one.values > 0) & (other.values > 0)))
