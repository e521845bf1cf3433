"""The disperser of one exposure: nominal dispersion and wavelength for its window, binning, slit and filter."""

from __future__ import annotations

from datetime import date
from math import cos, hypot, radians, sin

from nightpipe.base.errors import ConfigError, MissingCardError
from nightpipe.instruments.gratings import anamorphism, grating_centre, grating_dispersion
from nightpipe.instruments.match import holds, matches
from nightpipe.instruments.sections import middle
from nightpipe.instruments.spec import DisperserSpec, InstrumentSpec, LensletSpec
from nightpipe.instruments.values import number, sexagesimal
from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser, Lenslets
from nightpipe.model.exposure import Exposure, FrameType, Scalar, Setup

SPECTRA = (FrameType.FLAT, FrameType.ARC, FrameType.STANDARD, FrameType.SCIENCE)


def disperser(spec: InstrumentSpec, shot: Exposure, detector: Detector) -> Disperser | None:
    """Return the nominal facts of the disperser in the beam; None when there is none.

    Raises `ConfigError` when the frame is a spectrum and the description lacks its disperser.
    """
    name = shot.setup.disperser
    if not name or not detector.dispersion:
        return None
    facts = setup_facts(shot.setup)
    day = date.fromisoformat(shot.start[:10])
    fits = (entry for entry in spec.dispersers if holds(entry.name, name) and matches(entry.when, facts.get))
    found = [entry for entry in fits if entry.valid_from <= day]
    if found:
        return _nominal(found[-1], spec, shot, detector)
    if shot.type not in SPECTRA:
        return None
    raise ConfigError(
        f"the disperser {name} of {spec.title} in {shot.path}",
        f"only {', '.join(dict.fromkeys(entry.name for entry in spec.dispersers))} are described",
        "add it to a copy of the description, in the folder NIGHTPIPE_INSTRUMENTS",
    )


def setup_facts(setup: Setup) -> dict[str, Scalar]:
    """Return the plain facts of a setup, for conditions."""
    return {key: value for key, value in vars(setup).items() if isinstance(value, (str, int, float, bool))}


def slit_width(setup: Setup) -> float:
    """Return the slit's width [arcsec] from its name; 1 where it holds no number."""
    try:
        return abs(number(setup.slit))
    except ValueError:
        return 1.0


def _nominal(entry: DisperserSpec, spec: InstrumentSpec, shot: Exposure, detector: Detector) -> Disperser:
    described = next(chosen for chosen in spec.detectors if chosen.name == detector.name)
    unbinned, centre, resolution = _at_centre(entry, spec, shot, described.scale)
    dispersion = unbinned * detector.binning[0 if detector.dispersion == "x" else 1]
    whole, seen = middle(described.light, shot.setup.window, detector.dispersion)
    return Disperser(
        name=shot.setup.disperser,
        dispersion=dispersion,
        centre=centre + (seen - whole) * unbinned * (1.0 if detector.increasing else -1.0),
        centre_tolerance=entry.centre_tolerance or 100.0 * unbinned,
        dispersion_tolerance=entry.dispersion_tolerance,
        range=entry.range,
        fwhm=max(hypot(resolution * slit_width(shot.setup), described.blur * unbinned), 2.0 * dispersion),
        second_order_from=_second_order(entry, spec, shot.setup.filter),
        fringes_from=entry.fringes_from,
        lenslets=None if entry.lenslets is None else _lenslets(entry.lenslets, shot, detector),
    )


def _lenslets(spec: LensletSpec, shot: Exposure, detector: Detector) -> Lenslets:
    """Return the lattice in pixels of the frame as trimmed and oriented, of one that is not binned."""
    x0, x1, y0, y1 = (pick(ends) for pick, ends in zip((min, max, min, max), _ends(detector), strict=True))
    first = shot.setup.window or (1, 0, 1, 0)
    place = (spec.middle[0] - first[0], spec.middle[1] - first[2])
    angles = (radians(spec.turn), radians(spec.turn + 60.0))
    steps = [(spec.step * cos(angle), spec.step * sin(angle)) for angle in angles]
    size = (x1 - x0, y1 - y0)
    if detector.dispersion == "y":
        place, size, steps = place[::-1], size[::-1], [step[::-1] for step in steps]
    if not detector.increasing:
        place, steps = (size[0] - 1.0 - place[0], place[1]), [(-step[0], step[1]) for step in steps]
    return Lenslets(
        pitch=spec.pitch,
        angle=spec.angle,
        step=steps[0],
        other=steps[1],
        middle=place,
        reference=spec.reference,
        half=spec.half,
        light=spec.light,
        sigma=spec.sigma,
        features=spec.features,
    )


def _ends(detector: Detector) -> tuple[tuple[int, ...], ...]:
    return tuple(zip(*(amplifier.data for amplifier in detector.amplifiers), strict=True))


def _second_order(entry: DisperserSpec, spec: InstrumentSpec, filters: str) -> float:
    cuts = [2.0 * cut for pattern, cut in spec.blockers.items() if holds(pattern, filters)]
    return max([entry.second_order_from, *cuts]) if entry.second_order_from else 0.0


def _at_centre(entry: DisperserSpec, spec: InstrumentSpec, shot: Exposure, scale: float) -> tuple[float, float, float]:
    """Return Angstrom per unbinned pixel, central wavelength and Angstrom per arcsec of slit."""
    facts = setup_facts(shot.setup)
    optics = next((item for item in spec.optics if matches(item.when, facts.get)), None)
    if optics is None or not entry.lines:
        return entry.dispersion, entry.centre, entry.resolution
    try:
        degrees = sexagesimal(shot.setup.angle)
    except ValueError as error:
        raise MissingCardError(
            f"the grating angle in {shot.path}", f"{shot.setup.angle!r}", "write the card into a copy of the file"
        ) from error
    unbinned = grating_dispersion(entry.lines, degrees, optics)
    resolution = unbinned / scale * anamorphism(degrees, optics)
    return unbinned, grating_centre(entry.lines, degrees, optics), entry.resolution or resolution
