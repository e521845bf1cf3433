"""The detector of one exposure, resolved for its date, window and binning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from nightpipe.base.errors import BadFrameError, ConfigError
from nightpipe.instruments.facts import Facts
from nightpipe.instruments.match import matches
from nightpipe.instruments.sections import in_array, of_array
from nightpipe.instruments.spec import AmplifierSpec, DetectorSpec, InstrumentSpec
from nightpipe.instruments.values import moment, number
from nightpipe.model.detector import Amplifier, Camera, Detector, Section
from nightpipe.model.exposure import Exposure, FrameType, Header

NEUTRAL = (FrameType.BIAS, FrameType.DARK, FrameType.UNKNOWN)
"""Types that are oriented as a spectrum is, though no disperser need be in the beam."""


def choose(facts: Facts) -> DetectorSpec:
    """Return the description of the detector in use: the last whose conditions hold and whose epoch has begun."""
    day = _day(facts)
    found = [entry for entry in facts.spec.detectors if matches(entry.when, facts) and entry.valid_from <= day]
    if not found:
        known = ", ".join(entry.name for entry in facts.spec.detectors)
        raise ConfigError(
            f"a detector of {facts.spec.title} for {facts.path or 'this header'} of {day}",
            f"none of those described fits ({known})",
            "add the detector to the instrument's description",
        )
    return found[-1]


def detector(spec: InstrumentSpec, headers: Sequence[Header], shot: Exposure) -> Detector:
    """Return the detector of an exposure, its sections in pixels of the array as read.

    Raises `BadFrameError` when the array holds no light-sensitive pixel of it.
    """
    facts = Facts(spec, headers, shot.path)
    chosen = choose(facts)
    shape = array_shape(headers)
    axis, increasing = _axis(chosen, facts, shot)
    amplifiers = tuple(amp for entry in chosen.amplifiers if (amp := _amplifier(entry, facts, shot, shape)) is not None)
    if not amplifiers:
        raise BadFrameError(
            f"an array of {chosen.name} with light-sensitive pixels in {shot.path}",
            f"{shape[1]}x{shape[0]} pixels, window {shot.setup.window}",
            "leave the frame out",
        )
    bad = (_section(text, facts, shot, shape) for text in chosen.bad)
    return Detector(
        name=chosen.name,
        amplifiers=amplifiers,
        dispersion=axis,
        increasing=increasing,
        saturation=chosen.saturation,
        linear_to=chosen.linear_to,
        scale=_scale(chosen, facts, shot),
        binning=shot.setup.binning,
        scalable_dark=chosen.scalable_dark,
        bad=tuple(section for section in bad if section is not None),
        camera=_camera(chosen, shot, amplifiers, shape),
    )


def _scale(chosen: DetectorSpec, facts: Facts, shot: Exposure) -> float:
    """Return arcsec per unbinned pixel: what the header tells where the description asks it, else the description's."""
    told = facts.fact("scale")
    return chosen.scale if told is None else number(told) / shot.setup.binning[0]


def _camera(
    chosen: DetectorSpec, shot: Exposure, amplifiers: tuple[Amplifier, ...], shape: tuple[int, int]
) -> Camera | None:
    """Return how the trimmed image lies on the sky: the described centre in its own pixels."""
    spec = chosen.camera
    if spec is None:
        return None
    lows, highs, bottoms, tops = zip(*(amplifier.data for amplifier in amplifiers), strict=True)
    x0, x1, y0, y1 = min(lows), max(highs), min(bottoms), max(tops)
    centre = ((x1 - x0 - 1) / 2.0, (y1 - y0 - 1) / 2.0)
    if spec.centre is not None:
        first = shot.setup.window or (1, shape[1], 1, shape[0])
        places = zip(spec.centre, (first[0], first[2]), shot.setup.binning, (x0, y0), strict=True)
        x, y = ((place - begin + 0.5) / step - 0.5 - low for place, begin, step, low in places)
        centre = (x, y)
    return Camera(spec.rotation, spec.mirrored, centre, spec.offset, spec.radial, spec.tolerance)


def header_number(facts: Facts, card: str) -> float | None:
    """Return a positive number from a card, None where it holds none."""
    value = facts.card(card)
    try:
        found = float(value) if value is not None else 0.0
    except ValueError:
        return None
    return found if 0.0 < found < float("inf") else None


def array_shape(headers: Sequence[Header]) -> tuple[int, int]:
    """Return (ny, nx) of the first HDU with an image."""
    for header in headers:
        if int(number(header.get("NAXIS", 0))) >= 2:
            return int(number(header["NAXIS2"])), int(number(header["NAXIS1"]))
    raise BadFrameError("an image in the file", "no HDU with two axes", "leave the file out")


def _day(facts: Facts) -> date:
    try:
        return moment(facts.need("start")).date()
    except ValueError as error:
        raise facts.missing("start", "no date and time") from error


def _axis(chosen: DetectorSpec, facts: Facts, shot: Exposure) -> tuple[str, bool]:
    if not shot.setup.disperser and shot.type not in NEUTRAL:
        return "", True
    for rule in chosen.axes:
        if matches(rule.when, facts):
            return rule.dispersion, rule.increasing
    return chosen.dispersion, chosen.increasing


def _amplifier(entry: AmplifierSpec, facts: Facts, shot: Exposure, shape: tuple[int, int]) -> Amplifier | None:
    data = _section(entry.data, facts, shot, shape)
    if data is None:
        return None
    overscan = (_section(text, facts, shot, shape) for text in entry.overscan)
    gain = header_number(facts, entry.gain_card) if entry.gain_card else None
    noise = header_number(facts, entry.read_noise_card) if entry.read_noise_card else None
    return Amplifier(
        name=entry.name,
        data=data,
        overscan=tuple(section for section in overscan if section is not None),
        overscan_axis=entry.overscan_axis,
        gain=gain or entry.gain,
        read_noise=noise or entry.read_noise,
    )


def _section(text: str, facts: Facts, shot: Exposure, shape: tuple[int, int]) -> Section | None:
    if text.startswith("["):
        window = shot.setup.window or (1, shape[1], 1, shape[0])
        return in_array(text, shape, window, shot.setup.binning)
    if text.startswith("raw["):
        return of_array(text.removeprefix("raw"), shape)
    card = facts.card(text)
    try:
        return of_array(str(card), shape)
    except ValueError as error:
        raise facts.missing(text, f"{card!r}, which is no section") from error
