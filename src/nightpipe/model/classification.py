"""What a spectrum shows: its type with probabilities, its redshift, the templates that say so."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.model.exposure import Header
from nightpipe.model.spectrum import Spectrum

FloatArray = NDArray[np.float64]

TOO_NOISY, FEATURELESS = "too noisy", "featureless"
"""Verdicts that name no type."""


@dataclass(frozen=True)
class Observed:
    """A spectrum to be classified, from wherever it came.

    `wave` (n,) Angstrom in air as the templates', increasing; `flux`, `var` (n,) in any unit; `good` (n,). `measured`:
    the variance was given with it. `resolution` is the resolving power, 0 where unknown. `object` tells several in one
    slit apart.
    """

    name: str
    wave: FloatArray
    flux: FloatArray
    var: FloatArray
    good: NDArray[np.bool_]
    measured: bool = True
    resolution: float = 0.0
    header: Header = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
    object: str = ""


def observed(spectrum: Spectrum) -> Observed:
    """Return one of our own spectra as `Observed`: vacuum to air, its resolving power from the line-spread function."""
    from nightpipe.maths.air import to_air

    usable = spectrum.good & np.isfinite(spectrum.flux)
    width = spectrum.fwhm[usable & (spectrum.fwhm > 0)] if len(spectrum.fwhm) == len(spectrum.wave) else np.zeros(0)
    resolution = float(np.median(spectrum.wave[usable]) / np.median(width)) if len(width) else 0.0
    target = spectrum.exposure.target if spectrum.exposure is not None else spectrum.name
    return Observed(
        target,
        to_air(spectrum.wave),
        spectrum.flux,
        np.where(usable, spectrum.var, 0.0),
        usable,
        resolution=resolution,
        caveats=spectrum.caveats,
        object=spectrum.name,
    )


def signed(days: float) -> str:
    """Return a phase in whole days with its sign; maximum is +0."""
    return f"{round(days) + 0:+d}"


@dataclass(frozen=True)
class TemplateMatch:
    """How one template compares: the numbers of SNID (Blondin & Tonry 2007), and the evidence that ours rests on.

    `z`, `z_error` of the template against the spectrum, `r`, `lap` (overlap in ln wavelength), `rlap` their product;
    `age` days from maximum light (NaN unknown); `grade` good, bad (redshift off) or cut (rlap low); `row` in the bank.
    """

    object: str
    type: str
    subtype: str
    kind: str
    source: str
    age: float
    z: float
    z_error: float
    r: float
    lap: float
    rlap: float
    evidence: float
    row: int
    grade: str = "good"


@dataclass(frozen=True)
class TypeRow:
    """One line of SNID's table: a type's or subtype's good templates, their share, its slope with rlap, z and age."""

    name: str
    count: int
    fraction: float
    slope: float
    z: float
    z_error: float
    age: float
    age_error: float


@dataclass(frozen=True)
class SnidTable:
    """The classic answer: medians over the good matches, and the table of types; `z_initial` is where it began."""

    z_initial: float
    z_median: float
    z_error: float
    age_median: float
    age_error: float
    rows: tuple[TypeRow, ...]
    matches: tuple[TemplateMatch, ...]
    least_rlap: float = 5.0
    z_filter: float = 0.02


@dataclass(frozen=True)
class RedshiftMode:
    """One of the redshifts that are possible, its standard error, and the probability that it is the right one.

    `peak` is where the matches have it (NaN: it was given), below `z` where that was held at the least that is told.
    """

    z: float
    error: float
    probability: float
    peak: float = float("nan")


@dataclass(frozen=True)
class FluxFit:
    """The best template with its continuum, dust and a host: ``flux = a template(z) 10^(-0.4 A k) + b host``.

    `a_v` [mag] in the frame of the supernova, `host_share` of the light over the fitted range, `chi` the root mean
    square residual over error and a template's own scatter of 8%.
    """

    object: str
    kind: str
    a_v: float
    host_share: float
    chi: float


@dataclass(frozen=True)
class Overlay:
    """A template laid over the spectrum: `wave` observed [Angstrom], `flux` in the spectrum's unit."""

    label: str
    wave: FloatArray
    flux: FloatArray


@dataclass(frozen=True)
class Classification:
    """What a spectrum shows.

    `verdict` is the answer for people: a type, "not a supernova", "featureless", "too noisy" or "unclear"; `type` the
    most probable type and `kind` its most probable subtype; `types` and `kinds` the calibrated probabilities. Of what
    is featureless or too noisy nothing is `answered`: those are what networks say that never saw such, they mean
    nothing, and no file, figure or table tells them. `modes` are the possible redshifts, the likeliest first, `grid`
    and `density` (n,) their distribution for drawing. `host_share` is the part of the light that a galaxy explains
    better (NaN: not told), `fits` what fluxes say where a flux bank is at hand.
    """

    name: str
    verdict: str
    type: str
    kind: str
    types: dict[str, float]
    kinds: dict[str, float]
    modes: tuple[RedshiftMode, ...]
    redshift_given: bool
    phase: float
    phase_error: float
    host_share: float
    snr: float
    matches: tuple[TemplateMatch, ...]
    snid: SnidTable
    overlays: tuple[Overlay, ...]
    fits: tuple[FluxFit, ...]
    grid: FloatArray
    density: FloatArray
    wave: FloatArray
    flux: FloatArray
    level: FloatArray
    bank: str
    caveats: tuple[Caveat, ...] = ()
    object: str = ""

    @property
    def answered(self) -> bool:
        """Return whether type, phase, matches and a redshift that was not given mean anything."""
        return self.verdict not in (TOO_NOISY, FEATURELESS)

    @property
    def summary(self) -> str:
        """Return the answer in a few words: verdict, probability, redshift."""
        if not self.answered:
            return self.verdict
        return f"{self.verdict} ({self.probability:.2f}), z {self.redshift:.3f}"

    @property
    def probability(self) -> float:
        """Return the probability of the type."""
        return self.types.get(self.type, 0.0)

    @property
    def redshift(self) -> float:
        """Return the likeliest redshift; NaN where there is none."""
        return self.modes[0].z if self.modes else float("nan")
