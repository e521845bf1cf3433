"""The raw frames of a night as recognised: one pass over the headers, no pixel read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import nightpipe.io.raw as raw_files
from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import ConfigError, NightpipeError, PlanError, UnknownInstrumentError
from nightpipe.engine.decisions import Decisions
from nightpipe.engine.store import HIDDEN
from nightpipe.instruments import registry
from nightpipe.instruments import resolve as resolved
from nightpipe.instruments.spec import InstrumentSpec
from nightpipe.io.standards import match_standard
from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser
from nightpipe.model.exposure import Exposure, FrameType, Header

Checksum = Callable[[str], str]


@dataclass(frozen=True)
class Seen:
    """One raw frame as its instrument's description reads it; `overrides` are that description's parameters."""

    exposure: Exposure
    detector: Detector
    disperser: Disperser | None
    spec: InstrumentSpec
    overrides: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """A file that takes no part, and why; `fault` tells data that could not be used from data not meant for us.

    `dropped` is the exposure that a person dropped.
    """

    path: str
    reason: str
    fault: bool = False
    dropped: Exposure | None = None


@dataclass(frozen=True)
class Night:
    """What a planner sees: the frames in order of time, and the files left aside."""

    frames: tuple[Seen, ...]
    skipped: tuple[Skipped, ...] = ()

    @cached_property
    def exposures(self) -> tuple[Exposure, ...]:
        """Return all exposures in order of time."""
        return tuple(seen.exposure for seen in self.frames)

    def of(self, *types: FrameType) -> tuple[Exposure, ...]:
        """Return the exposures of these types in order of time."""
        return tuple(exposure for exposure in self.exposures if exposure.type in types)

    def frame(self, exposure: Exposure | str) -> Seen:
        """Return detector, disperser and description of an exposure, given itself or its path."""
        return self._by_path[exposure if isinstance(exposure, str) else exposure.path]

    def named(self, name: str) -> Exposure:
        """Return the exposure of this name (file stem or path); raises PlanError."""
        found = [one for one in self.exposures if name in (one.name, one.path, Path(one.path).name)]
        if len(found) != 1:
            known = ", ".join(one.name for one in self.exposures[:8])
            raise PlanError("the name of one exposure", f"{name} ({len(found)} such)", f"one of {known} ...")
        return found[0]

    @cached_property
    def _by_path(self) -> dict[str, Seen]:
        return {seen.exposure.path: seen for seen in self.frames}


def scan(
    paths: Iterable[str | Path],
    decisions: Decisions | None = None,
    checksum: Checksum | None = None,
    instrument: InstrumentSpec | None = None,
) -> Night:
    """Recognise all frames under `paths` (files and folders, products of ours passed over) or take all for one's own.

    Unreadable and unknown files are skipped with a reason and never stop the night; raises PlanError where nothing
    is left.
    """
    for decision in decisions.standing if decisions else ():
        if decision.parameter == "Frame.type":
            frame_type(str(decision.value))
    roots = [Path(path) for path in paths]
    files = fits_files(roots)
    frames: list[Seen] = []
    skipped: list[Skipped] = []
    for file in files:
        for one in _look(str(file), decisions or Decisions(), checksum or raw_files.checksum, instrument):
            (frames if isinstance(one, Seen) else skipped).append(one)  # type: ignore[arg-type]
    if not frames:
        raise _nothing(roots, files, skipped)
    return Night(tuple(sorted(frames, key=lambda seen: (seen.exposure.mjd, seen.exposure.path))), tuple(skipped))


def fits_files(paths: Iterable[Path]) -> list[Path]:
    """Return the FITS files named by or lying under `paths`, output folders of ours left out; raises PlanError."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise PlanError("raw frames: files or folders", f"{path} does not exist", "mind the spelling")
        found |= dict.fromkeys([path] if path.is_file() else sorted(_below(path)))
    return [path.absolute() for path in found]


def _below(folder: Path) -> list[Path]:
    if (folder / HIDDEN).is_dir():
        return []
    here: list[Path] = []
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            here += _below(path)
        elif raw_files.is_fits_name(path):
            here.append(path)
    return here


def _look(path: str, decisions: Decisions, checksum: Checksum, given: InstrumentSpec | None) -> list[Seen | Skipped]:
    """Return what a file is: one exposure, or one for each virtual camera on its detector."""
    try:
        headers = raw_files.read_headers(path)
        spec = given or registry.recognise(headers, path)
        sha256 = checksum(path)
    except UnknownInstrumentError as error:
        return [Skipped(path, str(error))]
    except (OSError, NightpipeError) as error:
        return [Skipped(path, str(error), fault=True)]
    return [_seen(spec, own, name, sha256, decisions) for name, own in resolved.parts(spec, headers, path)]


def _seen(
    spec: InstrumentSpec, headers: Sequence[Header], path: str, sha256: str, decisions: Decisions
) -> Seen | Skipped:
    try:
        exposure, doubts = with_standard(resolved.exposure(spec, headers, path, sha256))
        exposure, notes = decided(exposure, decisions)
        if decisions.value(exposure, "Frame.use") is False:
            return Skipped(path, "dropped by decision", dropped=exposure)
        detector = resolved.detector(spec, headers, exposure)
        disperser = resolved.disperser(spec, exposure, detector)
        return Seen(exposure, detector, disperser, spec, resolved.overrides(spec, exposure), merged(doubts, notes))
    except (OSError, NightpipeError) as error:
        return Skipped(path, str(error), fault=True)


def with_standard(exposure: Exposure) -> tuple[Exposure, tuple[Caveat, ...]]:
    """Return the exposure typed as a standard when its target is one, by alias or position, whatever its header says.

    A frame whose header calls it a standard but whose star has no flux table is reduced as science. Where name and
    position disagree a caveat tells.
    """
    if exposure.type not in {FrameType.SCIENCE, FrameType.STANDARD}:
        return exposure, ()
    found = match_standard(exposure.target, exposure.ra, exposure.dec, exposure.mjd)
    if found is None:
        return replace(exposure, type=FrameType.SCIENCE), ()
    return replace(exposure, type=FrameType.STANDARD, standard=found.standard.name), found.caveats


def decided(exposure: Exposure, decisions: Decisions) -> tuple[Exposure, tuple[Caveat, ...]]:
    """Return the exposure with its decided type and target, and a caveat for decisions made on another file."""
    kind = decisions.value(exposure, "Frame.type")
    target = decisions.value(exposure, "Frame.target")
    if kind is not None:
        exposure = replace(exposure, type=frame_type(str(kind)))
    if target is not None:
        exposure = replace(exposure, target=str(target))
    text = "decisions on {} were made on a file with other content and were not applied"
    stale = decisions.stale(exposure)
    return exposure, (Caveat("decision.other_file", text.format(exposure.name)),) if stale else ()


def frame_type(text: str) -> FrameType:
    """Return the frame type of this name; raises ConfigError."""
    try:
        return FrameType(text.strip().lower())
    except ValueError as error:
        raise ConfigError("a frame type", text, "one of " + ", ".join(FrameType)) from error


def _nothing(paths: list[Path], files: list[Path], skipped: list[Skipped]) -> PlanError:
    where = ", ".join(str(path) for path in paths)
    if not files:
        return PlanError("FITS frames to reduce", f"none under {where}", "name the folder that holds the raw frames")
    first = "; ".join(f"{Path(one.path).name}: {one.reason}" for one in skipped[:3])
    return PlanError(
        "frames of a known instrument", f"{len(files)} FITS files, none usable ({first})", "`nightpipe instrument list`"
    )
