"""The library of responses: measured on other nights, for nights without a standard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import MissingCardError
from nightpipe.io.atomic import written
from nightpipe.io.standards import normal
from nightpipe.io.tables import columns, facts, folder
from nightpipe.model.exposure import Exposure
from nightpipe.model.spectrum import Response

STEP = 10.0
"""Sampling [Angstrom] of a library response."""


def library_response(exposure: Exposure, library: str | Path | None = None) -> Response | None:
    """Return the response of the exposure's instrument, arm and disperser nearest in time, or None.

    `library` is a folder of files of `write_response`; without it, the package's own. The response's `source` is
    ``"library"``; its level is as good as weather and seeing of two nights were alike. Another filter or angle raises a
    caveat.
    """
    paths = sorted((folder("responses") if library is None else Path(library)).glob("*.dat"))
    alike = [path for path in paths if _key(facts(path)) == _key_of(exposure)]
    if not alike:
        return None
    return _read(min(alike, key=lambda path: _distance(path, exposure)), exposure)


def write_response(path: str | Path, response: Response, exposure: Exposure) -> None:
    """Write a measured response for a library, as text with a header that says what it holds for; raises StoreError."""
    if response.range[1] - response.range[0] <= STEP:
        raise MissingCardError("a response over some range", f"{response.range}", "measure it on a standard")
    wave = np.append(np.arange(response.range[0], response.range[1], STEP), response.range[1])
    setup = exposure.setup
    head = {
        "instrument": exposure.instrument,
        "arm": setup.arm,
        "disperser": setup.disperser,
        "angle": setup.angle,
        "filter": setup.filter,
        "dichroic": setup.dichroic,
        "slit": setup.slit,
        "mjd": f"{response.mjd:.3f}",
        "standards": "; ".join(response.standards),
        "columns": "wave_vacuum[Angstrom] ln(electron/s/Angstrom per erg/s/cm2/Angstrom, above the atmosphere) error",
    }
    lines = [f"# {key}: {value}" for key, value in head.items()]
    value, error = (np.interp(wave, response.wave, array) for array in (response.log_response, response.error))
    rows = zip(wave, value, error, strict=True)
    lines += [f"{place:.2f} {log:.4f} {sigma:.4f}" for place, log, sigma in rows]
    with written(Path(path)) as stream:
        stream.write(("\n".join(lines) + "\n").encode())


def _key(known: dict[str, str]) -> tuple[str, ...]:
    return tuple(normal(known.get(name, "")) for name in ("instrument", "arm", "disperser"))


def _key_of(exposure: Exposure) -> tuple[str, ...]:
    return tuple(normal(name) for name in (exposure.instrument, exposure.setup.arm, exposure.setup.disperser))


def _distance(path: Path, exposure: Exposure) -> tuple[bool, bool, float]:
    known = facts(path)
    other_angle = normal(known.get("angle", "")) != normal(exposure.setup.angle)
    other_filter = normal(known.get("filter", "")) != normal(exposure.setup.filter)
    return other_angle, other_filter, abs(float(known.get("mjd", 0.0)) - exposure.mjd)


def _read(path: Path, exposure: Exposure) -> Response:
    known, (wave, log_response, error) = facts(path), columns(path)
    empty = np.zeros(0)
    return Response(
        wave=wave,
        log_response=log_response,
        error=error,
        range=(float(wave[0]), float(wave[-1])),
        point_wave=empty,
        point_value=empty,
        point_used=empty.astype(bool),
        standards=tuple(name.strip() for name in known.get("standards", "").split(";") if name.strip()),
        ratios=(),
        setup=" ".join(filter(None, (known.get(name, "") for name in ("arm", "disperser", "slit", "filter")))),
        source="library",
        mjd=float(known.get("mjd", 0.0)),
        caveats=_caveats(known, exposure),
    )


def _caveats(known: dict[str, str], exposure: Exposure) -> tuple[Caveat, ...]:
    nights = abs(float(known.get("mjd", 0.0)) - exposure.mjd)
    text = (
        f"no standard in this night: the library's response, {nights:.0f} days away, was taken; its level is uncertain"
    )
    caveats = [Caveat("flux.library", text)]
    for name in ("filter", "angle", "dichroic"):
        theirs, ours = known.get(name, ""), str(getattr(exposure.setup, name))
        if normal(theirs) != normal(ours):
            told = (
                f"the library's response was measured with {name} {theirs or 'none'}, the exposure has {ours or 'none'}"
            )
            caveats.append(Caveat(f"flux.library_{name}", told))
    return tuple(caveats)
