"""From headers to the facts of one exposure: what it is, on which detector, through which disperser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from nightpipe.instruments.detectors import choose, detector, header_number
from nightpipe.instruments.dispersers import disperser, setup_facts
from nightpipe.instruments.facts import Facts
from nightpipe.instruments.match import is_regex, lacking, matches
from nightpipe.instruments.precession import to_j2000
from nightpipe.instruments.registry import site
from nightpipe.instruments.spec import InstrumentSpec
from nightpipe.instruments.values import angle, mjd, moment, number, pair
from nightpipe.instruments.values import corners as section_corners
from nightpipe.model.exposure import Exposure, FrameType, Header, Scalar, Setup

__all__ = ["detector", "disperser", "exposure", "frame_type", "overrides", "parts", "setup"]


def exposure(
    spec: InstrumentSpec,
    headers: Sequence[Header],
    path: str,
    sha256: str = "",
    *,
    type: FrameType | None = None,  # noqa: A002
) -> Exposure:
    """Return the typed facts of one file's headers; `type` overrules the frame rules (a human decision).

    Raises `MissingCardError` for a card that the reduction cannot do without. What can be done without is left empty
    and said in the exposure's notes.
    """
    facts = Facts(spec, headers, path)
    notes: list[str] = []
    kind = type or frame_type(facts, notes)
    start = _start(facts)
    exptime = _number(facts, "exptime")
    epoch = start.year + (start.timetuple().tm_yday - 1) / 365.25
    ra, dec = _position(facts, notes, epoch)
    object_ra, object_dec = _position(facts, notes, epoch, "object_")
    configuration = setup(facts)
    return Exposure(
        path=path,
        sha256=sha256,
        instrument=spec.name,
        type=kind,
        target=facts.text("target"),
        setup=configuration,
        start=start.replace(tzinfo=None).isoformat(timespec="milliseconds"),
        mjd=mjd(start + timedelta(seconds=exptime / 2.0)),
        exptime=exptime,
        airmass=_airmass(facts, notes),
        ra=ra,
        dec=dec,
        lamps=facts.lamps,
        site=site(spec.site) if spec.site else None,
        observer=facts.text("observer"),
        notes=(*notes, *unreadable_numbers(facts)),
        object_ra=object_ra,
        object_dec=object_dec,
        band=band(spec, configuration.filter),
        temperature=_temperature(facts),
        nod=facts.text("nod"),
    )


def parts(spec: InstrumentSpec, headers: Sequence[Header], path: str = "") -> tuple[tuple[str, Sequence[Header]], ...]:
    """Return what one file is: its path and headers, or those of each of the virtual cameras that it holds."""
    facts = Facts(spec, headers, path)
    found = [part.name for part in spec.parts if matches(part.when, facts)]
    if not found:
        return ((path, headers),)
    return tuple((f"{path}#{name}", (headers[0] | {"PART": name}, *headers[1:])) for name in found)


def band(spec: InstrumentSpec, name: str) -> str:
    """Return the band of catalogues that a filter is, empty where the description does not say; case counts (r, R)."""
    return next((band for pattern, band in spec.bands.items() if name and _fits(pattern, name)), "")


def _fits(pattern: str, name: str) -> bool:
    return re.search(pattern[1:-1], name) is not None if is_regex(pattern) else pattern == name


def frame_type(facts: Facts, notes: list[str]) -> FrameType:
    """Return the type by the first rule that holds; rules that lack a card are told in `notes`.

    Raises `MissingCardError` when no rule holds and one might, had it its card.
    """
    wanting: dict[FrameType, tuple[str, ...]] = {}
    for rule in facts.spec.frames:
        if matches(rule.when, facts):
            notes += [f"may be a {kind} frame: no card {', '.join(cards)}" for kind, cards in wanting.items()]
            return rule.type
        if absent := lacking(rule.when, facts):
            wanting.setdefault(rule.type, absent)
    if wanting:
        kind, cards = next(iter(wanting.items()))
        raise facts.missing(cards[0], f"no card {', '.join(cards)}, so that it may or may not be a {kind} frame")
    return FrameType.UNKNOWN


def setup(facts: Facts) -> Setup:
    """Return the part of the configuration that calibrations must share."""
    return Setup(
        mode=facts.text("mode"),
        arm=facts.text("arm"),
        disperser=facts.text("disperser"),
        angle=facts.text("angle"),
        slit=facts.text("slit"),
        filter=facts.text("filter"),
        dichroic=facts.text("dichroic"),
        binning=_binning(facts),
        window=_window(facts),
        readout=facts.text("readout"),
    )


def overrides(spec: InstrumentSpec, shot: Exposure) -> dict[str, Scalar]:
    """Return the parameters ``Step.param`` that the instrument wants otherwise for this exposure's setup."""
    facts = setup_facts(shot.setup)
    facts |= {"type": shot.type.value, "exptime": shot.exptime, "lamps": "+".join(shot.lamps)}
    found: dict[str, Scalar] = {}
    for entry in spec.overrides:
        if matches(entry.when, facts.get):
            found |= entry.set
    return found


def unreadable_numbers(facts: Facts) -> tuple[str, ...]:
    """Return a note for each gain or read-noise card that holds no number; the description's value stands instead."""
    notes = []
    for amp in choose(facts).amplifiers:
        for card, value, unit in ((amp.gain_card, amp.gain, "e-/adu"), (amp.read_noise_card, amp.read_noise, "e-")):
            if card and header_number(facts, card) is None:
                found = "no card" if facts.card(card) is None else f"{facts.card(card)!r} is no number:"
                notes.append(f"{found} {card}; {value} {unit} of the description stands")
    return tuple(dict.fromkeys(notes))


def _start(facts: Facts) -> datetime:
    value = facts.need("start")
    try:
        return moment(value)
    except ValueError as error:
        raise facts.missing("start", f"{value!r}, which is no date and time") from error


def _number(facts: Facts, name: str) -> float:
    value = facts.need(name)
    try:
        return number(value)
    except ValueError as error:
        raise facts.missing(name, f"{value!r}, which is no number") from error


def _airmass(facts: Facts, notes: list[str]) -> float | None:
    value = facts.fact("airmass")
    if value is None:
        return None
    try:
        found = number(value)
    except ValueError:
        found = 0.0
    if not 0.99 <= found < 40.0:
        notes.append(f"airmass {value!r} is impossible and was not used")
        return None
    return max(found, 1.0)


def _temperature(facts: Facts) -> float | None:
    value = facts.fact("temperature")
    try:
        return None if value is None else number(value)
    except ValueError:
        return None


def _position(facts: Facts, notes: list[str], epoch: float, of: str = "") -> tuple[float | None, float | None]:
    ra, dec = facts.fact(f"{of}ra"), facts.fact(f"{of}dec")
    if ra is None or dec is None:
        return None, None
    entries = facts.spec.cards[f"{of}ra"][0], facts.spec.cards[f"{of}dec"][0]  # type: ignore[index]
    try:
        place = angle(ra, entries[0].unit, hours=True) % 360.0, angle(dec, entries[1].unit, hours=False)
    except ValueError:
        notes.append(f"position {ra!r}, {dec!r} cannot be read")
        return None, None
    if abs(place[1]) > 90.0:
        notes.append(f"declination {dec!r} is impossible; the position was not used")
        return None, None
    return to_j2000(*place, epoch) if entries[0].equinox == "date" else place


def _binning(facts: Facts) -> tuple[int, int]:
    value = facts.fact("binning")
    if value is None:
        return 1, 1
    try:
        return pair(value)
    except ValueError as error:
        raise facts.missing("binning", f"{value!r}, which is no pair of numbers") from error


def _window(facts: Facts) -> tuple[int, int, int, int] | None:
    value = facts.fact("window")
    if value is None:
        return None
    try:
        x1, x2, y1, y2 = section_corners(value)
    except ValueError as error:
        raise facts.missing("window", f"{value!r}, which is no section") from error
    if x1 is None or x2 is None or y1 is None or y2 is None:
        return None
    return x1, x2, y1, y2
