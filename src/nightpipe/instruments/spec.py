"""The description of an instrument: the model behind one TOML file."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nightpipe.instruments.match import When
from nightpipe.model.exposure import FrameType, Scalar

Fact = Literal[
    "target", "exptime", "start", "airmass", "ra", "dec", "observer", "object_ra", "object_dec", "temperature", "scale",
    "nod", "mode", "arm", "disperser", "angle", "slit", "filter", "dichroic", "binning", "window", "readout",
]  # fmt: skip
Axis = Literal["x", "y"]
Direction = Literal["x", "y", ""]
Key = Literal["mode", "arm", "disperser", "angle", "slit", "filter", "dichroic", "binning", "window", "readout"]


class Described(BaseModel):
    """What all parts of a description share: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Card(Described):
    """Where a fact is read: the first of `card` that has a value not matching `skip`.

    `unit` is how it is written (``deg``, ``hours``, ``sexagesimal`` for angles, ``ms`` for times); `extension` an HDU's
    number or name; `translate` replaces the value by the entry of the first regex that matches it; `hook` names a
    function of `instruments.hooks`; `equinox` is that of the right ascension; `default` stands where no card has a
    value; `when` limits the entry.
    """

    card: tuple[str, ...] = ()
    extension: int | str | None = None
    unit: Literal["", "deg", "hours", "sexagesimal", "s", "ms"] = ""
    skip: str = ""
    translate: dict[str, str] = Field(default_factory=dict)
    hook: str = ""
    equinox: Literal["J2000", "date"] = "J2000"
    default: Scalar | None = None
    when: When = Field(default_factory=dict)

    @field_validator("card", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class FrameRule(Described):
    """A frame that fulfils `when` is of `type`; rules are asked in order, the first that holds decides."""

    type: FrameType
    when: When


class Lamp(Described):
    """A lamp shone when one of the conditions `on` holds."""

    name: str
    on: tuple[When, ...]


class AmplifierSpec(Described):
    """One amplifier: its sections, one-based and inclusive.

    ``[x1:x2,y1:y2]`` is in detector pixels, ``raw[...]`` in pixels of the array as read (negative: from its end), and
    anything else is the name of a card that holds a section of the array; an end left out is the array's. `gain`
    [electron/adu] and `read_noise` [electron] stand where the cards `gain_card`, `read_noise_card` cannot be read.
    """

    name: str = "1"
    data: str
    overscan: tuple[str, ...] = ()
    overscan_axis: Axis = "y"
    gain: float = Field(gt=0)
    read_noise: float = Field(gt=0)
    gain_card: str = ""
    read_noise_card: str = ""


class AxisRule(Described):
    """The dispersion runs otherwise where `when` holds."""

    when: When
    dispersion: Axis
    increasing: bool


class CameraSpec(Described):
    """How a detector's pixels lie on the sky when it takes images.

    `rotation` is the position angle [degree, north through east] of the +y axis, `mirrored` says that east lies to the
    right of north. `centre` [unbinned detector pixel, one-based] lies at `offset` [arcmin, east and north] from where
    the telescope points; without it, the middle of the light does. `radial` lists (power, coefficient) of the
    distortion: a direction at r [degree] from the centre lies at ``r (1 + sum c r^p)``. `tolerance` [arcmin] is how
    well the telescope points.
    """

    rotation: float = 0.0
    mirrored: bool = False
    centre: tuple[float, float] | None = None
    offset: tuple[float, float] = (0.0, 0.0)
    radial: tuple[tuple[int, float], ...] = ()
    tolerance: float = Field(default=2.0, gt=0)


class DetectorSpec(Described):
    """A detector in one epoch: the last entry whose `when` holds and whose `valid_from` has passed is taken.

    `light` is the light-sensitive section in detector pixels. `saturation` and `linear_to` are adu above the pedestal,
    `scale` arcsec per unbinned pixel (along the slit), `blur` the width [unbinned pixel] of the image of a slit without
    width. `dispersion` is left out where the detector takes images only. `source` says where the numbers are from.
    """

    name: str
    when: When = Field(default_factory=dict)
    valid_from: date = date.min
    light: str
    dispersion: Direction = ""
    increasing: bool = True
    camera: CameraSpec | None = None
    axes: tuple[AxisRule, ...] = ()
    saturation: float = Field(gt=0)
    linear_to: float = Field(gt=0)
    scale: float = Field(gt=0)
    blur: float = 0.0
    scalable_dark: bool = False
    bad: tuple[str, ...] = ()
    amplifiers: tuple[AmplifierSpec, ...] = Field(min_length=1)
    source: str = ""


class Optics(Described):
    """A reflection grating's mount, for wavelengths from the grating's angle.

    `camera_angle` [degree] lies between collimator and camera, `focal_length` [mm] is the camera's, `pixel` [mm];
    light falls onto the grating along its normal when the angle reads `zero` degrees.
    """

    when: When = Field(default_factory=dict)
    camera_angle: float
    focal_length: float = Field(gt=0)
    pixel: float = Field(gt=0)
    zero: float = 0.0


class LensletSpec(Described):
    """A lenslet array before the disperser: what was measured of it, for the finding of its spectra to begin with.

    `pitch` [arcsec] between lenslets, `angle` [degree] of the lattice on the sky: (q, r) lies at
    ``pitch sqrt(3)/2 R(angle) ((2q + r)/sqrt(3), r)``, east and north. On the raw detector the step (1, 0) is `step`
    pixels long and `turn` [degree] from +x, (0, 1) 60 degrees further; `middle` [detector pixel, one-based] is where
    light of `reference` [Angstrom] through (0, 0) falls. `half` [Angstrom] splits the dome's light into halves.
    `features` are (vacuum wavelength, pixel along a spectrum growing with wavelength), `light` [Angstrom] is where
    light begins and ends, `sigma` [pixel] the rms width across a spectrum.
    """

    pitch: float = Field(gt=0)
    angle: float
    step: float = Field(gt=0)
    turn: float
    middle: tuple[float, float]
    reference: float = Field(gt=0)
    half: float = Field(gt=0)
    light: tuple[float, float]
    sigma: float = Field(gt=0)
    features: tuple[tuple[float, float], ...] = Field(min_length=6)


class DisperserSpec(Described):
    """A grism or grating: Angstrom per unbinned pixel, vacuum wavelength at the middle of the detector, useful range.

    `resolution` is the line width [Angstrom] per arcsec of slit. `lines` [1/mm] goes with an `Optics` entry, which
    then gives `dispersion`, `centre` and `resolution`. `centre_tolerance` [Angstrom] is 100 pixels where it is not
    given, `dispersion_tolerance` a fraction. `lamps` are those usually taken with it. An entry with a later
    `valid_from` replaces those before it. `lenslets` describes a lenslet array in place of a slit.
    """

    name: str
    when: When = Field(default_factory=dict)
    valid_from: date = date.min
    dispersion: float = 0.0
    centre: float = 0.0
    range: tuple[float, float]
    resolution: float = 0.0
    lines: float = 0.0
    centre_tolerance: float = 0.0
    dispersion_tolerance: float = 0.05
    second_order_from: float = 0.0
    fringes_from: float = 0.0
    lamps: tuple[str, ...] = ()
    lenslets: LensletSpec | None = None

    @model_validator(mode="after")
    def _tells_its_dispersion(self) -> Self:
        if not self.lines and not (self.dispersion > 0 and self.centre > 0 and self.resolution > 0):
            raise ValueError(f"disperser {self.name} needs `lines`, or `dispersion`, `centre` and `resolution`")
        return self


class Association(Described):
    """Which calibrations serve: `match` must agree, `relax` should (given up in this order, each with a caveat).

    `temperature` [K] is how far the detector's may differ.
    `max_age` is in days; `nearest` takes only the frames nearest in time, `group` [hour] is how far frames of one set
    may lie apart; `least` says how many frames make a good master.
    """

    match: tuple[Key, ...]
    relax: tuple[Key, ...] = ()
    temperature: float = Field(default=float("inf"), gt=0)
    nearest: bool = False
    max_age: float = 30.0
    group: float = 24.0
    least: int = 1


class Part(Described):
    """One of several virtual cameras on a detector: where `when` holds, a file also is an exposure of this part.

    The headers then hold a card ``PART`` with its name, which all other conditions may ask for.
    """

    name: str
    when: When = Field(default_factory=dict)


class Override(Described):
    """Parameters ``Step.param`` that this instrument, or a setup of it, wants otherwise."""

    when: When = Field(default_factory=dict)
    set: dict[str, Scalar]


class InstrumentSpec(Described):
    """Everything that nightpipe knows of one instrument.

    `site` is left out where the frames may be from anywhere.
    `bands` gives the band of catalogues (``g``, ``J``) whose filter matches; the first that holds counts. `files` names
    the form of the files that its users have had so far and get beside ours.
    """

    name: str
    title: str
    site: str = ""
    doc: str
    files: Literal["", "sedm"] = ""
    recognise: tuple[When, ...] = Field(min_length=1)
    cards: dict[Fact, tuple[Card, ...]]
    lamps: tuple[Lamp, ...] = ()
    frames: tuple[FrameRule, ...] = Field(min_length=1)
    detectors: tuple[DetectorSpec, ...] = Field(min_length=1)
    optics: tuple[Optics, ...] = ()
    dispersers: tuple[DisperserSpec, ...] = ()
    blockers: dict[str, float] = Field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    bands: dict[str, str] = Field(default_factory=dict)
    calibrations: dict[FrameType, Association] = Field(default_factory=dict)
    overrides: tuple[Override, ...] = ()

    @property
    def kind(self) -> Literal["images", "slit", "lenslets"]:
        """Return what the instrument's frames of the sky are: images, spectra of a slit, or of a lenslet array."""
        if not self.dispersers:
            return "images"
        return "lenslets" if any(entry.lenslets for entry in self.dispersers) else "slit"

    @field_validator("cards", mode="before")
    @classmethod
    def _cards(cls, value: Any) -> Any:
        return {fact: _entries(entry) for fact, entry in value.items()} if isinstance(value, dict) else value

    @field_validator("lamps", mode="before")
    @classmethod
    def _lamps(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return [{"name": name, "on": [on] if isinstance(on, dict) else on} for name, on in value.items()]

    @model_validator(mode="after")
    def _must_read_time(self) -> Self:
        if missing := {"exptime", "start", "target"} - set(self.cards):
            raise ValueError(f"[cards] of {self.name} must say where to read {sorted(missing)}")
        return self


def _entries(entry: Any) -> Any:
    if isinstance(entry, str):
        return [{"card": entry}]
    if isinstance(entry, dict):
        return [entry]
    if isinstance(entry, list) and all(isinstance(item, str) for item in entry):
        return [{"card": entry}]
    return entry
