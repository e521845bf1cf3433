"""What stands in a field of lenslets: where the target is, how its light is spread, and what else shines."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Placed:
    """Where the target is expected: `east`, `north` [arcsec] from the field's middle, with their `covariance` (2, 2).

    `how` is ``"guider"`` (stars around it), ``"header"`` (the telescope's pointing), ``"brightest"``, ``"person"`` or
    ``"middle"``. `wave` [Angstrom] is that of the light which stands there; `spread` the sharpness of what was found:
    significance of the brightest source, matched stars of a plate solution.
    """

    east: float
    north: float
    covariance: FloatArray
    how: str
    wave: float = 6000.0
    spread: float = 0.0
    caveats: tuple[Caveat, ...] = ()

    @property
    def error(self) -> float:
        """Return the standard error [arcsec] along one axis, the mean of both."""
        return float(np.sqrt(np.trace(self.covariance) / 2.0))


@dataclass(frozen=True)
class Finder:
    """A picture of the target's surroundings: `image` (n, n) in noises above the sky, north up and east left, the
    target in its middle; NaN where no detector looked.

    `reach` [arcsec] from the middle to an edge; (`east`, `north`) [arcsec] of the lenslets' middle in it; `frames` that
    were stacked; `solved` says what the places rest on.
    """

    image: NDArray[np.float32]
    reach: float
    east: float
    north: float
    frames: int
    solved: str


@dataclass(frozen=True)
class Body:
    """One source of a scene at (`east`, `north`) [arcsec] at the reference wavelength: the target, a star, a galaxy.

    `radius` [arcsec] of half the light along the major axis (0: a point), Sersic `index`, `ratio` of the axes, `angle`
    [deg] of the major one from east through north. `flux` (k,) [electron/Angstrom] on the scene's `wave`.
    """

    name: str
    east: float
    north: float
    radius: float = 0.0
    index: float = 1.0
    ratio: float = 1.0
    angle: float = 0.0
    flux: FloatArray | None = None
    error: FloatArray | None = None


@dataclass(frozen=True)
class Slices:
    """The scene in slices of wavelength, for people and tests: `wave` (b,) [Angstrom], and per slice and lenslet (b, n)
    `data`, `sky`, `target` and `others` [electron], `error`; NaN where a lenslet saw nothing.

    `east`, `north` (b,) [arcsec] of the target in each slice by itself, with `place_error` (b, 2); `expected` (b, 2)
    where refraction puts it.
    """

    wave: FloatArray
    data: FloatArray
    error: FloatArray
    sky: FloatArray
    target: FloatArray
    others: FloatArray
    east: FloatArray
    north: FloatArray
    place_error: FloatArray
    expected: FloatArray


@dataclass(frozen=True)
class Scene:
    """All that was fitted to the spectra of n lenslets at once.

    `method` is ``"psf"``, ``"scene"`` (a host beside the target), ``"masked"`` (without the lenslets that others fill).
    `target` and the `others`; `wave` (k,) vacuum [Angstrom] of the common grid, `fwhm_line` (k,) [Angstrom], `sky` (k,)
    [electron/Angstrom per lenslet]. `names`, `values` and `covariance` (p, p) are the parameters that are not linear:
    ln `fwhm` [arcsec] at `reference` [Angstrom], its exponents, guiding, refraction ... `flux_covariance` (k, k) of the
    target's flux from counts alone; `modes` (p, k) what one sigma of each eigenvector of the parameters does to it.
    `airmass`, `parallactic` [deg], `lift` [arcsec] from 4000 to 9000 Angstrom as predicted. `refraction_chi2` compares
    slices with prediction; `chi2` and `dof` of all elements, `chi2_near` per element about the target, `structure` the
    correlation of neighbours' residuals there; `used` (n,) lenslets, `coverage` (k,) the part of the
    target's light in the field that was measured. `radius` (r,) [arcsec] and the target's `profile` there, per unit
    flux and arcsec2. `snr` is the median per bin of 5500 to 6500 Angstrom. `why` tells for what it was chosen among
    others; `mismatch` is the share of a bright target's light that no shape of seeing fits.
    """

    method: str
    target: Body
    others: tuple[Body, ...]
    place: Placed
    wave: FloatArray
    fwhm_line: FloatArray
    sky: FloatArray
    names: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray
    flux_covariance: FloatArray
    modes: FloatArray
    reference: float
    fwhm: float
    rho: float
    airmass: float
    parallactic: float
    lift: float
    refraction_chi2: float
    chi2: float
    dof: int
    chi2_near: float
    structure: float
    snr: float
    used: Bools
    coverage: FloatArray
    rejected: int
    slices: Slices
    radius: FloatArray
    profile: FloatArray
    profile_error: FloatArray
    profile_model: FloatArray
    caveats: tuple[Caveat, ...] = ()
    why: str = ""
    mismatch: float = 0.0

    def value(self, name: str) -> tuple[float, float]:
        """Return a parameter and its standard error."""
        k = self.names.index(name)
        return float(self.values[k]), float(np.sqrt(self.covariance[k, k]))

    @property
    def bic(self) -> float:
        """Return Bayes's information criterion: chi2 plus what each parameter costs."""
        linear = self.wave.size * (2 + len(self.others))
        return self.chi2 + float(np.log(max(self.dof, 2))) * (len(self.values) + linear)

    @property
    def slack(self) -> float:
        """Return the chi2 per element that a shape of seeing adds which is wrong by `mismatch` of the light.

        In slices of wavelength a lenslet has about the signal to noise of a bin of the spectrum, `snr`.
        """
        return (self.mismatch * max(self.snr, 0.0)) ** 2


class Reason(IntFlag):
    """Why a spectrum has its quality."""

    FAINT = 1 << 0
    """Signal to noise per bin below what classification needs."""
    BAD_FIT = 1 << 1
    """Chi2 about the target is too large."""
    REFRACTION = 1 << 2
    """Slices do not follow the refraction that the air must have."""
    STRUCTURE = 1 << 3
    """Residuals of neighbouring lenslets go together."""
    AWAY = 1 << 4
    """The source found lies further from the astrometry's place than its error allows."""
    EDGE = 1 << 5
    """The target is close to the edge of the field."""
    OUTSIDE = 1 << 6
    """The target lies outside the field."""
    NEGATIVE = 1 << 7
    """More than a fifth of the bins are negative."""
    NO_ASTROMETRY = 1 << 8
    """No astrometry, and the brightest source was taken."""
    FLEXURE = 1 << 9
    """The flexure was not measured, or not believed."""
    OLD_STANDARD = 1 << 10
    """The standard is of another night, or there is none."""
    PERSON = 1 << 11
    """A person placed the target."""
    CONTAMINATED = 1 << 12
    """Another source gives a large part of the light at the target's place."""
    POINTING = 1 << 13
    """The guider was not solved: the only source near where the telescope pointed was taken."""


def words(reasons: int) -> tuple[str, ...]:
    """Return the names of `reasons`, bits of `Reason`."""
    return tuple(reason.name.lower() for reason in Reason if reasons & reason and reason.name)


@dataclass(frozen=True)
class Grade:
    """The quality of a spectrum as SEDM's users know it, 0 (good) to 5, and its `reasons` (bits of `Reason`).

    0: nothing found; 1: a person placed the target or accepted it; 2: usable with doubts; 3: the target lies outside
    the field; 4: more than a fifth of the bins are negative; 5: astrometry failed. `measured` names each criterion's
    value; `verdict` is what a person says of it, in words, and moves nothing.
    """

    quality: int
    reasons: int
    measured: dict[str, float]
    verdict: str = ""
    caveats: tuple[Caveat, ...] = ()

    @property
    def why(self) -> tuple[str, ...]:
        """Return the names of the reasons."""
        return words(self.reasons)
