"""Spectra and what is measured on the way to them: sky, sources, profiles, responses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.model.exposure import Exposure, Header, Scalar
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.frame import Image, Mask
from nightpipe.model.traces import Trace

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SkyModel:
    """The sky on native pixels: `model` (ny, nx) [electron] and the variance of the *model* `var` (ny, nx).

    `used` (ny, nx) marks the pixels that the fit kept; `chi` is the scatter of residual over error on them;
    `method` is ``"bspline"``, ``"nod"`` or ``"none"``. `modes` (k, ny, nx) says how the model's errors go together
    within a column, ``cov[i, j] = sum_k modes[k, i] modes[k, j]``; None: the pixels' errors are independent.
    """

    model: Image
    var: Image
    used: NDArray[np.bool_]
    chi: float
    knots: int
    method: str = "bspline"
    caveats: tuple[Caveat, ...] = ()
    modes: Image | None = None


@dataclass(frozen=True)
class Source:
    """One object in the slit: `y` [pixel] at the reference column, `slit_arcsec` from the slit's centre (up positive).

    `snr` is its significance, `fwhm` its width [pixel]; `forced` sources were asked for, not found.
    """

    name: str
    y: float
    slit_arcsec: float
    snr: float
    fwhm: float
    trace: Trace
    forced: bool = False
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Profile:
    """The spatial profile of a source: `values` (ny, nx) float32, non-negative, each column sums to 1 over the slit.

    `kind` is ``"empirical"``, ``"moffat"``, ``"gaussian"`` or ``"boxcar"``.
    """

    values: Image
    kind: str
    fwhm: FloatArray
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Spectrum:
    """One spectrum on its own sampling.

    `wave` (n,) vacuum Angstrom, increasing; `flux`, `var` in `unit` and its square; `mask` (n,) uint32 `Flag` bits;
    `sky` the sky under the object in `unit`; `fwhm` the line-spread function's width [Angstrom]; `boxcar` and
    `boxcar_var` the unweighted sum beside the optimal one. `correlation` (k, n) is the correlation of bin i with bins
    i+1 ... i+k (empty: independent bins). `transmission` (n,) is that of the air's molecules which `flux` was corrected
    for, ``flux * transmission`` what was seen (None: not corrected), `transmission_error` its error. `meta` holds
    exptime, airmass, mjd, slit position and the like.
    """

    name: str
    wave: FloatArray
    flux: FloatArray
    var: FloatArray
    mask: Mask
    sky: FloatArray
    unit: str
    fwhm: FloatArray
    boxcar: FloatArray | None = None
    boxcar_var: FloatArray | None = None
    correlation: FloatArray | None = None
    transmission: FloatArray | None = None
    transmission_error: FloatArray | None = None
    exposure: Exposure | None = None
    header: Header = field(default_factory=dict)
    meta: dict[str, Scalar] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()

    @property
    def good(self) -> NDArray[np.bool_]:
        """Return where the bins may be used."""
        return ((self.mask & np.uint32(UNUSABLE)) == 0) & (self.var > 0)

    @property
    def err(self) -> FloatArray:
        """Return the standard error of the flux."""
        return np.sqrt(self.var)

    def but(self, *, caveats: tuple[Caveat, ...] = (), **changes: Any) -> Spectrum:
        """Return a copy with `changes`; new caveats are added to the old ones."""
        return replace(self, caveats=merged(self.caveats, caveats), **changes)


@dataclass(frozen=True)
class Response:
    """Sensitivity: ``flux = counts / exptime / response(wave) * 10**(0.4 * extinction * airmass)``.

    `wave` (n,) vacuum Angstrom and `log_response` (n,) natural log of (electron/s/Angstrom) per (erg/s/cm2/Angstrom),
    above the atmosphere; valid only within `range`. `error` (n,) is that of `log_response`. The measured points behind
    the fit: `point_wave`, `point_value`, `point_used`. `standards` names star and exposure of each spectrum that went
    in, `ratios` the counts of each relative to the chosen one, `airmass` their mean one (0: not known).
    """

    wave: FloatArray
    log_response: FloatArray
    error: FloatArray
    range: tuple[float, float]
    point_wave: FloatArray
    point_value: FloatArray
    point_used: NDArray[np.bool_]
    standards: tuple[str, ...]
    ratios: tuple[float, ...]
    setup: str
    source: str = "night"
    mjd: float = 0.0
    caveats: tuple[Caveat, ...] = ()
    airmass: float = 0.0

    def at(self, wave: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return log response at `wave` and where it is valid; outside the range it is held, and not valid."""
        valid = (wave >= self.range[0]) & (wave <= self.range[1])
        return np.interp(wave, self.wave, self.log_response), valid
