"""Which recipes a night of a lenslet unit needs: calibrations by set, exposures one by one, targets at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import PlanError
from nightpipe.engine.builder import Builder, Given
from nightpipe.engine.match import Match, Reason, age, associate
from nightpipe.engine.night import Night
from nightpipe.engine.plan import Node, OutputRef, Ref
from nightpipe.model.exposure import Exposure, FrameType
from nightpipe.recipes.kept import kept, plan_noise
from nightpipe.recipes.names import folder_of, label_of, published
from nightpipe.recipes.planclass import plan_class

SKY = (FrameType.SCIENCE, FrameType.STANDARD)
NIGHT = 0.6
"""Calibrations farther away [day] belong to another night."""
GUIDER = "sedm_rc"


@dataclass(frozen=True)
class Masters:
    """The nodes of one set of calibrations: where the spectra lie, their wavelengths, the lenslets' response."""

    spaxels: Ref
    waves: Ref
    flat: Ref
    caveats: tuple[Caveat, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Detector:
    """The nodes that clean an exposure."""

    bias: Ref | None
    noise: Ref
    caveats: tuple[Caveat, ...]
    reasons: tuple[Reason, ...]

    def inputs(self) -> dict[str, Ref | None]:
        """Return what the prelude takes."""
        return {"bias": self.bias, "noise": self.noise}


@dataclass(frozen=True)
class Reduced:
    """One exposure: the node of its spectra in counts, and the caveats that planning found."""

    exposure: Exposure
    light: Node


def lenslets(night: Night) -> tuple[Exposure, ...]:
    """Return the exposures of the sky through lenslets."""
    return tuple(one for one in night.of(*SKY) if has_lenslets(night, one))


def has_lenslets(night: Night, exposure: Exposure) -> bool:
    """Tell whether an exposure was taken through lenslets."""
    disperser = night.frame(exposure).disperser
    return disperser is not None and disperser.lenslets is not None


def plan_unit_masters(night: Night, builder: Builder) -> tuple[Exposure, ...]:
    """Plan the calibrations of a night of lenslets without the sky; return the domes and lamps that are theirs."""
    own = tuple(one for one in night.of(FrameType.ARC, FrameType.FLAT) if has_lenslets(night, one))
    for exposure in own:
        masters(builder, exposure)
    return own


def guiding(night: Night) -> tuple[Exposure, ...]:
    """Return the images of the guider that were taken while a lenslet unit was exposed."""
    units = lenslets(night)
    images = [one for one in night.of(FrameType.IMAGE) if one.instrument == GUIDER]
    return tuple(one for one in images if any(_during(one, unit) for unit in units))


def _during(image: Exposure, unit: Exposure) -> bool:
    half = unit.exptime / 172800.0
    return unit.mjd - half - 1e-4 < image.mjd < unit.mjd + half + 1e-4


def plan_lenslets(night: Night, builder: Builder) -> None:
    """Plan every exposure of a lenslet unit: cube, place, light, flux; its targets combined and classified."""
    exposures = list(lenslets(night))
    reduced = [done for one in exposures if (done := _reduced(builder, one, exposures)) is not None]
    if exposures and not reduced and len(exposures) == len(night.of(*SKY)):
        wanted = f"dome and lamps for the detector of {exposures[0].name}, not older than a month"
        raise PlanError(wanted, "none among these frames", "give the output of a night that has some: --calibrations")
    air = _air(builder, reduced)
    response = _response(builder, reduced, air)
    groups: dict[tuple[str, str], list[Node]] = defaultdict(list)
    members: dict[tuple[str, str], list[Exposure]] = defaultdict(list)
    for one in reduced:
        key = one.exposure.setup.mode, one.exposure.target
        flux, told = response.get(key[0]), Match()
        earlier = None
        if flux is None:
            earlier, told = builder.kept(one.exposure, FrameType.STANDARD, "response")
        groups[key].append(_fluxed(builder, one, flux or earlier, air.get(key[0]), told))
        members[key].append(one.exposure)
    for key, nodes in groups.items():
        _finished(builder, members[key], nodes)


def _match(builder: Builder, exposure: Exposure, kind: FrameType) -> Match:
    """Return the calibrations that serve, those that gave nothing left out."""
    frames = tuple(seen for seen in builder.night.frames if seen.exposure.path not in builder.wishes.refused)
    left = replace(builder.night, frames=frames)
    return _of_one_speed(associate(left, exposure, kind, builder.wishes.decisions))


def _of_one_speed(match: Match) -> Match:
    """Return those frames that were read at the speed of most: bias and noise of one speed clean them all.

    The others are refused, chosen by a person or not, with a caveat.
    """
    speeds = Counter(one.setup.readout for one in match.exposures)
    if len(speeds) < 2:
        return match
    most = speeds.most_common(1)[0][0]
    others = (one for one in match.exposures if one.setup.readout != most)
    left = {one.name: f"read at {one.setup.readout}, most at {most}" for one in others}
    reasons = (
        replace(one, taken=False, text=left[one.candidate]) if one.candidate in left else one for one in match.reasons
    )
    told = Caveat("calibrations.speeds", f"left out, for they were read at another speed than most: {', '.join(left)}")
    return Match(
        tuple(one for one in match.exposures if one.name not in left), merged(match.caveats, (told,)), tuple(reasons)
    )


def detector(builder: Builder, exposure: Exposure) -> Detector:
    """Return bias and noise of the exposure's detector as it was read, those of an earlier night where it must be."""
    biases = builder.match(exposure, FrameType.BIAS)
    flats = builder.match(exposure, FrameType.FLAT)
    alike = _read_as(flats.exposures, exposure)
    lit = flats.exposures if biases.exposures and not alike else ()  # lamps are read fast, the sky slowly
    other = detector(builder, lit[0]).noise if lit else None
    noise, told = plan_noise(builder, biases.exposures, alike, exposure, exposure, other=other)
    if not biases.exposures:
        earlier, biases = kept(builder, biases, exposure, FrameType.BIAS, "bias")
        return Detector(earlier.get("bias"), noise, merged(biases.caveats, told), biases.reasons)
    label = label_of("bias", exposure, biases.exposures)
    frames = [builder.raw(one) for one in biases.exposures]
    bias = builder.node("bias", inputs={"frames": frames}, label=label, publish=published("bias", label))["bias"]
    return Detector(bias, noise, merged(biases.caveats, told), biases.reasons)


def _read_as(frames: tuple[Exposure, ...], exposure: Exposure) -> tuple[Exposure, ...]:
    """Return those frames that were read at the speed of an exposure."""
    return tuple(one for one in frames if one.setup.readout == exposure.setup.readout)


def masters(builder: Builder, exposure: Exposure) -> Masters | None:
    """Return the calibrations of an exposure: tonight's, else those made on an earlier night, else None.

    Those of tonight that gave nothing are tried no more, unless there are no others: then they say what was wrong.
    """
    domes, arcs = (_match(builder, exposure, kind) for kind in (FrameType.FLAT, FrameType.ARC))
    if domes.exposures and arcs.exposures:
        return _made(builder, exposure, domes, arcs)
    if (earlier := _earlier(builder, exposure, domes, arcs)) is not None:
        return earlier
    domes, arcs = (_of_one_speed(builder.match(exposure, kind)) for kind in (FrameType.FLAT, FrameType.ARC))
    return _made(builder, exposure, domes, arcs) if domes.exposures and arcs.exposures else None


def _earlier(builder: Builder, exposure: Exposure, domes: Match, arcs: Match) -> Masters | None:
    """Return the masters that were given with --calibrations, where all three are there."""
    geometry, spectra = kept(builder, domes, exposure, FrameType.FLAT, "spaxels", "flat")
    solution, lines = kept(builder, arcs, exposure, FrameType.ARC, "waves")
    found = geometry.get("spaxels"), solution.get("waves"), geometry.get("flat")
    if found[0] is None or found[1] is None or found[2] is None:
        return None
    caveats = merged(spectra.caveats, lines.caveats, _refused(builder))
    return Masters(found[0], found[1], found[2], caveats, (*spectra.reasons, *lines.reasons))


def _made(builder: Builder, exposure: Exposure, domes: Match, arcs: Match) -> Masters:
    label = label_of("spaxels", exposure, domes.exposures)
    dome, lamp = detector(builder, domes.exposures[0]), detector(builder, arcs.exposures[0])
    found = builder.node(
        "spaxels",
        inputs={**dome.inputs(), "frames": [builder.raw(one) for one in domes.exposures]},
        label=label,
        reasons=domes.reasons,
        publish={"spaxels": f"calibrations/spaxels_{label}"},
    )
    waves = builder.node(
        "spaxelwave",
        inputs={**lamp.inputs(), "frames": [builder.raw(one) for one in arcs.exposures], "spaxels": found["spaxels"]},
        label=label_of("waves", exposure, arcs.exposures),
        reasons=arcs.reasons,
        publish={"waves": f"calibrations/waves_{label}"},
    )
    flat = builder.node(
        "spaxelflat",
        inputs={"dome": found["dome"], "spaxels": found["spaxels"], "waves": waves["waves"]},
        label=label,
        publish={"flat": f"calibrations/spaxelflat_{label}"},
    )
    caveats = merged(domes.caveats, arcs.caveats, _borrowed(builder, exposure, domes, arcs))
    return Masters(found["spaxels"], waves["waves"], flat["flat"], caveats, (*domes.reasons, *arcs.reasons))


def _borrowed(builder: Builder, exposure: Exposure, domes: Match, arcs: Match) -> tuple[Caveat, ...]:
    """Return what a user must know where calibrations are another night's, and why the night's own were not used."""
    told = []
    for what, match in (("dome", domes), ("arcs", arcs)):
        nearest = min(match.exposures, key=lambda one: abs(one.mjd - exposure.mjd))
        if abs(nearest.mjd - exposure.mjd) > NIGHT:
            text = f"{what} of another night, {age(exposure, nearest)}, same detector: {nearest.name}"
            told.append(Caveat("calibrations.other_night", text))
    return (*told, *(_refused(builder) if told else ()))


def _refused(builder: Builder) -> tuple[Caveat, ...]:
    if not builder.wishes.refused:
        return ()
    texts = "; ".join(dict.fromkeys(builder.wishes.refused.values()))
    return (Caveat("calibrations.refused", f"the night's own gave nothing: {texts}"),)


def _reduced(builder: Builder, exposure: Exposure, exposures: list[Exposure]) -> Reduced | None:
    known = masters(builder, exposure)
    if known is None:
        builder.note(
            f"{exposure.name}: no dome or no lamps for detector {exposure.setup.mode or 'unknown'} within a month:"
            " give the output of a night that had some with --calibrations"
        )
        return None
    partner, incomplete = _partner(exposure, exposures)
    cube = _cube(builder, exposure, known)
    inputs: dict[str, Given] = {
        "spectra": cube["spectra"],
        "place": _place(builder, exposure),
        "warp": cube["warp"],
    }
    if partner is not None:
        inputs["partner"] = _cube(builder, partner, known)["spectra"]
    folder = folder_of(exposure)
    light = builder.node(
        "spectrophotometry",
        inputs=inputs,
        exposure=exposure,
        target=exposure.target,
        caveats=incomplete,
        publish={"scene": f"{folder}/{exposure.name}_scene"},
    )
    return Reduced(exposure, light)


def _cube(builder: Builder, exposure: Exposure, known: Masters) -> Node:
    own = detector(builder, exposure)
    prepared = builder.node(
        "prepare",
        inputs={**own.inputs(), "raw": builder.raw(exposure)},
        exposure=exposure,
        target=exposure.target,
        caveats=own.caveats,
        reasons=own.reasons,
    )
    inputs = {"frame": prepared["frame"], "spaxels": known.spaxels, "waves": known.waves, "flat": known.flat}
    return builder.node(
        "cube", inputs=inputs, exposure=exposure, target=exposure.target, caveats=known.caveats,
        reasons=known.reasons, publish={"cube": f"{folder_of(exposure)}/{exposure.name}_cube"},
    )  # fmt: skip


def _place(builder: Builder, exposure: Exposure) -> OutputRef | None:
    """Return where the guider's images put the target; a standard is the brightest source, and needs none."""
    images = [one for one in guiding(builder.night) if _during(one, exposure)]
    if exposure.type is FrameType.STANDARD or not images:
        return None
    inputs: dict[str, Given] = {"frames": [builder.raw(one) for one in images], "exposure": builder.raw(exposure)}
    return builder.node("guide", inputs=inputs, exposure=exposure, target=exposure.target)["place"]


def _partner(exposure: Exposure, exposures: list[Exposure]) -> tuple[Exposure | None, tuple[Caveat, ...]]:
    """Return the other half of a nodded pair; where it is missing, a caveat says that the exposure stands alone."""
    letter = exposure.nod
    if not letter:
        return None, ()
    near = [one for one in exposures if one.target == exposure.target and one.nod not in ("", letter)]
    near = [one for one in near if abs(one.mjd - exposure.mjd) < 0.1]
    if near:
        return min(near, key=lambda one: abs(one.mjd - exposure.mjd)), ()
    other = "B" if letter == "A" else "A"
    return None, (Caveat("pair.incomplete", f"{letter} of a nodded pair without its {other}: reduced by itself"),)


def _response(builder: Builder, reduced: list[Reduced], air: dict[str, OutputRef]) -> dict[str, OutputRef]:
    """Return the response of each detector that has a standard."""
    found = {}
    for mode, (label, spectra) in _standards(reduced, "response").items():
        publish = published("response", label)
        node = builder.node("sensitivity", inputs={"spectra": spectra, "air": air[mode]}, label=label, publish=publish)
        found[mode] = node["response"]
    return found


def _air(builder: Builder, reduced: list[Reduced]) -> dict[str, OutputRef]:
    """Return what the standards tell of the air."""
    return {
        mode: builder.node("air", inputs={"spectra": spectra}, label=label)["air"]
        for mode, (label, spectra) in _standards(reduced, "air").items()
    }


def _standards(reduced: list[Reduced], what: str) -> dict[str, tuple[str, list[OutputRef]]]:
    stars: dict[str, list[Reduced]] = defaultdict(list)
    for one in reduced:
        if one.exposure.type is FrameType.STANDARD:
            stars[one.exposure.setup.mode].append(one)
    return {
        mode: (label_of(what, found[0].exposure, tuple(one.exposure for one in found)),
               [one.light["spectra"] for one in found])
        for mode, found in stars.items()
    }  # fmt: skip


def _fluxed(builder: Builder, one: Reduced, response: Ref | None, air: OutputRef | None, told: Match) -> Node:
    exposure = one.exposure
    return builder.node(
        "ifucalibrate",
        inputs={"spectra": one.light["spectra"], "response": response, "air": air},
        exposure=exposure,
        target=exposure.target,
        label=exposure.name,
        caveats=told.caveats,
        publish={"spectra": f"{folder_of(exposure)}/{exposure.name}"},
    )


def _finished(builder: Builder, members: list[Exposure], nodes: list[Node]) -> None:
    """Combine the exposures of a target where there are several, and classify what is no standard."""
    first, last = members[0], nodes[0]
    folder = folder_of(first)
    label = last.label if len(nodes) == 1 else folder
    if len(nodes) > 1:
        last = builder.node(
            "ifucombine", inputs={"spectra": [node["spectra"] for node in nodes]}, target=first.target, label=label,
            publish={"spectra": f"{folder}/{folder}"},
        )  # fmt: skip
    plan_class(builder, last["spectra"], first, label)
