"""Which recipes a night needs: that of long-slit frames, on which frames, with which calibrations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, hypot, radians

from nightpipe.base.caveat import Caveat, merged
from nightpipe.engine.builder import Builder, Given
from nightpipe.engine.match import Match, Reason
from nightpipe.engine.night import Night
from nightpipe.engine.plan import Node, OutputRef, RawRef, Ref
from nightpipe.model.exposure import Exposure, FrameType
from nightpipe.recipes.kept import Made, kept, plan_noise
from nightpipe.recipes.names import filed, folder_of, label_of, published
from nightpipe.recipes.planclass import plan_class
from nightpipe.recipes.planifu import has_lenslets, lenslets, plan_lenslets, plan_unit_masters
from nightpipe.recipes.planimagemasters import plan_image_masters
from nightpipe.recipes.planimaging import plan_images

SKY = (FrameType.SCIENCE, FrameType.STANDARD)
NOD = (3.0, 120.0)
"""How far [arcsec] a target is moved along a slit between the halves of a pair."""
NOD_DAYS = 0.1


def plan(night: Night, builder: Builder) -> None:
    """Plan every exposure of the sky, spectra and images; without one, the calibrations alone."""
    plan_images(night, builder)
    plan_lenslets(night, builder)
    exposures = [one for one in night.of(*SKY) if not has_lenslets(night, one)]
    reduced = {one.path: _extracted(builder, one, exposures) for one in exposures}
    air = _air(builder, exposures, reduced)
    responses = _responses(builder, exposures, reduced, air)
    groups: dict[tuple[str, ...], list[Exposure]] = defaultdict(list)
    for exposure in exposures:
        groups[_group(exposure)].append(exposure)
    combined = {key: _target(builder, members, reduced, responses, air.get(key[0])) for key, members in groups.items()}
    spliced = _splice_arms(builder, groups, combined)
    _classified(builder, groups, combined, spliced)
    if not exposures and not lenslets(night) and not night.of(FrameType.IMAGE):
        _calibrations_alone(night, builder)


@dataclass(frozen=True)
class Calibrations:
    """The nodes that one exposure is reduced with; None where nothing serves, and then a caveat tells."""

    bias: Ref | None
    dark: Ref | None
    flat: Made | None
    noise: Ref
    bad: Ref | None
    caveats: tuple[Caveat, ...]
    reasons: tuple[Reason, ...]

    def inputs(self) -> dict[str, Ref | None]:
        """Return what the prelude takes."""
        return {"bias": self.bias, "dark": self.dark, "noise": self.noise, "bad": self.bad}


def _group(exposure: Exposure) -> tuple[str, ...]:
    setup = exposure.setup
    return (
        exposure.instrument,
        exposure.target,
        setup.arm,
        setup.disperser,
        setup.angle,
        "x".join(map(str, setup.binning)),
    )


def _raws(builder: Builder, exposures: Iterable[Exposure]) -> list[RawRef]:
    return [builder.raw(one) for one in exposures]


def calibrations(builder: Builder, exposure: Exposure) -> Calibrations:
    """Return bias, dark, flat and noise for an exposure, as its instrument's rules match them."""
    biases = builder.match(exposure, FrameType.BIAS)
    flats = builder.match(exposure, FrameType.FLAT)
    darks = builder.match(exposure, FrameType.DARK) if _has_darks(builder, exposure) else Match()
    noise, told = plan_noise(
        builder, biases.exposures, flats.exposures, exposure, _representative(builder, exposure), flats.reasons
    )
    bias, biases = _bias(builder, biases, exposure)
    dark, darks = _dark(builder, darks, bias, exposure)
    flat, flats = _flat(builder, flats, {"bias": bias, "dark": dark, "noise": noise}, exposure)
    matches = (biases, flats, darks)
    return Calibrations(
        bias,
        dark,
        flat,
        noise,
        _bad(builder, bias, dark, flat, exposure),
        merged(*(match.caveats for match in matches), told),
        tuple(reason for match in matches for reason in match.reasons),
    )


def _representative(builder: Builder, exposure: Exposure) -> Exposure:
    """Return the night's first exposure of the same setup: where the overscan alone tells the noise, one serves all."""
    alike = [
        one for one in builder.night.of(*SKY) if (one.instrument, one.setup) == (exposure.instrument, exposure.setup)
    ]
    return min([*alike, exposure], key=lambda one: (one.mjd, one.path))


def _has_darks(builder: Builder, exposure: Exposure) -> bool:
    """Tell whether anybody takes darks for this detector: most CCDs need none, and their absence is no caveat."""
    return any(one.instrument == exposure.instrument for one in builder.night.of(FrameType.DARK))


def _bias(builder: Builder, match: Match, exposure: Exposure) -> tuple[Ref | None, Match]:
    if not match.exposures:
        earlier, match = kept(builder, match, exposure, FrameType.BIAS, "bias")
        return earlier.get("bias"), match
    label = label_of("bias", exposure, match.exposures)
    before, _ = builder.kept(exposure, FrameType.BIAS, "bias")
    node = builder.node(
        "bias",
        inputs={"frames": _raws(builder, match.exposures), "earlier": [] if before is None else [before]},
        label=label,
        reasons=match.reasons,
        publish=published("bias", label),
    )
    return node["bias"], match


def _dark(builder: Builder, match: Match, bias: Ref | None, exposure: Exposure) -> tuple[Ref | None, Match]:
    if not match.exposures:
        earlier, match = kept(builder, match, exposure, FrameType.DARK, "dark")
        return earlier.get("dark"), match
    label = label_of("dark", exposure, match.exposures)
    inputs = {"frames": _raws(builder, match.exposures), "bias": bias}
    node = builder.node("dark", inputs=inputs, label=label, reasons=match.reasons, publish=published("dark", label))
    return node["dark"], match


def _flat(
    builder: Builder, match: Match, masters: dict[str, Ref | None], exposure: Exposure
) -> tuple[Made | None, Match]:
    if not match.exposures:
        earlier, match = kept(builder, match, exposure, FrameType.FLAT, "flat", "slit")
        return earlier or None, match
    label = label_of("flat", exposure, match.exposures)
    inputs: dict[str, Given] = {"frames": _raws(builder, match.exposures), **masters}
    node = builder.node(
        "flat",
        inputs=inputs,
        label=label,
        reasons=match.reasons,
        publish=published("flat", label) | published("slit", label),
    )
    return node, match


def _bad(builder: Builder, bias: Ref | None, dark: Ref | None, flat: Made | None, exposure: Exposure) -> Ref | None:
    """Return the map of bad pixels, found on what was taken tonight or is kept; None where there is nothing."""
    lamp = flat["lamp"] if isinstance(flat, Node) else None
    if bias is None and dark is None and lamp is None:
        return None
    label = label_of("badpixels", exposure, ())
    return builder.node("badpixels", inputs={"bias": bias, "dark": dark, "lamp": lamp}, label=label)["bad"]


def _arc(builder: Builder, exposure: Exposure, own: Calibrations) -> tuple[Made | None, Match]:
    match = builder.match(exposure, FrameType.ARC)
    if not match.exposures:
        earlier, match = kept(builder, match, exposure, FrameType.ARC, "wave")
        return earlier or None, match
    label = label_of("arc", exposure, match.exposures)
    inputs = own.inputs() | {
        "frames": _raws(builder, match.exposures),
        "flat": own.flat["flat"] if own.flat else None,
        "slit": own.flat["slit"] if own.flat else None,
    }
    publish = {"wave": f"calibrations/wave_{label}", "arc": f"calibrations/arc_{label}"}
    return builder.node("arc", inputs=inputs, label=label, reasons=match.reasons, publish=publish), match


def _prepared(builder: Builder, exposure: Exposure) -> tuple[Node, Calibrations]:
    own = calibrations(builder, exposure)
    inputs = own.inputs() | {"raw": builder.raw(exposure), "flat": own.flat["flat"] if own.flat else None}
    node = builder.node(
        "prepare",
        inputs=inputs,
        exposure=exposure,
        target=exposure.target,
        caveats=own.caveats,
        reasons=own.reasons,
    )
    return node, own


def _extracted(builder: Builder, exposure: Exposure, exposures: list[Exposure]) -> Node:
    prepared, own = _prepared(builder, exposure)
    arc, match = _arc(builder, exposure, own)
    inputs: dict[str, Given] = {
        "frame": prepared["frame"],
        "others": [_prepared(builder, other)[0]["frame"] for other in _repeats(builder, exposure, exposures)],
        "partner": _partner(builder, exposure, exposures),
        "wave": arc["wave"] if arc else None,
        "slit": own.flat["slit"] if own.flat else None,
    }
    return builder.node(
        "extract",
        inputs=inputs,
        exposure=exposure,
        target=exposure.target,
        caveats=match.caveats,
        reasons=match.reasons,
    )


def _partner(builder: Builder, exposure: Exposure, exposures: list[Exposure]) -> OutputRef | None:
    """Return the other half of a nodded pair, where a person named one: ``decide A Match.partner=B``.

    What looks like a pair is told and not taken: sky from the slit itself has half the variance of A - B.
    """
    name = builder.wishes.decisions.value(exposure, "Match.partner")
    if name is not None:
        return _prepared(builder, builder.night.named(str(name)))[0]["frame"]
    other = nodded(exposure, _repeats(builder, exposure, exposures))
    if other is not None and exposure.mjd < other.mjd:
        builder.note(
            f"{exposure.name} and {other.name} look like a nodded pair ({_apart(exposure, other):.0f} arcsec apart): "
            f"`nightpipe decide {exposure.name} Match.partner={other.name}` takes the sky of one from the other"
        )
    return None


def nodded(exposure: Exposure, others: Iterable[Exposure]) -> Exposure | None:
    """Return the exposure nearest in time that was taken with the target elsewhere on the slit, by the pointings."""
    pairs = [
        one for one in others if NOD[0] < _apart(exposure, one) < NOD[1] and abs(one.mjd - exposure.mjd) < NOD_DAYS
    ]
    return min(pairs, key=lambda one: abs(one.mjd - exposure.mjd), default=None)


def _apart(one: Exposure, other: Exposure) -> float:
    """Return how far two pointings lie apart [arcsec]; zero where one is not known."""
    if one.ra is None or one.dec is None or other.ra is None or other.dec is None:
        return 0.0
    east = ((one.ra - other.ra + 180.0) % 360.0 - 180.0) * cos(radians(one.dec))
    return 3600.0 * hypot(east, one.dec - other.dec)


def _repeats(builder: Builder, exposure: Exposure, exposures: list[Exposure]) -> list[Exposure]:
    """Return the other exposures of the same science target with the same setup, for the rejection of cosmic rays."""
    if exposure.type is not FrameType.SCIENCE or builder.quick:
        return []
    same = [one for one in exposures if one.setup == exposure.setup and _group(one) == _group(exposure)]
    return [one for one in same if one.path != exposure.path and 0.5 < one.exptime / max(exposure.exptime, 0.1) < 2]


def _response_key(exposure: Exposure) -> tuple[str, ...]:
    setup = exposure.setup
    return (exposure.instrument, setup.arm, setup.disperser, setup.angle, setup.dichroic, setup.filter)


def _responses(
    builder: Builder, exposures: list[Exposure], reduced: dict[str, Node], air: dict[str, OutputRef]
) -> dict[tuple[str, ...], OutputRef]:
    """Return the response of each setup that has a standard."""
    standards: dict[tuple[str, ...], list[Exposure]] = defaultdict(list)
    for exposure in exposures:
        if exposure.type is FrameType.STANDARD:
            standards[_response_key(exposure)].append(exposure)
    return {key: _response(builder, members, reduced, air.get(key[0])) for key, members in standards.items()}


def _response(builder: Builder, members: list[Exposure], reduced: dict[str, Node], air: OutputRef | None) -> OutputRef:
    label = label_of("response", members[0], tuple(members))
    node = builder.node(
        "sensitivity",
        inputs={"spectra": [reduced[one.path]["spectra"] for one in members], "air": air},
        label=label,
        publish=published("response", label),
    )
    return node["response"]


def _air(builder: Builder, exposures: list[Exposure], reduced: dict[str, Node]) -> dict[str, OutputRef]:
    """Return what the standards of each instrument tell of the air."""
    stars: dict[str, list[Exposure]] = defaultdict(list)
    for exposure in exposures:
        if exposure.type is FrameType.STANDARD:
            stars[exposure.instrument].append(exposure)
    return {
        instrument: builder.node(
            "air",
            inputs={"spectra": [reduced[one.path]["spectra"] for one in members]},
            label=label_of("air", members[0], tuple(members)),
        )["air"]
        for instrument, members in stars.items()
    }


def _nearest_response(
    builder: Builder, exposure: Exposure, responses: dict[tuple[str, ...], OutputRef]
) -> tuple[Ref | None, tuple[Caveat, ...]]:
    """Return the response of the exposure's setup.

    One taken through another filter serves with a caveat; where the night has none, one of an earlier night does.
    """
    key = _response_key(exposure)
    if key in responses:
        return responses[key], ()
    alike = [other for other in responses if other[:-1] == key[:-1]]
    if not alike:
        earlier, match = builder.kept(exposure, FrameType.STANDARD, "response")
        return earlier, match.caveats
    text = f"response taken through filter {alike[0][-1] or 'none'}, the exposure through {key[-1] or 'none'}"
    return responses[alike[0]], (Caveat("response.relaxed_filter", text),)


def _target(
    builder: Builder,
    members: list[Exposure],
    reduced: dict[str, Node],
    responses: dict[tuple[str, ...], OutputRef],
    air: OutputRef | None,
) -> Node:
    """Calibrate each exposure of a target and combine them."""
    calibrated = []
    folder = folder_of(members[0])
    for exposure in members:
        extracted = reduced[exposure.path]
        response, caveats = _nearest_response(builder, exposure, responses)
        node = builder.node(
            "calibrate",
            inputs={name: extracted[name] for name in ("spectra", "frame", "sky", "wave")}
            | {"response": response, "air": air},
            exposure=exposure,
            target=exposure.target,
            caveats=caveats,
            publish={"image": f"{folder}/{exposure.name}_2d", "spectra": f"{folder}/{exposure.name}_spectra"},
        )
        calibrated.append(node["spectra"])
    setup = members[0].setup
    label = "_".join(part for part in (folder, setup.arm, filed(setup.disperser)) if part)
    return builder.node(
        "combine",
        inputs={"spectra": calibrated},
        target=members[0].target,
        label=label,
        publish={"spectra": f"{folder}/{label}"},
    )


def _splice_arms(
    builder: Builder, groups: dict[tuple[str, ...], list[Exposure]], combined: dict[tuple[str, ...], Node]
) -> dict[tuple[str, str], Node]:
    """Join the arms of a target that was seen through several, where each has one setup and a response."""
    spliced = {}
    arms: dict[tuple[str, str], dict[str, list[tuple[str, ...]]]] = defaultdict(lambda: defaultdict(list))
    for key in groups:
        instrument, target, arm = key[:3]
        arms[instrument, target][arm].append(key)
    for (instrument, target), by_arm in arms.items():
        if len(by_arm) < 2 or any(len(keys) > 1 for keys in by_arm.values()):
            continue
        keys = [keys[0] for keys in by_arm.values()]
        folder = folder_of(groups[keys[0]][0])
        spliced[instrument, target] = builder.node(
            "splice",
            inputs={"arms": [combined[key]["spectra"] for key in keys]},
            target=target,
            label=f"{folder}_spliced",
            publish={"spectra": f"{folder}/{folder}_spliced"},
        )
    return spliced


def _classified(
    builder: Builder,
    groups: dict[tuple[str, ...], list[Exposure]],
    combined: dict[tuple[str, ...], Node],
    spliced: dict[tuple[str, str], Node],
) -> None:
    """Classify each science target's final spectra: the spliced ones, else those of each setup."""
    final: dict[int, tuple[Node, Exposure]] = {}
    for key, members in groups.items():
        if members[0].type is FrameType.SCIENCE:
            node = spliced.get((key[0], key[1]), combined[key])
            final[id(node)] = node, members[0]
    for node, exposure in final.values():
        plan_class(builder, node["spectra"], exposure, node.label)


def _calibrations_alone(night: Night, builder: Builder) -> None:
    """A night without the sky: the masters and wavelength solutions are what a person wants to see."""
    cameras = [one for one in night.exposures if night.frame(one).spec.kind == "images"]
    plan_image_masters(builder, cameras)
    units = plan_unit_masters(night, builder)
    for arc in night.of(FrameType.ARC):
        if arc not in units:
            _arc(builder, arc, calibrations(builder, arc))
    for flat in night.of(FrameType.FLAT):
        if flat not in cameras and flat not in units:
            calibrations(builder, flat)
    for bias in night.of(FrameType.BIAS):
        _bias(builder, builder.match(bias, FrameType.BIAS), bias)
