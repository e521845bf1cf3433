"""The facts of one raw exposure, typed, whatever dialect its header spoke."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

Scalar = str | int | float | bool
Header = dict[str, Scalar]


class FrameType(StrEnum):
    """What a raw frame is for."""

    BIAS = "bias"
    DARK = "dark"
    FLAT = "flat"
    ARC = "arc"
    STANDARD = "standard"
    SCIENCE = "science"
    SKY_FLAT = "skyflat"
    ACQUISITION = "acquisition"
    SLIT_IMAGE = "slitimage"
    IMAGE = "image"
    FOCUS = "focus"
    TEST = "test"
    REDUCED = "reduced"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Site:
    """Where a telescope stands: degrees east, degrees north, metres above sea level."""

    name: str
    longitude: float
    latitude: float
    height: float


@dataclass(frozen=True)
class Setup:
    """The part of the configuration that calibrations must share; empty strings where it does not apply.

    `binning` and `window` are (x, y) and (x0, x1, y0, y1) in detector pixels, one-based, as read.
    """

    mode: str = ""
    arm: str = ""
    disperser: str = ""
    angle: str = ""
    slit: str = ""
    filter: str = ""
    dichroic: str = ""
    binning: tuple[int, int] = (1, 1)
    window: tuple[int, int, int, int] | None = None
    readout: str = ""

    def label(self) -> str:
        """Return the setup as people say it, for tables and file names."""
        parts = (self.arm, self.disperser, self.slit, self.filter, "x".join(map(str, self.binning)))
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Exposure:
    """One raw exposure.

    `path` is that of the file; where a detector serves as several cameras, ``#`` and the name of the part follow.
    `ra`, `dec` are ICRS degrees of the pointing or None, `object_ra`, `object_dec` those of what it is about; `start`
    is UTC in ISO format; `mjd` is at mid-exposure (UTC); `exptime` in seconds; `band` is the band of catalogues,
    `temperature` [Celsius] the detector's; `nod` the half of a nodded pair, A or B; `lamps` are the names
    of the lamps that shone; `sha256` is that of the file as it lies.
    """

    path: str
    sha256: str
    instrument: str
    type: FrameType
    target: str
    setup: Setup
    start: str
    mjd: float
    exptime: float
    airmass: float | None = None
    ra: float | None = None
    dec: float | None = None
    lamps: tuple[str, ...] = ()
    site: Site | None = None
    observer: str = ""
    standard: str = ""
    notes: tuple[str, ...] = field(default=())
    object_ra: float | None = None
    object_dec: float | None = None
    band: str = ""
    temperature: float | None = None
    nod: str = ""

    @property
    def name(self) -> str:
        """Return the file name without folder and endings: how people and decisions call the exposure."""
        name, _, part = self.path.rsplit("/", 1)[-1].partition("#")
        for ending in (".gz", ".fz", ".bz2", ".fits", ".fit", ".fts"):
            name = name.removesuffix(ending)
        return f"{name}_{part}" if part else name

    @property
    def file(self) -> str:
        """Return the path of the file, without the part."""
        return self.path.partition("#")[0]
