"""What is exposed in an imaging night, when and where, and what can be made to go wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nightpipe.simulate.atmosphere import airmass_at, altitude_and_parallactic, sidereal_degrees
from nightpipe.simulate.imaging.camera import Camera, Observatory
from nightpipe.simulate.options import listed


class Fault(StrEnum):
    """What can be made to go wrong in an imaging night."""

    NO_BIAS = "no-bias"
    NO_FLAT = "no-flat"
    NO_DARK = "no-dark"
    BIAS_JUMP = "bias-jump"
    TRAILED = "trailed"
    CLOUDED = "clouded-out"
    OTHER_FIELD = "other-field"
    SATURATED = "all-saturated"
    NO_COORDINATES = "no-coordinates"


class ImagingOptions(BaseModel):
    """What the caller may ask of an imaging night; empty or zero means as is typical of the instrument.

    `size` ``"small"`` has few frames, ``"full"`` many, ``"tiny"`` no more than are needed. `filters`, `cameras`: only
    these. `window` [pixel]: the side of the square in the middle that is read (0: all). `latitude` [deg, galactic]
    overrides that of the field in its star counts. `catalogue` is a table (``ra dec r [g i ...]``, named columns)
    whose stars then hold. `transient`: none, supernova, afterglow; `transient_mag` in r at the first frame,
    `transient_sky` its offset (east, north) [arcsec] from the target, `host` r magnitude of its galaxy (0: none),
    `host_offset` [arcsec]. `clouds` is the mean transparency, which then varies by a third of what is lost.
    `bad_wcs`: the header's pointing is off by so many arcsec. `start` (ISO) is that of the first science frame, `aim`
    (east, north) [arcsec] where the arrays' middles point from the target, `pointing_error` [arcsec] rms that of the
    telescope, `dither` [arcsec] its steps between frames (none: as is usual).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str = Field("small", pattern="^(tiny|small|full)$")
    filters: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    window: int = Field(0, ge=0)
    exposures: int = Field(0, ge=0, le=60)
    exptime: float = Field(0.0, ge=0.0, le=3600.0)
    ra: float | None = Field(None, ge=0.0, lt=360.0)
    dec: float | None = Field(None, ge=-90.0, le=90.0)
    latitude: float | None = Field(None, ge=-90.0, le=90.0)
    catalogue: str = ""
    seeing: float = Field(0.0, ge=0.0, le=6.0)
    moon: float = Field(0.0, ge=0.0, le=1.0)
    clouds: float = Field(1.0, gt=0.0, le=1.0)
    transient: str = Field("supernova", pattern="^(none|supernova|afterglow)$")
    transient_mag: float = 19.5
    transient_sky: tuple[float, float] = (0.0, 0.0)
    host: float = Field(17.5, ge=0.0)
    host_offset: float = Field(2.0, ge=0.0)
    bad_wcs: float = Field(0.0, ge=0.0)
    target_name: str = "AT2026sim"
    start: str = ""
    aim: tuple[float, float] | None = None
    pointing_error: float | None = Field(None, ge=0.0)
    dither: float | None = Field(None, ge=0.0)
    galaxies: bool = True
    cosmics: bool = True
    trails: bool = True
    flats: bool = True
    calibrations: bool = True
    faults: tuple[Fault, ...] = ()

    @field_validator("faults", "filters", "cameras", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Let a command line give several in one word."""
        return listed(value)

    @field_validator("transient_sky", "aim", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        """Let a command line give an offset as ``3.0,-2.5``."""
        return tuple(float(part) for part in value.split(",")) if isinstance(value, str) else value


@dataclass(frozen=True)
class Shot:
    """One exposure as planned, of all cameras at once.

    `kind` is bias, dark, skyflat, domeflat or science; `turn` says which of their filters the wheels show. `ra`, `dec`
    [deg] are the target's, `offset` (east, north) [arcsec] the dither as commanded, `error` what the telescope adds.
    `level` is that of a flat as a fraction of saturation, `axis` how far the telescope's axis
    is put from the target to bring it into `aperture`, `clear` what clouds let through, `clock` [s] since dusk.
    """

    number: int
    kind: str
    target: str
    start: datetime
    exptime: float
    turn: int
    ra: float
    dec: float
    airmass: float
    altitude: float
    azimuth: float
    sidereal: float
    parallactic: float
    offset: tuple[float, float] = (0.0, 0.0)
    error: tuple[float, float] = (0.0, 0.0)
    aperture: str = ""
    axis: tuple[float, float] = (0.0, 0.0)
    seeing: float = 1.0
    clear: float = 1.0
    level: float = 0.0
    clock: float = 0.0
    trail: tuple[float, float] = (0.0, 0.0)
    rise: float = 0.0
    of: tuple[int, int] = (1, 1)

    @property
    def open(self) -> bool:
        """Return whether the shutter opens."""
        return self.kind not in ("bias", "dark")

    @property
    def epoch(self) -> float:
        """Return the Julian year."""
        return 2000.0 + (self.start - datetime(2000, 1, 1, 12, tzinfo=UTC)).total_seconds() / 31557600.0

    @property
    def mjd(self) -> float:
        """Return the modified Julian date of the start."""
        return 51544.5 + (self.start - datetime(2000, 1, 1, 12, tzinfo=UTC)).total_seconds() / 86400.0


def chosen(camera: Camera, options: ImagingOptions) -> tuple[str, ...]:
    """Return the filters of a camera that the options want, in its wheel's order."""
    there = [name for patch in camera.patches for name in patch.filters]
    return tuple(name for name in there if not options.filters or name in options.filters)


def wanted(known: Observatory, options: ImagingOptions) -> tuple[Camera, ...]:
    """Return the cameras that the options want."""
    return tuple(
        camera
        for camera in known.cameras
        if chosen(camera, options) and (not options.cameras or camera.name in options.cameras)
    )


def filters_of(camera: Camera, turn: int, options: ImagingOptions) -> tuple[str, ...]:
    """Return the filter before each patch of a camera in a turn of the wheels."""
    want = chosen(camera, options)
    names = []
    for patch in camera.patches:
        mine = [name for name in patch.filters if name in want] or list(patch.filters)
        names.append(mine[turn % len(mine)])
    return tuple(names)


def turns(known: Observatory, options: ImagingOptions) -> int:
    """Return how many turns of the wheels show each wanted filter once; a small night has two at most."""
    most = max(
        len([name for name in patch.filters if not options.filters or name in options.filters])
        for camera in wanted(known, options)
        for patch in camera.patches
    )
    return max(most, 1) if options.size == "full" or options.filters else min(max(most, 1), 2)


class Planner:
    """Lays exposures one after the other."""

    def __init__(self, known: Observatory, options: ImagingOptions, rng: np.random.Generator) -> None:
        self.known, self.options, self.rng = known, options, rng
        self.begin = datetime.fromisoformat(options.start or known.start).replace(tzinfo=UTC)
        self.clock = self.begin - timedelta(hours=3)
        self.dusk = self.clock
        self.shots: list[Shot] = []
        ra, dec = known.centre
        self.centre = (ra if options.ra is None else options.ra, dec if options.dec is None else options.dec)

    def night(self) -> tuple[Shot, ...]:
        """Return the night: calibrations in the afternoon, twilight flats, the target dithered in each filter."""
        few = self.options.size != "full"
        if self.options.calibrations:
            self._calibrations(few)
        self.clock = max(self.clock, self.begin)
        for turn in range(turns(self.known, self.options)):
            self._dithers(turn, self.options.exposures or (3 if few else 10))
        return tuple(self.shots)

    def _calibrations(self, few: bool) -> None:
        kinds, faults = self.known.calibrations, self.options.faults
        if "bias" in kinds and Fault.NO_BIAS not in faults:
            self._row("bias", 5 if few else 10, 0.0)
        if "dark" in kinds and Fault.NO_DARK not in faults:
            self._row("dark", 3 if few else 10, self.known.dark_exptime)
        if self.options.flats and Fault.NO_FLAT not in faults:
            for turn in range(turns(self.known, self.options)):
                if "domeflat" in kinds and not ("skyflat" in kinds and self.options.size == "tiny"):
                    self._row("domeflat", 3 if few else 5, self.known.flat_exptime, turn, np.full(5, 0.35))
                if "skyflat" in kinds:
                    levels = np.array([0.62, 0.55, 0.49]) if self.options.size == "tiny" else self._twilight(few)
                    self._row("skyflat", len(levels), self.known.flat_exptime, turn, levels)

    def _twilight(self, few: bool) -> np.ndarray:
        """Return levels of a twilight that fades by a ninth each frame: saturated, too bright, good, too faint."""
        if few:
            return np.array([1.4, 0.93, 0.62, 0.55, 0.49, 0.43, 0.14])
        return np.asarray(1.95 * 0.885 ** np.arange(25))

    def _row(self, kind: str, count: int, exptime: float, turn: int = 0, levels: np.ndarray | None = None) -> None:
        for k in range(count):
            level = 0.0 if levels is None else float(levels[k])
            shift = tuple(self.rng.normal(0.0, 25.0, 2)) if kind == "skyflat" else (0.0, 0.0)
            jump = 60.0 if Fault.BIAS_JUMP in self.options.faults and kind == "bias" and k == count - 1 else 0.0
            shot = self._shot(kind, kind, exptime, turn, level=level, error=shift, of=(k + 1, count), rise=jump)
            self.shots.append(shot)

    def _dithers(self, turn: int, count: int) -> None:
        faults = self.options.faults
        for k in range(count):
            asked = self.options.dither
            angle, step = 2.4 * k, (self.known.dither if asked is None else asked) * np.sqrt(k)
            offset = (float(round(step * np.cos(angle), 1)), float(round(step * np.sin(angle), 1)))
            seeing = (self.options.seeing or self.known.seeing) * float(self.rng.lognormal(0.0, 0.07))
            lost = 1.0 - self.options.clouds
            clear = float(np.clip(self.options.clouds + lost / 3.0 * self.rng.normal(), 0.02, 1.0))
            trail = (6.0, 2.5) if Fault.TRAILED in faults and k == 1 else (0.0, 0.0)
            if Fault.CLOUDED in faults and k == 1:
                clear = 0.03
            scatter = tuple(self.rng.normal(0.0, 0.25, 2) + self._blind())
            exptime = self.options.exptime or self._exptime(turn)
            how = {"offset": offset, "seeing": seeing, "clear": clear, "trail": trail, "error": scatter}
            shot = self._shot("science", "target", exptime, turn, of=(k + 1, count), **how, **self._aperture(k, count))
            if Fault.OTHER_FIELD in faults and k == 1:
                shot = replace(shot, error=(3600.0, 1800.0))
            self.shots.append(shot)

    def _aperture(self, k: int, count: int) -> dict[str, object]:
        there = self.known.apertures
        if not there:
            return {}
        name, east, north = there[len(there) * k // count]
        return {"aperture": name, "axis": (-60.0 * east, -60.0 * north)}

    def _blind(self) -> np.ndarray:
        """Return the telescope's pointing error of tonight [arcsec], the same for all dithers."""
        asked = self.options.pointing_error
        size = self.known.pointing_error if asked is None else asked
        night = np.random.default_rng([int(self.centre[0] * 100), 77])
        return np.asarray(night.normal(0.0, size, 2) + np.array([self.options.bad_wcs, 0.0]))

    def _exptime(self, turn: int) -> float:
        camera = wanted(self.known, self.options)[0]
        return self.known.filters[filters_of(camera, turn, self.options)[0]].exptime

    def _shot(self, kind: str, target: str, exptime: float, turn: int, **more: object) -> Shot:
        sidereal = sidereal_degrees(self.clock, self.known.longitude)
        ra, dec = self.centre if kind == "science" else (sidereal, self.known.latitude)
        altitude, parallactic = altitude_and_parallactic(ra, dec, sidereal, self.known.latitude)
        azimuth = _azimuth(ra, dec, sidereal, self.known.latitude)
        drift = float(self.rng.normal(0.0, 0.3)) + float(more.pop("rise", 0.0))  # type: ignore[arg-type]
        shot = Shot(
            len(self.shots) + 1, kind, target, self.clock, exptime, turn, ra, dec, airmass_at(altitude), altitude,
            azimuth, sidereal, parallactic, clock=(self.clock - self.dusk).total_seconds(), rise=drift, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self.clock += timedelta(seconds=exptime + self.known.overhead)
        return shot


def _azimuth(ra: float, dec: float, sidereal: float, latitude: float) -> float:
    """Return the azimuth [deg, north through east]."""
    hour, phi, delta = np.radians([sidereal - ra, latitude, dec])
    east = -np.cos(delta) * np.sin(hour)
    north = np.sin(delta) * np.cos(phi) - np.cos(delta) * np.cos(hour) * np.sin(phi)
    return float(np.degrees(np.arctan2(east, north))) % 360.0
