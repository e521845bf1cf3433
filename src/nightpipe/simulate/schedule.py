"""What is exposed, when, through which slit, and what can be made to go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nightpipe.io.references import find_standard
from nightpipe.model.exposure import FrameType, Site
from nightpipe.model.references import Standard
from nightpipe.simulate.atmosphere import airmass_at, altitude_and_parallactic, sidereal_degrees
from nightpipe.simulate.bench import Bench
from nightpipe.simulate.options import listed


class Fault(StrEnum):
    """What can be made to go wrong in a simulated night."""

    NO_ARC = "no-arc"
    DEAD_LAMP = "dead-lamp"
    SATURATED_ARC = "saturated-arc"
    NO_FLAT = "no-flat"
    NO_BIAS = "no-bias"
    NO_STANDARD = "no-standard"
    OFF_SLIT = "star-off-slit"
    MIXED_BINNING = "mixed-binning"


class NightOptions(BaseModel):
    """What the caller may ask of a simulated night; an empty or zero value means as is typical of the instrument.

    `size` ``"small"`` is a windowed night with few frames, ``"full"`` the whole detector with many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str = Field("small", pattern="^(small|full)$")
    disperser: str = ""
    slit: float = Field(0.0, ge=0.0, le=10.0)
    vertical: bool = False
    binning: tuple[int, int] | None = None
    target: str = Field("quasar", pattern="^(quasar|supernova|galaxy|blank)$")
    magnitude: float = 0.0
    redshift: float = Field(0.0, ge=0.0)
    neighbour: bool = False
    exposures: int = Field(2, ge=1, le=20)
    seeing: float = Field(0.0, ge=0.0, le=5.0)
    moon: float = Field(0.0, ge=0.0, le=1.0)
    off_parallactic: float = Field(12.0, ge=-90.0, le=90.0)
    second_order: float = Field(0.0, ge=0.0, le=0.5)
    cosmics: bool = True
    clouds: float = Field(1.0, gt=0.0, le=1.0)
    faults: tuple[Fault, ...] = ()

    @field_validator("faults", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Let a command line give several faults in one word."""
        return listed(value)

    @field_validator("binning", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        """Let a command line give a binning as ``1x2``."""
        return tuple(int(part) for part in value.split("x")) if isinstance(value, str) and "x" in value else value


@dataclass(frozen=True)
class Shot:
    """One exposure as planned: everything that its header says, and the light that it gets.

    `ra`, `dec` are J2000 degrees, `angle` [degree] is that between slit and vertical circle, `across` [arcsec] how far
    off the slit's middle the star stands, `along` [arcsec] its place in the slit, `clear` what clouds let through.
    """

    number: int
    type: FrameType
    name: str
    start: datetime
    exptime: float
    ra: float
    dec: float
    altitude: float
    azimuth: float
    airmass: float
    sidereal: float
    parallactic: float
    slit: float
    binning: tuple[int, int]
    lamp: str = ""
    seeing: float = 1.0
    angle: float = 0.0
    across: float = 0.0
    along: float = 0.0
    clear: float = 1.0
    standard: Standard | None = field(default=None, compare=False)

    @property
    def middle(self) -> datetime:
        """Return the time of mid-exposure (UT)."""
        return self.start + timedelta(seconds=self.exptime / 2.0)


def schedule(
    known: Bench, place: Site, options: NightOptions, dispersion: float, rng: np.random.Generator
) -> tuple[Shot, ...]:
    """Return the night's exposures in the order in which they are taken; `dispersion` is in A per pixel as read."""
    plan = _Planner(known, place, options, dispersion, rng)
    plan.afternoon()
    plan.clock = _time(known.night.date)
    stars = () if Fault.NO_STANDARD in options.faults else _standards(known, place)
    plan.standard(stars[:1])
    plan.lamp_after()
    plan.science()
    plan.lamp_after()
    plan.standard(stars[1:2])
    if known.night.flat_start is None:
        plan.flats()
    ordered = sorted(plan.shots, key=lambda shot: shot.start)
    return tuple(replace(shot, number=number) for number, shot in enumerate(ordered, start=1))


class _Planner:
    """Walks through the night: a clock, a counter, and where the telescope points."""

    def __init__(
        self, known: Bench, place: Site, options: NightOptions, dispersion: float, rng: np.random.Generator
    ) -> None:
        self.known, self.place, self.options, self.rng = known, place, options, rng
        self.dispersion = dispersion
        self.night = known.night
        self.clock = _time(known.night.date)
        self.shots: list[Shot] = []
        self.binning = options.binning or known.night.binning
        self.slit = options.slit or known.night.slit
        self.pointing = (0.0, place.latitude)
        self.target = "calibration"

    def take(self, kind: FrameType, name: str, exptime: float, **light: object) -> None:
        """Expose once at the present pointing, then let readout pass."""
        sidereal = sidereal_degrees(self.clock + timedelta(seconds=exptime / 2), self.place.longitude)
        ra, dec = self.pointing
        altitude, parallactic = altitude_and_parallactic(ra, dec, sidereal, self.place.latitude)
        shot = Shot(
            number=len(self.shots) + 1, type=kind, name=name, start=self.clock, exptime=exptime, ra=ra, dec=dec,
            altitude=altitude, azimuth=float(self.rng.uniform(0, 360)), airmass=airmass_at(altitude), sidereal=sidereal,
            parallactic=parallactic, slit=self.slit, binning=self.binning,
        )  # fmt: skip
        self.shots.append(replace(shot, **light))  # type: ignore[arg-type]
        self.clock += timedelta(seconds=exptime + 15.0)

    def zenith(self) -> None:
        """Point the telescope where it stands for calibrations."""
        self.pointing = (sidereal_degrees(self.clock, self.place.longitude), self.place.latitude)

    def afternoon(self) -> None:
        """Take bias, dark, and whatever lamps are taken before the night."""
        many = 2 if self.options.size == "full" else 1
        self.clock = _time(self.night.bias_start)
        self.zenith()
        bias = 0 if Fault.NO_BIAS in self.options.faults else self.night.bias * many
        for _ in range(bias):
            self.take(FrameType.BIAS, "bias", 0.0)
        for _ in range(self.night.dark):
            self.take(FrameType.DARK, "dark", self.night.science_exptime)
        if self.night.flat_start is not None:
            self.clock = _time(self.night.flat_start)
            self.flats()
        if self.night.arc_first is not None:
            self.clock = _time(self.night.arc_first)
            self.zenith()
            self.lamp_after(always=True)

    def flats(self) -> None:
        """Take the halogen flats."""
        if Fault.NO_FLAT in self.options.faults:
            return
        self.zenith()
        many = 2 if self.options.size == "full" else 1
        for _ in range(self.night.flats * many):
            self.take(
                FrameType.FLAT, "flat", self.known.flat.exptime, lamp="flat", slit=self.night.flat_slit or self.slit
            )

    def lamp_after(self, *, always: bool = False) -> None:
        """Take an arc where the telescope points; with arcs in the afternoon none is taken in the night."""
        if Fault.NO_ARC in self.options.faults or (self.night.arc_first is not None and not always):
            return
        lamp = self.known.lamps[self.night.lamp]
        slit = self.options.slit or self.night.arc_slit or self.slit
        self.take(FrameType.ARC, self.target, lamp.exptime, lamp=self.night.lamp, slit=slit)

    def standard(self, stars: tuple[Standard, ...]) -> None:
        """Take standards, each at the parallactic angle."""
        for star in stars:
            self.pointing, self.target = (star.ra, star.dec), star.name
            self.take(
                FrameType.STANDARD, star.name, standard_exptime(self.known, star, self.slit, self.dispersion),
                standard=star,
                **self._light(angle=float(self.rng.normal(0.0, 1.0))),
            )  # fmt: skip

    def science(self) -> None:
        """Take the exposures of the target, which wanders a little along the slit."""
        options = self.options
        self.clock += timedelta(minutes=10)
        hours = sidereal_degrees(self.clock + timedelta(minutes=20), self.place.longitude)
        self.pointing = ((hours + 18.0) % 360.0, self.place.latitude - 9.0)
        self.target = target_name(options)
        along = float(self.rng.uniform(-12.0, 12.0))
        for number in range(options.exposures):
            light = self._light(angle=options.off_parallactic) | {"along": along + float(self.rng.normal(0.0, 0.5))}
            if number:
                light["clear"] = options.clouds
            if Fault.OFF_SLIT in options.faults:
                light["across"] = 6.0
            if Fault.MIXED_BINNING in options.faults and number == options.exposures - 1:
                light["binning"] = (2, 2) if self.binning != (2, 2) else (1, 1)
            self.take(FrameType.SCIENCE, self.target, self.night.science_exptime, **light)

    def _light(self, *, angle: float) -> dict[str, object]:
        seeing = (self.options.seeing or self.night.seeing) * float(np.exp(self.rng.normal(0.0, 0.04)))
        return {
            "seeing": seeing,
            "angle": angle,
            "across": float(self.rng.normal(0.0, 0.04)),
            "along": float(self.rng.uniform(-15.0, 15.0)),
        }


def target_name(options: NightOptions) -> str:
    """Return what the simulated target is called."""
    names = {"quasar": "SIMQ1250+19", "supernova": "SIM2026sn", "galaxy": "SIMG1250+19", "blank": "blank sky"}
    return names[options.target]


def standard_exptime(known: Bench, star: Standard, slit: float, dispersion: float) -> float:
    """Return the exposure [s] that gives about 25,000 electrons in the brightest pixel of a standard."""
    wave = np.array([4300.0, 5500.0, 6500.0, 7500.0])
    rate = float((np.interp(wave, star.wave, star.flux) * wave).max()) / 1.986e-8 * known.area * dispersion * 0.13
    passed = min(1.0, 0.7 * slit / known.night.seeing)
    pixels = 1.3 * known.night.seeing / 0.3
    return float(np.clip(np.round(25000.0 * pixels / (rate * passed)), 3.0, 600.0))


def _standards(known: Bench, place: Site) -> tuple[Standard, ...]:
    """Return two of the instrument's usual standards that stand high enough at the beginning and end of the night."""
    stars = [star for name in known.night.standards if (star := find_standard(name, None, None)) is not None]
    begin = _time(known.night.date)
    first = [star for star in stars if _airmass(star, begin, place) < 1.9][:1]
    later = begin + timedelta(hours=1.5)
    return (*first, *[star for star in stars if star not in first and _airmass(star, later, place) < 1.9][:1])


def _airmass(star: Standard, when: datetime, place: Site) -> float:
    sidereal = sidereal_degrees(when, place.longitude)
    return airmass_at(altitude_and_parallactic(star.ra, star.dec, sidereal, place.latitude)[0])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def probe(known: Bench, options: NightOptions) -> Shot:
    """Return an exposure at the zenith, from which the setup can be told before anything is planned."""
    begin = _time(known.night.date)
    return Shot(
        number=0, type=FrameType.SCIENCE, name="probe", start=begin, exptime=1.0, ra=0.0, dec=0.0, altitude=90.0,
        azimuth=0.0, airmass=1.0, sidereal=0.0, parallactic=0.0, slit=options.slit or known.night.slit,
        binning=options.binning or known.night.binning,
    )  # fmt: skip
