"""Light in an aperture that follows the refraction: an ellipse of given size, shape and turn, with or without sky."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import ConfigError
from nightpipe.base.step import Step, parameter
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.exposure import Scalar
from nightpipe.model.flags import Flag
from nightpipe.model.scene import Scene
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.spaxels.stage import Priors, air_of, stage_of

FloatArray = NDArray[np.float64]


class ApertureSpectrum(Step):
    """Sum the light in an ellipse about the target, at each wavelength where refraction puts it."""

    radius: float = parameter(1.0, "semi-major axis", unit="FWHM", gt=0.2, le=6)
    ratio: float = parameter(1.0, "minor over major axis", gt=0.1, le=1)
    angle: float = parameter(0.0, "angle of the major axis from east through north", unit="deg")
    sky: Literal["scene", "annulus", "partner", "none"] = parameter(
        "scene", "the sky that is taken off: the scene's, an annulus', the partner exposure's, or none"
    )
    inner: float = parameter(2.5, "inner radius of the annulus", unit="FWHM", gt=0.5)
    outer: float = parameter(4.0, "outer radius of the annulus", unit="FWHM", gt=1)
    correct: bool = parameter(default=True, help="add the light outside the aperture, by the scene's shape of a star")

    def run(self, scene: Scene, spectra: SpaxelSpectra, partner: SpaxelSpectra | None = None) -> Spectrum:
        """Return electrons per bin of the scene's common scale.

        Raises
        ------
        ConfigError
            The partner's sky is asked for, and there is no partner.
        """
        if self.sky == "partner" and partner is None:
            raise ConfigError("the sky of a partner exposure", "no partner", "ApertureSpectrum.sky=scene")
        theta = Priors(scene.names, scene.values, np.ones_like(scene.values))
        stage = stage_of(spectra, air_of(spectra, 10.0, 30.0))
        middle = _middles(scene)
        reach = max(self.radius, self.outer if self.sky == "annulus" else 0.0) * scene.fwhm + 1.5
        away = np.hypot(spectra.east - scene.target.east, spectra.north - scene.target.north)
        near = np.flatnonzero((away < reach) & scene.used)
        edges = _edges(scene.wave)
        flux, var, lag = _binned(spectra, near, edges)
        inside = self._inside(spectra, near, middle, scene.fwhm, self.radius)
        sky = self._sky(scene, spectra, partner, near, edges, flux, middle)
        weight = inside.copy()
        if self.correct:
            star = np.array([stage.shares(theta, 0, np.full(scene.wave.size, k), scene.wave) for k in near])
            weight = inside / np.maximum((inside * star).sum(axis=0), 0.02)
        total = (weight * (flux - sky)).sum(axis=0)
        variance = (weight**2 * var).sum(axis=0)
        neighbour = (weight[:, :-1] * weight[:, 1:] * lag[:, :-1]).sum(axis=0)
        correlation = np.zeros((1, total.size))
        correlation[0, :-1] = neighbour / np.sqrt(np.maximum(variance[:-1] * variance[1:], 1e-300))
        blind = (inside > 0).sum(axis=0) == 0
        caveats = (Caveat("aperture.sky", "no sky was subtracted"),) if self.sky == "none" else ()
        return Spectrum(
            name="target" if spectra.exposure is None else spectra.exposure.target,
            wave=scene.wave,
            flux=total,
            var=np.maximum(variance, 1e-12),
            mask=np.where(blind, int(Flag.NO_DATA), 0).astype(np.uint32),
            sky=(weight * sky).sum(axis=0),
            unit="electron",
            fwhm=scene.fwhm_line,
            correlation=correlation,
            exposure=spectra.exposure,
            header=spectra.header,
            meta=_facts(scene, spectra, self.radius * scene.fwhm),
            caveats=(*scene.caveats, *caveats),
        )

    def _inside(
        self, spectra: SpaxelSpectra, near: NDArray[np.int64], middle: FloatArray, fwhm: float, radius: float
    ) -> FloatArray:
        """Return which part (near, k) of each lenslet lies in the ellipse at each wavelength, by 37 points in it."""
        points = _points(spectra)
        c, s = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        found = np.zeros((near.size, len(middle)))
        for du, dv in points:
            u = spectra.east[near, None] + du - middle[None, :, 0]
            v = spectra.north[near, None] + dv - middle[None, :, 1]
            far = np.hypot(u * c + v * s, (v * c - u * s) / self.ratio)
            found += far < radius * fwhm
        return found / len(points)

    def _sky(
        self, scene: Scene, spectra: SpaxelSpectra, partner: SpaxelSpectra | None, near: NDArray[np.int64],
        edges: FloatArray, flux: FloatArray, middle: FloatArray,
    ) -> FloatArray:  # fmt: skip
        """Return the sky (near, k) in each lenslet."""
        if self.sky == "none":
            return np.zeros_like(flux)
        if self.sky == "partner" and partner is not None:
            scale = 1.0
            if spectra.exposure is not None and partner.exposure is not None:
                scale = spectra.exposure.exptime / max(partner.exposure.exptime, 1e-9)
            return _binned(partner, near, edges)[0] * scale
        if self.sky == "annulus":
            ring = self._inside(spectra, near, middle, scene.fwhm, self.outer)
            ring -= self._inside(spectra, near, middle, scene.fwhm, self.inner)
            values = np.where(ring > 0.99, flux, np.nan)
            return np.broadcast_to(np.nanmedian(values, axis=0), flux.shape)
        return np.broadcast_to(scene.sky * np.diff(edges), flux.shape)


def _facts(scene: Scene, spectra: SpaxelSpectra, radius: float) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {
        "extraction": "aperture",
        "radius": radius,
        "east": scene.target.east,
        "north": scene.target.north,
        "airmass": scene.airmass,
        "seeing": scene.fwhm,
    }
    if spectra.exposure is not None:
        facts |= {"exptime": spectra.exposure.exptime, "mjd": spectra.exposure.mjd}
    return facts


def _middles(scene: Scene) -> FloatArray:
    """Return where the target is (k, 2) at each wavelength of the scale: the slices' places joined smoothly."""
    from scipy.interpolate import PchipInterpolator

    order = np.argsort(scene.slices.wave)
    wave = scene.slices.wave[order]
    inside = np.clip(scene.wave, wave[0], wave[-1])
    return np.asarray(PchipInterpolator(wave, scene.slices.expected[order])(inside))


def _edges(wave: FloatArray) -> FloatArray:
    middle = (wave[1:] + wave[:-1]) / 2.0
    return np.concatenate([[2 * wave[0] - middle[0]], middle, [2 * wave[-1] - middle[-1]]])


def _points(spectra: SpaxelSpectra) -> FloatArray:
    """Return 37 points spread evenly over a lenslet."""
    from nightpipe.maths.hexagons import hexagon_of

    corners = hexagon_of(spectra.q, spectra.r, spectra.east, spectra.north).corners
    a, b = corners[0] * 2.0 / 7.0, corners[1] * 2.0 / 7.0
    grid = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if abs(i + j) <= 3]
    return np.array([i * a + j * (b - a) for i, j in grid])


def _binned(
    spectra: SpaxelSpectra, near: NDArray[np.int64], edges: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return flux, variance and covariance with the next bin (near, k): each pixel's counts shared by its overlap.

    Masked pixels are interpolated along the spectrum, with four times the variance.
    """
    rows = []
    for k in near:
        wave, step, good = spectra.wave[k], spectra.step[k], spectra.good[k]
        if good.sum() < 10:
            rows.append(np.zeros((3, edges.size - 1)))
            continue
        density = np.interp(wave, wave[good], spectra.flux[k][good] / step[good])
        var = np.where(good, spectra.var[k], 4.0 * np.median(spectra.var[k][good]))
        low, high = wave - step / 2.0, wave + step / 2.0
        overlap = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
        share = np.clip(overlap, 0.0, None) / step
        next_one = np.zeros(edges.size - 1)
        next_one[:-1] = (share[:-1] * share[1:]) @ var
        rows.append(np.array([share @ (density * step), share**2 @ var, next_one]))
    table = np.array(rows).reshape(near.size, 3, edges.size - 1)
    return table[:, 0], table[:, 1], table[:, 2]
