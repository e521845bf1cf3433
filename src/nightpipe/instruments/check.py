"""What an instrument's description makes of one file: for people who mend headers or write descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import NightpipeError
from nightpipe.instruments.facts import Facts
from nightpipe.instruments.match import matches
from nightpipe.instruments.registry import recognise
from nightpipe.instruments.resolve import detector, disperser, exposure, parts
from nightpipe.instruments.spec import InstrumentSpec
from nightpipe.model.detector import Amplifier, Detector, Section
from nightpipe.model.exposure import Exposure, FrameType, Header


@dataclass(frozen=True)
class FileCheck:
    """The findings on one file: what was understood, fact by fact, and what is missing or odd."""

    path: str
    instrument: str
    type: str
    understood: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()


def check(headers: Sequence[Header], path: str, data: NDArray[Any] | None = None) -> FileCheck:
    """Return how the headers of a file are understood, and with `data` [adu] whether its levels are sane."""
    try:
        spec = recognise(headers, path)
    except NightpipeError as error:
        return FileCheck(path, "unknown", "", problems=(str(error),))
    path, headers = parts(spec, headers, path)[0]
    facts = Facts(spec, headers, path)
    try:
        shot = exposure(spec, headers, path)
        camera = detector(spec, headers, shot)
        said = (*_told(spec, facts, shot), *_sections(camera), *_dispersion(spec, shot, camera))
    except NightpipeError as error:
        return FileCheck(path, spec.name, "", _told_facts(facts), (str(error),))
    levels, odd = ((), ()) if data is None else _levels(camera, shot, data)
    return FileCheck(path, spec.name, shot.type.value, (*said, *levels), (*_silent(facts, shot), *shot.notes, *odd))


def _told(spec: InstrumentSpec, facts: Facts, shot: Exposure) -> tuple[tuple[str, str], ...]:
    recognised = next(rule for rule in spec.recognise if matches(rule, facts.card))
    rule = next((rule for rule in spec.frames if matches(rule.when, facts)), None)
    why = "no rule holds" if rule is None else _words(rule.when)
    return (
        ("recognised by", _words(recognised)),
        ("type", f"{shot.type.value}: {why}"),
        *_told_facts(facts),
        ("lamps", "+".join(shot.lamps) or "none"),
        ("mid-exposure", f"MJD {shot.mjd:.5f}"),
    )


def _told_facts(facts: Facts) -> tuple[tuple[str, str], ...]:
    return tuple((name, facts.text(name)) for name in facts.spec.cards if facts.text(name))


def _words(when: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {getattr(value, '__dict__', value)}" for name, value in when.items())


def _sections(camera: Detector) -> tuple[tuple[str, str], ...]:
    told = [("detector", f"{camera.name}, dispersion along {camera.dispersion or 'none'}, binning {camera.binning}")]
    for amp in camera.amplifiers:
        overscan = "; ".join(map(fits_section, amp.overscan)) or "none"
        told.append((f"amplifier {amp.name}", f"data {fits_section(amp.data)}, overscan {overscan}"))
    return tuple(told)


def fits_section(section: Section) -> str:
    """Return a section as FITS writes it: one-based, inclusive."""
    x0, x1, y0, y1 = section
    return f"[{x0 + 1}:{x1},{y0 + 1}:{y1}]"


def _dispersion(spec: InstrumentSpec, shot: Exposure, camera: Detector) -> tuple[tuple[str, str], ...]:
    found = disperser(spec, shot, camera)
    if found is None:
        return ()
    text = f"{found.dispersion:.3f} A/pixel, centre {found.centre:.0f} +- {found.centre_tolerance:.0f} A"
    return (("disperser", f"{found.name}: {text}, lines {found.fwhm:.1f} A wide"),)


def _silent(facts: Facts, shot: Exposure) -> tuple[str, ...]:
    """Return a sentence for each fact that matters for this type of frame and that no card tells."""
    wanted = ["target", "ra", "dec", "airmass"] if shot.type in (FrameType.SCIENCE, FrameType.STANDARD) else []
    spectral = shot.type in (FrameType.SCIENCE, FrameType.STANDARD, FrameType.ARC, FrameType.FLAT)
    wanted += ["disperser", *(["slit"] if facts.spec.kind != "lenslets" else [])] if spectral else []
    wanted += [name for name in ("binning", "window") if name in facts.spec.cards]
    return tuple(f"{name}: {facts.cards_of(name)} has no value" for name in wanted if not facts.text(name))


def _levels(camera: Detector, shot: Exposure, data: NDArray[Any]) -> tuple[Any, tuple[str, ...]]:
    told: list[tuple[str, str]] = []
    odd: list[str] = []
    for amp in camera.amplifiers:
        text, faults = _amplifier_levels(amp, camera, shot, data)
        told.append((f"levels of amplifier {amp.name}", text))
        odd += [f"amplifier {amp.name}: {fault}" for fault in faults]
    return tuple(told), tuple(odd)


def _amplifier_levels(
    amp: Amplifier, camera: Detector, shot: Exposure, data: NDArray[Any]
) -> tuple[str, tuple[str, ...]]:
    light = _cut(data, amp.data)
    if not amp.overscan:
        return f"data {np.nanmedian(light):.0f} adu, no overscan", ()
    dark = np.concatenate([_cut(data, section).ravel() for section in amp.overscan])
    pedestal, noise = float(np.nanmedian(dark)), _scatter(amp, data)
    text = f"data {np.nanmedian(light):.0f} adu, overscan {pedestal:.0f} +- {noise:.1f} adu ({noise * amp.gain:.1f} e-)"
    full = float(np.mean(light - pedestal > camera.saturation))
    return text, tuple(_faults(amp, shot, float(np.nanmedian(light)) - pedestal, noise, full))


def _faults(amp: Amplifier, shot: Exposure, signal: float, noise: float, full: float) -> list[str]:
    faults = []
    if not 0.5 < noise * amp.gain / amp.read_noise < 2.0:
        faults.append(f"the overscan scatters by {noise * amp.gain:.1f} e-, {amp.read_noise:.1f} e- are described")
    if signal < -5.0 * noise:
        faults.append(f"the data lie {-signal:.0f} adu below the overscan: light in the overscan, or a wrong section")
    if shot.type is FrameType.BIAS and abs(signal) > 10.0 * noise:
        faults.append(f"a bias frame {signal:+.0f} adu off its overscan")
    if shot.type is FrameType.FLAT and signal < 10.0 * noise:
        faults.append("a flat without light")
    if full > 0.01:
        faults.append(f"{100.0 * full:.1f} per cent of the pixels are saturated")
    return faults


def _scatter(amp: Amplifier, data: NDArray[Any]) -> float:
    """Return the scatter of neighbouring overscan pixels [adu]; differences are blind to a slope."""
    steps = [np.diff(_cut(data, section), axis=1).ravel() for section in amp.overscan]
    joined = np.concatenate(steps)
    low, high = np.nanpercentile(joined, (15.87, 84.13))
    return float(high - low) / 2.0 / float(np.sqrt(2.0))


def _cut(data: NDArray[Any], section: Section) -> NDArray[Any]:
    x0, x1, y0, y1 = section
    return data[y0:y1, x0:x1]
