"""Association: which calibrations serve an exposure, and why each candidate was taken or refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import ConfigError
from nightpipe.engine.decisions import Decisions
from nightpipe.engine.night import Night
from nightpipe.instruments.spec import Association
from nightpipe.model.exposure import Exposure, FrameType

SEQUENCE = 0.25
"""How far apart [hour] frames of one sequence lie at most: lamps that are lit one after the other."""


@dataclass(frozen=True)
class Reason:
    """Why one candidate calibration was taken or refused."""

    kind: str
    candidate: str
    taken: bool
    text: str


@dataclass(frozen=True)
class Match:
    """The calibrations of one type for one exposure: none is a possible answer, and then a caveat says so."""

    exposures: tuple[Exposure, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    reasons: tuple[Reason, ...] = ()


def associate(
    night: Night, exposure: Exposure, kind: FrameType, decisions: Decisions | None = None, also: Sequence[str] = ()
) -> Match:
    """Return the frames of type `kind` that serve `exposure` by its instrument's rule, or by a decision.

    `also` names facts beyond the rule's keys that must agree (``exptime`` for darks). Keys of the rule's `relax` are
    given up one after the other, each with a caveat; then age and nearness in time decide. A calibration frame
    belongs to its own set.
    """
    candidates = list(night.of(kind))
    wish = None if decisions is None else decisions.value(exposure, f"Match.{kind.value}")
    if wish is not None:
        return _wished(exposure, kind, candidates, wish)
    rule = night.frame(exposure).spec.calibrations.get(kind)
    if rule is None:
        return Match(caveats=(Caveat(f"{kind.value}.no_rule", f"the instrument has no rule for {kind.value} frames"),))
    return associate_by_rule(exposure, kind, candidates, rule, also)


def _wished(exposure: Exposure, kind: FrameType, candidates: list[Exposure], wish: Any) -> Match:
    names = [str(name) for name in (wish if isinstance(wish, list) else [wish])]
    names = [name for name in names if name.lower() != "none"]
    known = {one.name: one for one in candidates}
    if missing := [name for name in names if name not in known]:
        found = ", ".join(sorted(known)) or f"no {kind.value} at all"
        raise ConfigError(
            f"Match.{kind.value} of {exposure.name}: {', '.join(missing)}",
            f"the night has {found}",
            "mend the decision",
        )
    text = "chosen by decision"
    reasons = [
        Reason(kind.value, one.name, one.name in names, text if one.name in names else f"not {text}")
        for one in candidates
    ]
    return Match(tuple(known[name] for name in names), () if names else (_missing(exposure, kind),), tuple(reasons))


def associate_by_rule(
    exposure: Exposure, kind: FrameType, candidates: list[Exposure], rule: Association, also: Sequence[str] = ()
) -> Match:
    """Return which of `candidates` serve by an instrument's rule, with the caveats of what was given up, and why."""
    must = ("instrument", *rule.match, *also)
    refused = {one.path: text for one in candidates if (text := _refusal(exposure, one, must, rule))}
    fit = [one for one in candidates if one.path not in refused]
    alike, given_up = _relaxed(exposure, fit, rule.relax)
    refused |= {one.path: _difference(exposure, one, rule.relax[len(given_up) :]) for one in fit if one not in alike}
    taken = _in_time(exposure, alike, rule)
    refused |= {one.path: f"{age(exposure, one)}, another lies nearer" for one in alike if one not in taken}
    reasons = [_reason(exposure, kind, one, refused.get(one.path, "")) for one in candidates]
    return Match(tuple(taken), tuple(_caveats(exposure, kind, taken, given_up, rule)), tuple(reasons))


def _refusal(exposure: Exposure, candidate: Exposure, must: Sequence[str], rule: Association) -> str:
    if text := _difference(exposure, candidate, must):
        return text
    if None not in (one := candidate.temperature, two := exposure.temperature) and abs(one - two) > rule.temperature:  # type: ignore[operator]
        return f"detector at {one:.1f} C, wanted {two:.1f} C"
    late = _days(exposure, candidate) > rule.max_age
    return f"{age(exposure, candidate)}, older than {rule.max_age:g} d" if late else ""


def _relaxed(exposure: Exposure, fit: list[Exposure], relax: Sequence[str]) -> tuple[list[Exposure], list[str]]:
    """Return the candidates alike in as many `relax` keys as possible, and the keys given up for it."""
    for given_up in range(len(relax) + 1):
        alike = [one for one in fit if not _difference(exposure, one, relax[given_up:])]
        if alike:
            return alike, list(relax[:given_up])
    return [], []


def _in_time(exposure: Exposure, alike: list[Exposure], rule: Association) -> list[Exposure]:
    """Return the set that holds the frame nearest in time: one night's, or for `nearest` rules one sequence."""
    if not alike:
        return []
    nearest = min(alike, key=lambda one: (_days(exposure, one), one.mjd))
    span = SEQUENCE if rule.nearest else rule.group
    return [one for one in alike if abs(one.mjd - nearest.mjd) * 24.0 <= span]


def _caveats(
    exposure: Exposure, kind: FrameType, taken: list[Exposure], given_up: list[str], rule: Association
) -> Iterable[Caveat]:
    if not taken:
        yield _missing(exposure, kind)
        return
    for key in given_up:
        if any(fact(one, key) != fact(exposure, key) for one in taken):
            text = f"{kind.value} taken with {key} {shown(taken[0], key)}, the exposure with {shown(exposure, key)}"
            yield Caveat(f"{kind.value}.relaxed_{key}", text)
    if len(taken) < rule.least:
        yield Caveat(f"{kind.value}.few", f"only {len(taken)} {kind.value} frames, {rule.least} make a good master")


def _missing(exposure: Exposure, kind: FrameType) -> Caveat:
    return Caveat(f"{kind.value}.missing", f"no {kind.value} serves {exposure.setup.label() or exposure.name}")


def _reason(exposure: Exposure, kind: FrameType, candidate: Exposure, refusal: str) -> Reason:
    return Reason(kind.value, candidate.name, not refusal, refusal or f"same setup, {age(exposure, candidate)}")


def fact(exposure: Exposure, key: str) -> Any:
    """Return a fact by which exposures are compared: of the setup, else of the exposure itself; texts folded."""
    value = getattr(exposure.setup, key) if hasattr(exposure.setup, key) else getattr(exposure, key)
    if isinstance(value, str):
        return value.strip().casefold()
    return round(value, 3) if isinstance(value, float) else value


def shown(exposure: Exposure, key: str) -> str:
    """Return a fact as text for people."""
    value = getattr(exposure.setup, key) if hasattr(exposure.setup, key) else getattr(exposure, key)
    return "x".join(map(str, value)) if key == "binning" else str(value) if value not in ("", None) else "none"


def _difference(exposure: Exposure, candidate: Exposure, keys: Sequence[str]) -> str:
    differ = [key for key in keys if fact(exposure, key) != fact(candidate, key)]
    return ", ".join(f"{key} {shown(candidate, key)}, wanted {shown(exposure, key)}" for key in differ)


def _days(exposure: Exposure, candidate: Exposure) -> float:
    return abs(exposure.mjd - candidate.mjd)


def age(exposure: Exposure, candidate: Exposure) -> str:
    """Return how far apart two exposures were taken, as people say it."""
    days = candidate.mjd - exposure.mjd
    amount = (
        f"{abs(days):.1f} d"
        if abs(days) >= 2
        else f"{abs(days) * 24:.1f} h"
        if abs(days) * 24 >= 1
        else f"{abs(days) * 1440:.0f} min"
    )
    return f"{amount} {'later' if days > 0 else 'earlier'}"
