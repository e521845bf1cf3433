"""A simulated night: raw files in the instrument's own dialect, and the truth beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nightpipe.base.errors import ConfigError
from nightpipe.instruments.registry import instrument, recognise, site
from nightpipe.instruments.resolve import detector, disperser, exposure
from nightpipe.io.atomic import written
from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser
from nightpipe.model.exposure import FrameType, Header
from nightpipe.simulate import truth
from nightpipe.simulate.bench import Bench, bench
from nightpipe.simulate.detector import expose
from nightpipe.simulate.dialects import dialect
from nightpipe.simulate.dialects.base import Cards, Dialect, Layout
from nightpipe.simulate.exposures import light_of
from nightpipe.simulate.ifu.night import IFUS, write_ifu_night
from nightpipe.simulate.imaging.camera import known_imagers
from nightpipe.simulate.imaging.night import is_imager, write_imaging_night
from nightpipe.simulate.options import valid
from nightpipe.simulate.rig import Rig, build, stream
from nightpipe.simulate.schedule import Fault, NightOptions, Shot, probe, schedule


def write_night(instrument: str, out: Path, *, seed: int = 1, **options: Any) -> Path:
    """Write a raw night into `out`, its truth into a folder beside it (``OUT-truth``), and return the latter.

    The truth lies beside and not within, so that a reduction of `out` finds raw frames only.

    `instrument` is one of `arms`, or the name of a spectrograph, all of whose arms are then written, or an imager,
    or ``sedm``. `options` are the fields of `NightOptions`, `imaging.schedule.ImagingOptions` or
    `ifu.schedule.IfuOptions`. Raises `ConfigError` for an unknown instrument or option.
    """
    if instrument.casefold() in IFUS:
        return write_ifu_night(out, seed=seed, **options)
    if is_imager(instrument):
        return write_imaging_night(instrument, out, seed=seed, **options)
    asked = checked(options)
    out = out.resolve()
    folder = out.with_name(f"{out.name}-truth")
    for place in (out, folder):
        place.mkdir(parents=True, exist_ok=True)
    for arm in arms(instrument):
        _write_arm(arm, out, folder, seed, asked)
    return folder


def checked(options: dict[str, Any]) -> NightOptions:
    """Return the options, or raise `ConfigError` naming the first that cannot be used."""
    return valid(NightOptions, options)


def arms(instrument: str) -> tuple[str, ...]:
    """Return the arms that a name stands for: ``dbsp`` for both of DBSP, ``kast_blue`` for one."""
    from nightpipe.simulate.bench import known_benches

    name = instrument.casefold().replace("-", "_")
    found = tuple(arm for arm in known_benches() if arm in (name, f"{name}_blue", f"{name}_red"))
    if not found:
        known = ", ".join((*known_benches(), *known_imagers(), *IFUS))
        raise ConfigError("an instrument that can be simulated", instrument, f"one of {known}")
    return found


def _write_arm(arm: str, out: Path, folder: Path, seed: int, options: NightOptions) -> None:
    known, tongue = bench(arm), dialect(arm)
    place = site(instrument(tongue.described).site)
    optics, _ = _resolved(tongue, known, probe(known, options), options)
    shots = schedule(known, place, options, optics.dispersion, stream(seed, "schedule"))
    rigs: dict[str, Rig] = {}
    facts = []
    for shot in shots:
        layout = tongue.layout(shot, options)
        label = f"{arm}-{shot.binning[0]}x{shot.binning[1]}"
        if label not in rigs:
            sample = replace(probe(known, options), binning=shot.binning)
            optics, chip = _resolved(tongue, known, sample, options)
            rigs[label] = build(known, optics, chip, layout.shape, seed, options.second_order)
        facts.append(_expose(rigs[label], tongue, shot, layout, options, out, folder, label))
    for label, rig in rigs.items():
        truth.setup_truth(folder / f"{label}.fits", rig)
    night = {"schema": truth.SCHEMA, "instrument": arm, "seed": seed, "options": options.model_dump(mode="json")}
    setups = {label: truth.setup_facts(rig) for label, rig in rigs.items()}
    truth.write_json(folder / f"{arm}.json", night | {"setups": setups, "exposures": facts})


def _resolved(tongue: Dialect, known: Bench, shot: Shot, options: NightOptions) -> tuple[Disperser, Detector]:
    """Return disperser and detector as the instrument's description sees a spectrum's header."""
    layout = tongue.layout(shot, options)
    headers = plain_headers(tongue.cards(shot, layout, known, options), layout, extension=tongue.extension)
    spec = recognise(headers)
    taken = exposure(spec, headers, tongue.file_name(shot))
    chip = detector(spec, headers, taken)
    optics = disperser(spec, taken, chip)
    if optics is None:
        raise ConfigError("a disperser in the simulated beam", taken.setup.disperser, "name one of the description")
    return optics, chip


def plain_headers(cards: tuple[Cards, Cards], layout: Layout, *, extension: bool) -> tuple[Header, ...]:
    """Return the headers as a reader of the file would get them."""
    size: Header = {"NAXIS": 2, "NAXIS1": layout.shape[1], "NAXIS2": layout.shape[0]}
    primary, image = (
        {name: value[0] if isinstance(value, tuple) else value for name, value in part.items()} for part in cards
    )
    return ({"NAXIS": 0, **primary}, {**size, **image}) if extension else ({**size, **primary},)


def _expose(
    rig: Rig, tongue: Dialect, shot: Shot, layout: Layout, options: NightOptions, out: Path, folder: Path, label: str
) -> dict[str, Any]:
    light = light_of(rig, shot, options)
    rng = stream(rig.seed, f"photons {tongue.arm} {shot.number}")
    rise = _rise(rig, shot, rng)
    raw, cosmic = expose(
        rig.silicon, None if light is None else light.expected, shot.exptime, rise, rng, cosmics=options.cosmics
    )
    name = tongue.file_name(shot)
    with written(out / name) as stream_:
        tongue.hdus(raw, tongue.cards(shot, layout, rig.known, options)).writeto(stream_)
    truth.exposure_truth(folder / name, rig, shot, light, cosmic)
    return truth.shot_facts(shot, name, label, None if light is None else light.geometry) | {"pedestal_rise": rise}


def _rise(rig: Rig, shot: Shot, rng: np.random.Generator) -> float:
    """Return by how much the pedestal stands above the afternoon's: it drifts, and rises when the night begins."""
    low, high = rig.known.detector.night_rise
    afternoon = shot.type in (FrameType.BIAS, FrameType.DARK)
    base = 0.0 if afternoon else stream(rig.seed, "pedestal").uniform(low, high)
    return float(base + rig.known.detector.drift * rng.normal(0.0, 0.7))


__all__ = ["Fault", "NightOptions", "arms", "checked", "plain_headers", "write_night"]
