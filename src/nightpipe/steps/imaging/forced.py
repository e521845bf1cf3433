"""Forced photometry: the flux at a given place, seen or not, with errors and limits from empty sky around it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.psf import Grid, terms_of, values
from nightpipe.maths import extract
from nightpipe.maths.crowd import Fitted, fit
from nightpipe.maths.psfgrid import Sky
from nightpipe.maths.systems import microjansky
from nightpipe.maths.vacant import scatter_of, through, vacancies
from nightpipe.model.frame import Frame
from nightpipe.model.sources import LightCurve, Psf, ZeroPoint
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Wcs
from nightpipe.steps.imaging.detect import NARROW, Detect, growth_of
from nightpipe.steps.imaging.picture import Picture, picture

FloatArray = NDArray[np.float64]
MAG = 2.5 / np.log(10)
OWN = 0.75
"""A detection this near the place, in FWHM, is the source itself."""
ASIDE = 0.35, 1.5
"""A detection so far from the place, in FWHM, is another source whose light cannot be kept apart for sure."""


@dataclass(frozen=True)
class Cut:
    """The image around the place: the `place` (x, y) in it, its sources `x`, `y`, `flux`, and `closed` pixels.

    `told` says whether another source lies so near that the two may be mixed up.
    """

    seen: Picture
    place: tuple[float, float]
    x: FloatArray
    y: FloatArray
    flux: FloatArray
    closed: NDArray[np.bool_]
    told: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A flux, its error, and the error at an empty place, in one unit; and what to tell."""

    flux: float
    error: float
    empty: float
    caveats: tuple[Caveat, ...] = ()


class ForcedPhotometry(Step):
    """Measure the flux at a given place through the PSF, or in an aperture, with limits from empty places around it."""

    sigma: float = parameter(3.0, "significance of a detection, and of the limit", unit="sigma", gt=0)
    reach: float = parameter(1.3, "pixels this near the place are fitted, in FWHM", ge=0.5, le=4)
    aperture: float = parameter(1.0, "radius of the aperture where there is no PSF, in FWHM", gt=0)
    recentre: float = parameter(0.0, "let a detected source move by this much; 0: not", unit="pixel", ge=0)
    places: int = parameter(400, "empty places to measure", ge=20)
    share: float = parameter(0.7, "least share of the source's weight on good pixels", gt=0, le=1)
    threshold: float = parameter(4.0, "neighbours above this are fitted along, and no place is empty there",
                                 unit="sigma", gt=1)  # fmt: skip
    box: int = parameter(64, "mesh of the background", unit="pixel", ge=8)
    fwhm: float = parameter(3.0, "size of stars where the image tells none", unit="pixel", gt=0)

    def run(
        self,
        frame: Frame | Stack,
        wcs: Wcs,
        psf: Psf | None,
        zero_point: ZeroPoint | None,
        place: tuple[float, float],
        name: str = "",
    ) -> LightCurve:
        """Return a light curve of one row: the image at `place` (ra, dec) [deg, ICRS], at the epoch of the image.

        The place is fixed; neighbours are fitted with it, so the error has their covariance. The same measurement at
        several hundred empty places gives the level that is taken off and the scatter of blank sky: no error is below
        it, since resampled pixels and faint sources make noise that no variance map tells. Light of a galaxy under the
        source is part of the flux; use a difference image there. A star of the zero point's colour is assumed.
        """
        x, y = (float(part) for part in wcs.to_pixel(*place))
        ny, nx = frame.data.shape
        if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
            why = Caveat("forced.outside", f"{name or 'the place'} lies outside {_title(frame)}")
            return self._row(frame, zero_point, place, name, _unseen(why))
        size, growth, told = self._size(frame, psf)
        cut = self._cut(frame, (x, y), size)
        if psf is None:
            found = self._in_aperture(cut, size, growth)
        else:
            found = self._through_psf(cut, local(psf, x, y, cut.seen.data.shape), psf.fwhm)
        return self._row(frame, zero_point, place, name, per_second(found, cut.seen.time, told))

    def _size(self, frame: Frame | Stack, psf: Psf | None) -> tuple[float, float, tuple[Caveat, ...]]:
        """Return the FWHM [pixel], total light over that in the aperture, and what to tell."""
        if psf is not None:
            return psf.fwhm, 1.0, ()
        text = f"there is no PSF for {_title(frame)}: the flux is that of an aperture"
        told: tuple[Caveat, ...] = (Caveat("forced.aperture", text),)
        stars = Detect(box=self.box).run(frame)
        pure = (stars.columns["star"] > 0) & (stars.quality == 0)
        size = float(np.median(stars.columns["fwhm"][pure])) if pure.any() else self.fwhm
        if not pure.any():
            told += (Caveat("forced.size", f"no star tells the FWHM: {size:g} pixels are assumed"),)
        seen = picture(frame, self.box)
        total, _ = extract.circles(seen.data, seen.var, seen.bad, stars.x, stars.y, self.aperture * size)
        growth, more = growth_of(seen, (stars.x, stars.y, total), pure, self.aperture, 4.0, size)
        return size, growth, told + more

    def _cut(self, frame: Frame | Stack, place: tuple[float, float], size: float) -> Cut:
        wide = int(max(1.6 * np.sqrt(self.places) * self.reach * size, 2 * self.box))
        ny, nx = frame.data.shape
        x0, y0 = max(round(place[0]) - wide, 0), max(round(place[1]) - wide, 0)
        part = slice(y0, min(round(place[1]) + wide + 1, ny)), slice(x0, min(round(place[0]) + wide + 1, nx))
        seen = _with_photons(picture(_part(frame, part), self.box), frame)
        ratio = seen.data / np.sqrt(seen.var * np.float32(max(1.0, seen.covariance)))
        ratio[seen.blind] = 0
        found = extract.find(
            ratio, seen.blind, self.threshold, extract.matched(NARROW * size), contrast=0.0005, segments=True
        )
        closed = seen.bad if found.segments is None else seen.bad | (found.segments > 0)
        here = place[0] - x0, place[1] - y0
        off = np.hypot(found.x - here[0], found.y - here[1]) / size
        other = off > OWN
        x, y = found.x[other], found.y[other]
        flux, _ = extract.circles(seen.data, seen.var, seen.bad, x, y, size)
        return Cut(seen, here, x, y, 1.15 * np.maximum(flux, 1e-3), closed, _blended(off))

    def _through_psf(self, cut: Cut, grid: Grid, fwhm: float) -> Measured:
        seen, (x, y), reach = cut.seen, cut.place, self.reach * fwhm
        good = good_share(seen, grid, x, y, reach)
        if good < self.share:
            return _unseen(_masked(good))
        told = cut.told if good > 0.95 else (*cut.told, _masked(good))
        found, more = self._fitted(cut, grid, fwhm)
        px, py = vacancies(cut.closed, x, y, reach, self.places)
        blank, var = np.zeros(0), float(found.flux_error[-1] ** 2)
        if len(px):
            blank, variances = through(grid, found.rest, seen.var, px, py, reach)
            var = float(np.median(variances))
        stated = float(found.flux_error[-1] ** 2) * seen.covariance
        return _judged(float(found.flux[-1]), stated, var * seen.covariance, blank, told + more)

    def _fitted(self, cut: Cut, grid: Grid, fwhm: float) -> tuple[Fitted, tuple[Caveat, ...]]:
        """Return neighbours and the source, which comes last, fitted together."""
        seen, (x, y) = cut.seen, cut.place
        noise = float(np.sqrt(np.median(seen.var) * seen.covariance * np.pi)) * fwhm
        stars = np.vstack([np.column_stack([cut.flux, cut.x, cut.y]), [0.0, x, y]])
        hold = np.append(cut.flux < 7 * noise, True)
        sky = Sky(seen.data, seen.var, seen.slope, seen.bad)
        reach, link = self.reach * fwhm, 1.6 * fwhm
        found = fit(sky, grid, stars, hold, reach=reach, link=link, passes=4, box=self.box)
        if not self.recentre or found.flux[-1] < 5 * found.flux_error[-1]:
            return found, ()
        stars[-1, 0], hold[-1] = found.flux[-1], False
        moved = fit(sky, grid, stars, hold, reach=reach, link=link, passes=6, box=self.box)
        off = float(np.hypot(moved.x[-1] - x, moved.y[-1] - y))
        if off <= self.recentre:
            return moved, ()
        return found, (Caveat("forced.recentre", f"the source lies {off:.2f} pixels off; the place was kept"),)

    def _in_aperture(self, cut: Cut, size: float, growth: float) -> Measured:
        seen, (x, y), radius = cut.seen, cut.place, self.aperture * size
        good = 1 - float(np.mean(seen.bad[_disc(seen, x, y, radius)]))
        if good < self.share:
            return _unseen(_masked(good))
        told = cut.told if good > 0.95 else (*cut.told, _masked(good))
        if (np.hypot(cut.x - x, cut.y - y) < 2 * radius).any():
            told += (Caveat("forced.neighbour", "a neighbour's light falls into the aperture"),)
        px, py = vacancies(cut.closed, x, y, radius, self.places)
        flux, var = extract.circles(seen.data, seen.var, seen.bad, np.append(px, x), np.append(py, y), radius)
        flux, usual = flux * growth, float(var[-1]) * growth**2 * seen.covariance
        stated = usual + seen.slope * max(float(flux[-1]), 0.0) * growth * seen.covariance
        return _judged(float(flux[-1]), stated, usual, flux[:-1], told)

    def _row(
        self, frame: Frame | Stack, zero: ZeroPoint | None, place: tuple[float, float], name: str, found: Measured
    ) -> LightCurve:
        shot, title = frame.exposure, _title(frame)
        zp, zp_error = (zero.zp, zero.error) if zero else (frame.zp if isinstance(frame, Stack) else np.nan, 0.0)
        band = zero.band if zero else (shot.band or shot.setup.filter) if shot else ""
        factor = microjansky(zp, zero.band, zero.system) if zero else np.nan
        unit, factor = ("microjansky", factor) if np.isfinite(factor) else ("electron/s", 1.0)
        seen = found.flux > self.sigma * found.error
        mag = zp - 2.5 * np.log10(found.flux) if seen else np.nan
        error = float(np.hypot(MAG * found.error / found.flux, zp_error)) if seen else np.nan
        told = merged(frame.caveats, found.caveats, zero.caveats if zero else (_unscaled(title),))
        values = (found.flux * factor, found.error * factor, mag, error, zp - 2.5 * np.log10(self.sigma * found.empty))
        mjd, exptime = (shot.mjd, shot.exptime) if shot else (np.nan, np.nan)
        flux, flux_error, mags, mag_error, limit = (np.array([float(v)]) for v in values)
        return LightCurve(
            name, float(place[0]), float(place[1]), np.array([mjd]), np.array([exptime]), (band,), (title,), flux,
            flux_error, mags, mag_error, limit, self.sigma, (unit,), told,
        )  # fmt: skip


def _blended(off: FloatArray) -> tuple[Caveat, ...]:
    """Return a caveat where a detection lies aside of the place [FWHM], but not clear of it: a host, or a neighbour."""
    if not ((off > ASIDE[0]) & (off < ASIDE[1])).any():
        return ()
    text = "another source lies within 1.5 FWHM of the place: its light may be counted in; a reference image tells"
    return (Caveat("forced.blended", text),)


def local(psf: Psf, x: float, y: float, shape: tuple[int, ...]) -> Grid:
    """Return the PSF at (`x`, `y`) [pixel], for a small image of `shape` (ny, nx) all over which it is the same."""
    ny, nx = psf.shape
    u, v = 2 * x / (nx - 1) - 1, 2 * y / (ny - 1) - 1
    terms = np.array([u**i * v**j for i, j in terms_of(psf.degree)])
    return Grid(np.tensordot(terms, psf.basis, 1)[None], psf.oversampling, 0, (shape[0], shape[1]))


def good_share(seen: Picture, grid: Grid, x: float, y: float, reach: float) -> float:
    """Return the share of a source's weight, its PSF squared, that falls on good pixels of the image."""
    half = int(reach) + 1
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1] + np.array([round(y), round(x)])[:, None, None]
    weight = values(grid, x, y, columns - x, rows - y) ** 2 * (np.hypot(columns - x, rows - y) <= reach)
    ny, nx = seen.bad.shape
    inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    good = inside & ~seen.bad[np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)]
    return float(weight[good].sum() / weight.sum())


def _disc(seen: Picture, x: float, y: float, radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = np.ogrid[: seen.bad.shape[0], : seen.bad.shape[1]]
    inside = np.nonzero(np.hypot(columns - x, rows - y) <= max(radius, 0.8))
    return inside[0], inside[1]


def _judged(flux: float, stated: float, usual: float, blank: FloatArray, told: tuple[Caveat, ...]) -> Measured:
    """Return flux and error: `stated` variance, raised by what empty places scatter above the `usual` variance."""
    if not np.isfinite(stated):
        return _unseen(_masked(0.0))
    level, scatter, number = scatter_of(blank)
    if not np.isfinite(scatter):
        why = Caveat("forced.empty", f"only {number} empty places around: the error is the stated one alone")
        return Measured(flux, float(np.sqrt(stated)), float(np.sqrt(usual)), (*told, why))
    real = max(scatter**2, usual)
    error = np.sqrt(max(stated, usual) - usual + real + scatter**2 / number)
    return Measured(flux - level, float(error), float(np.sqrt(real)), told)


def per_second(found: Measured, time: float, told: tuple[Caveat, ...]) -> Measured:
    """Return what was measured per second of `time` [s], with more to tell."""
    told = merged(told, found.caveats)
    return Measured(found.flux / time, found.error / time, found.empty / time, told)


def _unseen(why: Caveat) -> Measured:
    return Measured(np.nan, np.nan, np.nan, (why,))


def _masked(good: float) -> Caveat:
    return Caveat("forced.masked", f"{good:.0%} of the source's light falls on good pixels")


def _unscaled(title: str) -> Caveat:
    return Caveat("forced.zeropoint", f"{title} has no zero point of a known system: its fluxes are in electron/s")


def _title(frame: Frame | Stack) -> str:
    if isinstance(frame, Stack):
        return f"stack of {len(frame.frames)}"
    return frame.exposure.name if frame.exposure else "the frame"


def _part(frame: Frame | Stack, part: tuple[slice, slice]) -> Frame | Stack:
    """Return a window of the image: what `picture` looks at."""
    data, var, mask = (np.ascontiguousarray(array[part]) for array in (frame.data, frame.var, frame.mask))
    if isinstance(frame, Stack):
        return replace(frame, data=data.astype(np.float32), var=var.astype(np.float32), mask=mask.astype(np.uint32))
    photons = None if frame.photon_var is None else frame.photon_var[part]
    return Frame(data.astype(np.float32), var.astype(np.float32), mask.astype(np.uint32), frame.unit, frame.exposure,
                 photon_var=photons)  # fmt: skip


def _with_photons(seen: Picture, frame: Frame | Stack) -> Picture:
    """Return the picture with the light's variance from exposure time, where no bright pixel of a stack tells it."""
    if not isinstance(frame, Stack) or seen.slope > 0 or not frame.exptime > 0:
        return seen
    return replace(seen, slope=1 / (frame.exptime * frame.covariance))
