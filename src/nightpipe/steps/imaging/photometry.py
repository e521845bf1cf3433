"""Fluxes of all sources: through the PSF, neighbours together, in apertures, and in Kron's ellipses."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.psf import Grid
from nightpipe.maths import extract
from nightpipe.maths.crowd import Fitted, fit
from nightpipe.maths.psfgrid import Sky
from nightpipe.maths.psfwings import shares
from nightpipe.model.frame import Frame
from nightpipe.model.sources import Psf, Sources
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.detect import EXTENDED, SATURATED, SIGMA
from nightpipe.steps.imaging.picture import Image, Picture, picture

FloatArray = NDArray[np.float64]
WINGS = 0.03
"""Relative error of the flux of a star of which only the wings are not saturated: the PSF there is known no better."""


class Photometer(Step):
    """Measure the total flux of every source through the PSF, in a corrected aperture and in Kron's ellipse."""

    version: ClassVar[int] = 3
    reach: float = parameter(1.3, "pixels this near a star are fitted, in FWHM", ge=0.5, le=4)
    link: float = parameter(1.6, "stars this near are solved together, in FWHM", ge=0)
    passes: int = parameter(3, "passes over the image", ge=1, le=20)
    moving: float = parameter(7.0, "fainter sources keep the position of the detection", unit="sigma", ge=0)
    aperture: float = parameter(1.0, "radius of the aperture, in FWHM", gt=0)
    kron: float = parameter(2.5, "radius of the ellipse, in Kron's radii", gt=0)
    least: float = parameter(3.5, "least radius of the ellipse, in isophotal sigma", gt=0)
    box: int = parameter(64, "mesh of the background; it is taken anew without the stars", unit="pixel", ge=8)
    extended: float = parameter(0.15, "excess of variance over the PSF's that makes a source extended", gt=0)
    poor: float = parameter(1.5, "a median chi above this is worth a caveat", gt=0)

    def run(self, frame: Frame | Stack, sources: Sources, psf: Psf | None) -> Sources:
        """Return the sources with `flux` through the PSF (total, to infinity), refined positions, and more columns.

        Groups of overlapping stars are fitted simultaneously on the image without all others (Stetson 1987, PASP 99,
        191), weighted with the variance that the model predicts: the data's own would draw fluxes down (Humphrey et
        al. 2009, ApJ 693, 822). ``spread`` [pixel^2] is the excess of variance over the PSF's, the measure of galaxies.
        A saturated star is fitted where it is not, as far as the PSF is known; its quality says so, and its error.
        Without a PSF (None) `flux` stays that of the aperture.
        """
        seen = picture(frame, self.box)
        if not len(sources):
            return sources
        if psf is None:
            told = Caveat("photometry.aperture", "there is no PSF: fluxes are those of apertures, neighbours within")
            return replace(sources, caveats=merged(sources.caveats, (told,)))
        found = self._fitted(seen, sources, psf)
        seen = replace(seen, data=found.data)
        var = seen.variance()
        columns = dict(sources.columns) | self._apertures(seen, var, found, psf) | self._ellipses(seen, var, sources)
        return self._told(sources, seen, psf, found, columns)

    def _fitted(self, seen: Picture, sources: Sources, psf: Psf) -> Fitted:
        grid, saturated = _grid(psf), _saturated(sources)
        flux = np.where(saturated, 0.0, sources.flux * seen.time)
        stars = np.column_stack([flux, sources.x, sources.y])
        hold = sources.flux < self.moving * sources.flux_error
        reach = np.where(saturated, grid.reach, self.reach * psf.fwhm)
        sky = Sky(seen.data, seen.var, seen.slope, seen.bad)
        return fit(sky, grid, stars, hold, reach=reach, link=self.link * psf.fwhm, passes=self.passes, box=self.box)

    def _apertures(self, seen: Picture, noise: Image, found: Fitted, psf: Psf) -> dict[str, FloatArray]:
        radius = self.aperture * psf.fwhm
        middle = float(np.interp(radius, psf.growth[:, 0], psf.growth[:, 1]))
        share = middle * shares(_grid(psf), radius, found.x, found.y)
        total, var = extract.circles(seen.data, noise, seen.bad, found.x, found.y, radius)
        scale = 1 / (share * seen.time)
        return {"aperture_flux": total * scale, "aperture_error": np.sqrt(var * seen.covariance) * scale}

    def _ellipses(self, seen: Picture, noise: Image, sources: Sources) -> dict[str, FloatArray]:
        c = sources.columns
        shape = (sources.x, sources.y, np.maximum(c["a"], 0.5), np.maximum(c["b"], 0.5), c["angle"])
        total, var, radius = extract.kron(seen.data, noise, seen.bad, shape, self.kron, self.least)
        return {
            "kron_flux": total / seen.time,
            "kron_error": np.sqrt(var * seen.covariance) / seen.time,
            "kron_radius": radius * shape[2],
        }

    def _told(
        self, sources: Sources, seen: Picture, psf: Psf, found: Fitted, columns: dict[str, FloatArray]
    ) -> Sources:
        stretch = np.sqrt(seen.covariance)
        columns["chi"], columns["spread"], columns["spread_error"] = found.chi, found.wider, found.wider_error
        star = (psf.fwhm / SIGMA) ** 2
        saturated = _saturated(sources)
        wide = found.wider > self.extended * 2 * star + 3 * found.wider_error * np.maximum(found.chi, 1)
        wide &= ~saturated
        quality = np.where(wide, sources.quality | EXTENDED, sources.quality & ~EXTENDED).astype(np.int32)
        held = found.x_error == 0
        fitted = np.isfinite(found.flux_error) & (found.pixels >= 5)
        flux = np.where(fitted, found.flux / seen.time, columns["aperture_flux"])
        error = np.where(fitted, found.flux_error * stretch / seen.time, columns["aperture_error"])
        error = np.where(fitted & saturated, np.hypot(error, WINGS * flux), error)
        columns["psf"] = fitted.astype(np.float64)
        return replace(
            sources, x=found.x, y=found.y, flux=flux, flux_error=error, quality=quality, columns=columns,
            x_error=np.where(held, sources.x_error, found.x_error * stretch),
            y_error=np.where(held, sources.y_error, found.y_error * stretch),
            caveats=merged(sources.caveats, psf.caveats, self._judged(sources, found)),
        )  # fmt: skip

    def _judged(self, sources: Sources, found: Fitted) -> tuple[Caveat, ...]:
        usual = found.chi[(sources.quality == 0) & (sources.flux < 100 * sources.flux_error)]
        if len(usual) < 5 or np.median(usual) < self.poor:
            return ()
        text = f"the fits of ordinary stars leave {np.median(usual):.1f} times the noise: errors are too small"
        return (Caveat("photometry.chi", text),)


def _saturated(sources: Sources) -> NDArray[np.bool_]:
    return np.asarray((sources.quality & SATURATED) != 0)


def _grid(psf: Psf) -> Grid:
    """Return the PSF as kernels take it."""
    return Grid(psf.basis, psf.oversampling, psf.degree, psf.shape)
