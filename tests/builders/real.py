"""Real frames as the planner reads them: recognised, resolved, loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightpipe.instruments import resolve
from nightpipe.instruments.registry import recognise
from nightpipe.instruments.spec import InstrumentSpec
from nightpipe.io.raw import checksum, read_headers, read_raw
from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser
from nightpipe.model.exposure import Exposure
from nightpipe.model.frame import RawFrame


@dataclass(frozen=True)
class Resolved:
    """What the headers of one file say."""

    spec: InstrumentSpec
    exposure: Exposure
    detector: Detector
    disperser: Disperser | None


def resolved(path: Path) -> Resolved:
    """Return what the headers of a file say, without reading a pixel."""
    headers = read_headers(path)
    spec = recognise(headers, str(path))
    exposure = resolve.exposure(spec, headers, str(path), checksum(path))
    detector = resolve.detector(spec, headers, exposure)
    return Resolved(spec, exposure, detector, resolve.disperser(spec, exposure, detector))


def load(path: Path) -> RawFrame:
    """Return a raw frame, recognised and resolved."""
    found = resolved(path)
    return read_raw(path, found.exposure, found.detector, found.disperser)
