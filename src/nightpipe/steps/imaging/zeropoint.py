"""The zero point of an image from reference stars, with its colour term and an honest error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import ConfigError, NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.robust import mad_std
from nightpipe.maths.systems import ps1_of_sdss, sdss_of_ps1
from nightpipe.model.exposure import Exposure
from nightpipe.model.references import Extinction
from nightpipe.model.sources import Sources, ZeroPoint
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Astrometry
from nightpipe.steps.imaging.detect import EDGE, EXTENDED, MASKED, SATURATED

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
MAG = 2.5 / np.log(10)
WAVES = {
    "u": 3551.0, "g": 4810.0, "r": 6170.0, "i": 7520.0, "z": 8660.0, "y": 9620.0, "U": 3600.0, "B": 4380.0,
    "V": 5450.0, "R": 6410.0, "I": 7980.0, "J": 12400.0, "H": 16500.0, "K": 21600.0,
}  # fmt: skip
"""Effective wavelengths [Angstrom] at which extinction is read."""
NARROW = ("alpha", "beta", "halp", "narrow", "oiii", "sii", "nii", "cont")
"""Words in names of filters that pass a line: their H, O or S is no band."""
COLOURS = {"u": ("u-g", "g-r"), "g": ("g-i", "g-r"), "r": ("g-i", "g-r"), "i": ("g-i", "r-i"), "z": ("g-i", "r-i"),
           "y": ("g-i", "r-i"), "B": ("B-V",), "V": ("B-V", "V-R"), "R": ("V-R", "R-I"), "I": ("V-I", "R-I"),
           "U": ("U-B",), "J": ("J-H", "J-K"), "H": ("J-H",), "K": ("J-K",)}  # fmt: skip
"""The indices tried for each band's colour term, the best first."""


@dataclass(frozen=True)
class Stars:
    """Matched stars, (n,) each: `offset` = catalogue magnitude + 2.5 log10 flux, its `error`, `colour`, `row`."""

    offset: FloatArray
    error: FloatArray
    colour: FloatArray
    row: NDArray[np.int64]


class FitZeroPoint(Step):
    """Fit the zero point of an image to reference stars, with a colour term and the error of the mean."""

    version: ClassVar[int] = 2
    band: str = parameter("", "band of the magnitudes; empty: the filter's")
    system: str = parameter("", "SDSS or PS1, to which griz are transformed; empty: the catalogue's own")
    radius: float = parameter(1.5, "a star is matched within this", unit="arcsec", gt=0)
    signal: float = parameter(10.0, "least signal over noise that a star should have", unit="sigma", gt=0)
    clip: float = parameter(3.0, "stars farther off are left out", unit="sigma", gt=1)
    least: int = parameter(3, "fewest stars", ge=1)
    faintest: float = parameter(30.0, "fainter stars of the catalogue are left out", unit="mag")
    worst: float = parameter(0.1, "largest error of a catalogue magnitude", unit="mag", gt=0)
    term: float = parameter(0.0, "colour term expected")
    term_error: float = parameter(0.05, "and how far off it may be: the prior where colours do not tell", ge=0)
    colour_zero: float | None = parameter(None, "colour at which the zero point is stated; none: the stars' median")
    sanity: float = parameter(0.3, "scatter above which band or match must be wrong", unit="mag", gt=0)

    def run(
        self,
        sources: Sources,
        astrometry: Astrometry,
        catalogue: StarCatalogue,
        exposure: Exposure,
        extinction: Extinction | float | None = None,
        best: float | None = None,
    ) -> ZeroPoint:
        """Return the zero point; `best` is the night's best `above`, to which the transparency refers.

        Weights are from both errors and a scatter that makes chi-square per degree of freedom one; outliers beyond
        `clip` leave. The colour term has a normal prior. The error is that of the mean at `colour_zero`. `above` adds
        extinction times airmass: a star loses light on its way, so the zero point above the air is the larger.

        Raises
        ------
        ConfigError
            The filter names no known band, or the catalogue does not have it.
        NoSolutionError
            Fewer than `least` stars match, or they scatter so much that the band or the match must be wrong.
        """
        band = self.band or exposure.band or band_of(exposure.setup.filter)
        mags, system = self._magnitudes(catalogue, band)
        stars, colour = self._matched(sources, astrometry, catalogue, exposure, mags, band)
        keep, found, cov, scatter = self._fit(stars)
        if scatter > self.sanity:
            raise NoSolutionError(
                f"stars that agree on a zero point in {band}", f"scatter {scatter:.2f} mag of {keep.sum()} stars",
                "check the filter's name, the plate solution and the catalogue",
            )  # fmt: skip
        k = _extinction_at(extinction, band)
        air = exposure.airmass if exposure.airmass is not None else np.nan
        above = float(found[0] + k * air)
        centre = self._centre(stars.colour[keep])
        told = self._judged(keep, found)
        return ZeroPoint(
            float(found[0]), float(np.sqrt(cov[0, 0])), band, system, catalogue.name, int(keep.sum()), scatter, colour,
            float(found[1]), float(np.sqrt(cov[1, 1])), centre, above, depth_of(sources, found[0]),
            sky_of(sources, found[0], astrometry.wcs.scale, exposure.exptime),
            float(10 ** (-0.4 * (best - above))) if best is not None else np.nan,
            np.column_stack([stars.row, stars.offset, stars.error, stars.colour, keep]), told,
        )  # fmt: skip

    def _magnitudes(self, catalogue: StarCatalogue, band: str) -> tuple[dict[str, FloatArray], str]:
        if band not in catalogue.mags:
            raise ConfigError(
                f"magnitudes in {band}", f"{catalogue.name} has {', '.join(catalogue.mags) or 'none'}",
                "another catalogue, or FitZeroPoint.band",
            )  # fmt: skip
        own = catalogue.systems.get(band, "")
        if not self.system or self.system == own:
            return catalogue.mags, own
        turn = {("PS1", "SDSS"): sdss_of_ps1, ("SDSS", "PS1"): ps1_of_sdss}.get((own, self.system))
        if turn is None or not {"g", "r", band} <= set(catalogue.mags) or band not in "griz":
            raise ConfigError(f"{band} in the system {self.system}", f"{own or 'an unnamed system'}",
                              "leave FitZeroPoint.system empty")  # fmt: skip
        return catalogue.mags | turn({b: m for b, m in catalogue.mags.items() if b in "griz"}), self.system

    def _matched(
        self, sources: Sources, astrometry: Astrometry, catalogue: StarCatalogue, exposure: Exposure,
        mags: dict[str, FloatArray], band: str,
    ) -> tuple[Stars, str]:  # fmt: skip
        name = next((c for c in COLOURS.get(band, ()) if set(c.split("-")) <= set(mags)), "")
        index = mags[name[0]] - mags[name[-1]] if name else np.zeros(len(catalogue))
        epoch = 2000.0 + (exposure.mjd - 51544.5) / 365.25
        near = matches(sources, astrometry, catalogue, epoch, self.radius)
        mag_error = catalogue.mag_errors.get(band, np.full(len(catalogue), 0.02))
        mag_error = np.where(np.isfinite(mag_error), np.maximum(mag_error, 0.003), 0.05)
        whole = (sources.quality & (SATURATED | EDGE | EXTENDED | MASKED)) == 0
        good = (near >= 0) & whole & (sources.flux > 0.5 * self.signal * sources.flux_error)
        good &= np.isfinite(mags[band][near]) & np.isfinite(index[near]) & (mag_error[near] < self.worst)
        good &= mags[band][near] < self.faintest
        if catalogue.extended is not None:
            good &= ~catalogue.extended[near]
        row = np.flatnonzero(good)
        expected = _expected(sources, row, mags[band][near[row]], self.signal)
        row, expected = row[expected > self.signal], expected[expected > self.signal]
        if len(row) < self.least:
            raise NoSolutionError(
                f"at least {self.least} stars of {catalogue.name} in {band}", f"{len(row)} of "
                f"{len(sources)} sources and {len(catalogue)} reference stars", "a catalogue that covers the image",
            )  # fmt: skip
        ref = near[row]
        noise = MAG / expected
        offset = mags[band][ref] + 2.5 * np.log10(sources.flux[row]) + 0.5 * noise**2 / MAG  # the mean of a logarithm
        error = np.hypot(mag_error[ref], noise)
        return Stars(offset, error, index[ref], row), name

    def _centre(self, colour: FloatArray) -> float:
        return float(np.median(colour)) if self.colour_zero is None else self.colour_zero

    def _fit(self, stars: Stars) -> tuple[Bools, FloatArray, FloatArray, float]:
        """Return which stars were kept, (zero point, colour term), their covariance, and the scatter [mag]."""
        keep = np.abs(stars.offset - np.median(stars.offset)) < 5 * max(mad_std(stars.offset), 0.02)
        found, cov, extra = np.zeros(2), np.eye(2), 0.0
        for _ in range(20):
            centre = self._centre(stars.colour[keep])
            found, cov = self._solved(stars, keep, centre, extra)
            off = stars.offset - found[0] - found[1] * (stars.colour - centre)
            extra = _extra(off[keep], stars.error[keep])
            inside = np.abs(off) < self.clip * np.hypot(stars.error, extra)
            if np.array_equal(inside, keep) or np.count_nonzero(inside) < self.least:
                break
            keep = inside
        return keep, found, cov, float(np.std(off[keep]))

    def _solved(self, stars: Stars, keep: Bools, centre: float, extra: float) -> tuple[FloatArray, FloatArray]:
        design = np.column_stack([np.ones(keep.sum()), stars.colour[keep] - centre])
        weight = 1 / (stars.error[keep] ** 2 + extra**2)
        prior = 1 / max(self.term_error, 1e-6) ** 2
        matrix = (design * weight[:, None]).T @ design + np.diag([0.0, prior])
        cov = np.linalg.inv(matrix)
        return cov @ ((design * weight[:, None]).T @ stars.offset[keep] + np.array([0.0, prior * self.term])), cov

    def _judged(self, keep: Bools, found: FloatArray) -> tuple[Caveat, ...]:
        told = []
        if keep.sum() < 8:
            told.append(Caveat("zeropoint.few", f"the zero point rests on {keep.sum()} stars"))
        if keep.mean() < 0.6:
            told.append(Caveat("zeropoint.outliers", f"only {keep.mean():.0%} of the matched stars agree"))
        if self.term_error > 0 and abs(found[1] - self.term) > 3 * self.term_error:
            told.append(Caveat("zeropoint.colour", f"the colour term {found[1]:+.3f} is not that of this filter"))
        return tuple(told)


def _expected(sources: Sources, row: NDArray[np.int64], mag: FloatArray, signal: float) -> FloatArray:
    """Return the signal over noise (n,) that stars of `mag` should have, by the zero point of the brighter ones.

    To choose and weigh stars by the flux that was measured would favour those whose noise made them brighter.
    """
    flux, error = sources.flux[row], sources.flux_error[row]
    if not len(row):
        return flux
    offset, bright = mag + 2.5 * np.log10(flux), flux > 2 * signal * error
    zero = float(np.median(offset[bright] if np.count_nonzero(bright) >= 5 else offset))
    return np.asarray(10 ** (0.4 * (zero - mag)) / error)


def band_of(name: str) -> str:
    """Return the band that a filter's name means: ``"SDSS-R"``, ``"r'_SDSS"``, ``"gp"``, ``"Bessell V"``.

    Raises
    ------
    ConfigError
        The name means no band that is known.
    """
    plain = name.strip()
    sloan = any(word in plain.lower() for word in ("sdss", "sloan", "ps1", "pan"))
    for word in (
        "SDSS",
        "sdss",
        "Sloan",
        "SLOAN",
        "PS1",
        "Bessell",
        "Bessel",
        "BESSELL",
        "Johnson",
        "Cousins",
        "Harris",
    ):
        plain = plain.replace(word, " ")
    letters = plain.replace("'", "").replace("_", " ").replace("-", " ").replace(".", " ").split()
    narrow = any(word in name.lower() for word in NARROW)
    tokens = [] if narrow else [t[0] if len(t) == 2 and t[1] in "ps" else t for t in letters if not t.isdigit()]
    for token in tokens:
        band = token.lower() if sloan else "K" if token.lower() == "ks" else token
        if band in WAVES:
            return band
    raise ConfigError("a filter whose band is known", repr(name), "set FitZeroPoint.band, one of " + " ".join(WAVES))


def matches(
    sources: Sources, astrometry: Astrometry, catalogue: StarCatalogue, epoch: float, radius: float
) -> NDArray[np.int64]:
    """Return for each source its reference star, or -1: nearest to each other both ways, within `radius` [arcsec]."""
    from scipy.spatial import cKDTree

    if not len(sources) or not len(catalogue):
        return np.full(len(sources), -1)
    here, there = _vectors(*astrometry.wcs.to_sky(sources.x, sources.y)), _vectors(*catalogue.at(epoch))
    distance, index = (np.asarray(part) for part in cKDTree(there).query(here))
    back = np.asarray(cKDTree(here).query(there)[1])
    near = (distance < np.radians(radius / 3600)) & (back[index] == np.arange(len(here)))
    return np.where(near, index, -1)


def depth_of(sources: Sources, zp: float, sigma: float = 5.0) -> float:
    """Return the magnitude of a point source at `sigma`: from the flux errors of the faint ones."""
    whole = (sources.quality == 0) & np.isfinite(sources.flux_error) & (sources.flux_error > 0)
    faint = whole & (sources.flux < 20 * sources.flux_error)
    errors = sources.flux_error[faint] if np.count_nonzero(faint) >= 5 else sources.flux_error[whole]
    return float(zp - 2.5 * np.log10(sigma * np.median(errors))) if errors.size else np.nan


def sky_of(sources: Sources, zp: float, scale: float, exptime: float) -> float:
    """Return the sky's brightness [mag/arcsec2] from the background under the sources [electron]; nan: none left."""
    level = np.median(sources.columns["background"]) if len(sources.columns.get("background", ())) else 0.0
    return float(zp - 2.5 * np.log10(level / max(exptime, 1e-9) / scale**2)) if level > 0 else np.nan


def _extra(off: FloatArray, error: FloatArray) -> float:
    """Return the scatter [mag] that, added to the errors, makes chi-square per degree of freedom one."""
    from scipy.optimize import brentq

    freedom = max(off.size - 2, 1)

    def excess(extra: float) -> float:
        return float(np.sum(off**2 / (error**2 + extra**2)) / freedom - 1)

    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, 10 * max(np.abs(off).max(), 1e-3)))


def _extinction_at(extinction: Extinction | float | None, band: str) -> float:
    if extinction is None:
        return np.nan
    if isinstance(extinction, Extinction):
        return float(np.interp(WAVES[band], extinction.wave, extinction.magnitude)) if band in WAVES else np.nan
    return float(extinction)


def _vectors(ra: FloatArray, dec: FloatArray) -> FloatArray:
    a, d = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
