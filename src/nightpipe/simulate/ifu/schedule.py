"""What SEDM exposes in a night: lamps in the afternoon, standards, targets with their guider frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nightpipe.base.errors import ConfigError
from nightpipe.io.references import find_standard
from nightpipe.model.references import Standard
from nightpipe.simulate.atmosphere import airmass_at, altitude_and_parallactic, sidereal_degrees
from nightpipe.simulate.ifu import weather
from nightpipe.simulate.ifu.weather import Weather
from nightpipe.simulate.options import listed

LONGITUDE, LATITUDE = -116.8650, 33.3564
_STANDARDS = ("BD+28 4211", "BD+33 2642", "Feige 34", "BD+75 325", "Feige 110", "BD+25 4655", "Feige 66", "Hz 44")
_STARTS = {"pixis": "2019-09-12", "andor": "2024-09-12"}


class Fault(StrEnum):
    """What can be made to go wrong in a night of SEDM."""

    NO_XE = "no-xe"
    WRONG_LAMP = "wrong-lamp"
    SATURATED_DOME = "saturated-dome"
    NO_CALIBRATIONS = "no-calibrations"
    NO_STANDARD = "no-standard"
    OUTSIDE = "target-outside"
    CLOUD = "cloud"
    DEAD = "dead-lenslets"
    MISSING = "missing-traces"
    NO_GUIDER = "no-guider"
    BLIND = "blind-guider"


class IfuOptions(BaseModel):
    """What the caller may ask of a night of SEDM.

    `epoch` is the detector: pixis or andor. `target`: supernova, star, blank; `magnitude` in V; `host` V magnitude of
    a galaxy (0: none), `host_offset` [arcsec], `host_radius` [arcsec] half light; `neighbour` V of a star 6 arcsec off
    (0: none). `offset` (east, north) [arcsec] of the target from the field's middle; without, drawn with 1.5 arcsec
    rms. `pair`: A and B exposures, nodded by 8 arcsec. `rate` (arcsec/h, east) of a moving target, which the telescope
    follows: what stands still is trailed. `flexure` scales that which the telescope's attitude makes (0.3 pixel rms).
    `age` [h] from a standard to its target (0: drawn as public spectra have it). `guider`: write rainbow-camera frames.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str = Field("small", pattern="^(small|full)$")
    epoch: str = Field("pixis", pattern="^(pixis|andor)$")
    targets: int = Field(1, ge=0, le=20)
    standards: int = Field(1, ge=0, le=6)
    target: str = Field("supernova", pattern="^(supernova|star|blank)$")
    magnitude: float = 17.0
    redshift: float = Field(0.03, ge=0.0, le=0.5)
    host: float = Field(0.0, ge=0.0)
    host_offset: float = Field(2.0, ge=0.0, le=15.0)
    host_radius: float = Field(2.5, gt=0.0, le=15.0)
    neighbour: float = Field(0.0, ge=0.0)
    offset: tuple[float, float] | None = None
    exptime: float = Field(0.0, ge=0.0, le=3600.0)
    seeing: float = Field(0.0, ge=0.0, le=5.0)
    airmass: float = Field(0.0, ge=0.0, le=3.0)
    moon: float = Field(0.0, ge=0.0, le=1.0)
    clouds: float = Field(1.0, gt=0.0, le=1.0)
    flexure: float = Field(1.0, ge=0.0, le=5.0)
    pair: bool = False
    rate: float = 0.0
    age: float = Field(0.0, ge=0.0, le=8.0)
    guider: bool = True
    calibrations: bool = True
    cosmics: bool = True
    faults: tuple[Fault, ...] = ()

    @field_validator("faults", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Let a command line give several in one word."""
        return listed(value)

    @field_validator("offset", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        """Let a command line give an offset as ``3.0,-2.5``."""
        return tuple(float(part) for part in value.split(",")) if isinstance(value, str) else value


@dataclass(frozen=True)
class Shot:
    """One exposure: `kind` is bias, dome, lamp, focus, standard or science; `lamp` which; `of` its place in a set;
    `offset` (east, north) [arcsec] of the target from the field's middle; `flexure` (dx, dy [pixel], turn [radian]);
    `moved` [arcsec, east] how far a moving target is from where its first exposure began, at mid-exposure.
    """

    number: int
    kind: str
    name: str
    start: datetime
    exptime: float
    speed: float
    ra: float
    dec: float
    airmass: float
    end_airmass: float
    altitude: float
    sidereal: float
    parallactic: float
    end_parallactic: float
    of: tuple[int, int] = (1, 1)
    lamp: str = ""
    letter: str = "A"
    seeing: float = 1.8
    jitter: tuple[float, float] = (0.3, 0.3)
    clear: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    flexure: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rise: float = 0.0
    standard: Standard | None = None
    moved: float = 0.0
    weather: Weather = field(default_factory=Weather)

    @property
    def mjd(self) -> float:
        """Return the modified Julian date of the start."""
        return 51544.5 + (self.start - datetime(2000, 1, 1, 12, tzinfo=UTC)).total_seconds() / 86400.0

    @property
    def middle_airmass(self) -> float:
        """Return the airmass at mid-exposure."""
        return (self.airmass + self.end_airmass) / 2.0

    @property
    def middle_parallactic(self) -> float:
        """Return the parallactic angle at mid-exposure [deg]."""
        turn = (self.end_parallactic - self.parallactic + 180.0) % 360.0 - 180.0
        return self.parallactic + turn / 2.0


class Planner:
    """Lays exposures one after the other."""

    def __init__(self, options: IfuOptions, speeds: tuple[float, float], rng: np.random.Generator) -> None:
        self.options, self.rng = options, rng
        self.slow, self.fast = speeds
        self.clock = datetime.fromisoformat(f"{_STARTS[options.epoch]}T00:10:00").replace(tzinfo=UTC)
        self.phase = rng.uniform(0.0, 2.0 * np.pi, 3)
        self.amplitude = np.abs(rng.normal(0.0, 0.25, 2)) + 0.15
        self.shots: list[Shot] = []
        self.other = rng.spawn(1)[0]  # weather and gaps: what they draw moves nothing else
        self.dusk = weather.begun(self.other)

    def night(self) -> tuple[Shot, ...]:
        """Return the night's exposures in the order in which they are taken."""
        options, few = self.options, self.options.size == "small"
        if options.calibrations and Fault.NO_CALIBRATIONS not in options.faults:
            self._afternoon(few)
        self.clock = self.clock.replace(hour=4, minute=20, second=11)
        if not few:
            self._focus()
        stars = 0 if Fault.NO_STANDARD in options.faults else options.standards
        for k in range(max(stars, options.targets)):
            if k < stars:
                self._standard()
            if k < options.targets:
                self._wait(k)
                self._target(k)
        return tuple(self.shots)

    def _afternoon(self, few: bool) -> None:
        options = self.options
        for speed in sorted({self.slow, self.fast}):
            self._set("bias", "bias", 5 if few else 10, 0.0, speed)
        pixis, count = options.epoch == "pixis", 3 if few else 5
        self._set("dome", "dome lamp", count, 180.0 if pixis else 40.0, self.fast)
        for lamp, seconds in (("Hg", 30.0), ("Xe", 60.0 if pixis else 20.0), ("Cd", 30.0)):
            if not (lamp == "Xe" and Fault.NO_XE in options.faults):
                self._set("lamp", lamp, count, seconds, self.fast, lamp=lamp)

    def _set(self, kind: str, name: str, count: int, exptime: float, speed: float, lamp: str = "") -> None:
        for k in range(count):
            sidereal = sidereal_degrees(self.clock, LONGITUDE)
            self._add(kind, name, exptime, speed, (sidereal - 3.6 * 15.0, 50.0), of=(k + 1, count), lamp=lamp)

    def _standard(self) -> None:
        sidereal = sidereal_degrees(self.clock, LONGITUDE)
        done = {shot.name for shot in self.shots}
        found = [star for name in _STANDARDS if (star := find_standard(name)) is not None and star.name not in done]
        high = [(altitude_and_parallactic(star.ra, star.dec, sidereal, LATITUDE)[0], star) for star in found]
        if not high:
            raise ConfigError("a standard for SEDM", "none in the packaged list", "report this")
        star = max(high, key=lambda item: item[0])[1]
        seconds = 240.0 if "BD" in star.name.upper() else 300.0
        offset = tuple(self.rng.normal(0.0, 1.0, 2))
        self._add("standard", star.name, seconds, self.slow, (star.ra, star.dec), standard=star, offset=offset)

    def _target(self, k: int) -> None:
        options = self.options
        sidereal = sidereal_degrees(self.clock, LONGITUDE)
        hour, dec = self._drawn()
        if options.airmass:
            dec, hour = LATITUDE - np.degrees(np.arccos(1.0 / max(options.airmass, 1.001))), 3.0
        middle = options.offset or tuple(self.rng.normal(0.0, 1.5, 2))
        if Fault.OUTSIDE in options.faults:
            middle = (18.0, 6.0)
        seconds = options.exptime or float(
            np.interp(options.magnitude, (15, 16, 17, 18, 19), (420, 600, 900, 1800, 2250))
        )
        letters, begun = "AB" if options.pair else "A", self.clock
        for letter in letters:
            offset = (middle[0], middle[1] + (8.0 if letter == "B" else 0.0) - (4.0 if options.pair else 0.0))
            moved = options.rate * (self.clock - begun).total_seconds() / 3600.0
            ra = sidereal - hour + moved / 3600.0 / float(np.cos(np.radians(dec)))
            self._add("science", f"ZTF26sim{chr(97 + k)}", seconds, self.slow, (ra % 360.0, dec),
                      letter=letter, offset=offset, of=(letters.index(letter) + 1, len(letters)),
                      moved=moved + options.rate * seconds / 7200.0)  # fmt: skip

    def _drawn(self) -> tuple[float, float]:
        """Return hour angle and declination [deg] of a target, never lower than 22 degrees."""
        while True:
            hour, dec = float(self.rng.uniform(-62.0, 62.0)), float(np.clip(self.rng.normal(17.0, 20.0), -24.0, 70.0))
            if altitude_and_parallactic(hour, dec, 0.0, LATITUDE)[0] > 22.0:
                return hour, dec

    def _wait(self, k: int) -> None:
        """Let time pass between a standard and its target, as much as public spectra have, and the night has left."""
        options = self.options
        drawn = float(self.other.lognormal(np.log(2.6), 0.7))
        dawn = self.clock.replace(hour=12, minute=0)
        most = (dawn - self.clock).total_seconds() / 3600.0 / (options.targets - k)
        hours = options.age or min(drawn, max(most, 0.0))
        self.clock += timedelta(hours=hours)

    def _focus(self) -> None:
        """Take the focus on a bright star before the first standard."""
        evening = self.clock
        self.clock -= timedelta(minutes=12)
        sidereal = sidereal_degrees(self.clock, LONGITUDE)
        for k in range(3):
            self._add("focus", "SAO110707", 10.0, self.fast, (sidereal + 12.0, 25.0), of=(k + 1, 3))
        self.clock = evening

    def _add(
        self, kind: str, name: str, exptime: float, speed: float, place: tuple[float, float], **more: object
    ) -> None:
        options, (ra, dec) = self.options, place
        sky = kind in ("standard", "science", "focus")
        begun = self.clock.replace(hour=0, minute=10)
        now = weather.later(self.dusk, (self.clock - begun).total_seconds() / 3600.0, self.other)
        begin, end = (self._aspect(ra, dec, when) for when in (self.clock, self.clock + timedelta(seconds=exptime)))
        seeing = (options.seeing or 1.7) * (1.0 if options.seeing else float(self.rng.lognormal(0.0, 0.18)))
        cloud = Fault.CLOUD in options.faults and kind == "science"
        clear = 0.05 if cloud else float(np.clip(options.clouds * self.rng.normal(1.0, 0.02), 0.02, 1.0))
        jitter = tuple(float(value) for value in np.abs(self.rng.normal(0.35, 0.1, 2)))
        shot = Shot(
            len(self.shots) + 1, kind, name, self.clock, exptime, speed, ra % 360.0, dec, begin[0], end[0], begin[1],
            begin[3], begin[2], end[2], seeing=seeing, clear=clear, jitter=jitter,  # type: ignore[arg-type]
            flexure=self._flexure(ra, dec, begin[3], sky=sky), rise=float(self.rng.normal(0.0, 1.0)),
            weather=now, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self.shots.append(shot)
        overhead = {0.1: 45.0, 1.0: 8.0, 2.0: 6.0}[speed] + (90.0 if sky else 0.0)
        self.clock += timedelta(seconds=exptime + overhead)

    def _aspect(self, ra: float, dec: float, when: datetime) -> tuple[float, float, float, float]:
        sidereal = sidereal_degrees(when, LONGITUDE)
        altitude, parallactic = altitude_and_parallactic(ra, dec, sidereal, LATITUDE)
        return airmass_at(altitude), altitude, parallactic, sidereal

    def _flexure(self, ra: float, dec: float, sidereal: float, *, sky: bool) -> tuple[float, float, float]:
        """Return the flexure: a smooth function of hour angle and declination, creep, and more of it at night.

        The telescope's public headers have 0.31 pixel rms along the dispersion, 0 to -1.4 across.
        """
        scale = self.options.flexure
        creep = self.rng.normal(0.0, 0.02, 3)
        if not sky:
            return float(scale * creep[0] * 0.5), float(scale * creep[1] * 0.5), 0.0
        hour, high = np.radians(sidereal - ra), np.radians(dec)
        dx = self.amplitude[0] * (np.sin(hour + self.phase[0]) + 0.6 * np.sin(2.0 * high + self.phase[1])) - 0.02
        dy = -0.5 - self.amplitude[1] * np.sin(hour + 0.5 * high + self.phase[2])
        values = scale * np.array([dx + creep[0], dy + creep[1], 2e-5 * np.sin(hour) + 3e-6 * creep[2]])
        return float(np.clip(values[0], -1.0, 1.0)), float(np.clip(values[1], -1.4, 0.4)), float(values[2])
