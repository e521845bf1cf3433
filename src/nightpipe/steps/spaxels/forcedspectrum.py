"""The target's spectrum as its scene tells it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.step import Step, parameter
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.exposure import Scalar
from nightpipe.model.flags import Flag
from nightpipe.model.scene import Scene
from nightpipe.model.spectrum import Spectrum

FloatArray = NDArray[np.float64]


class ForcedSpectrum(Step):
    """Give the target's counts and their errors from the scene's linear covariance, on a scale of native pixels.

    Errors hold what the scene's shape may be wrong by: each eigenvector of its parameters moves the flux as a whole.
    """

    lags: int = parameter(4, "neighbouring bins whose correlation is kept", ge=1, le=20)
    least: float = parameter(0.3, "share of the target's light that must have been measured", ge=0.0, le=1.0)
    doubt: float = parameter(
        1.3, "chi2 about the target above which errors are widened by its root; 0: never", ge=0.0, le=100.0
    )

    def run(self, scene: Scene, spectra: SpaxelSpectra) -> Spectrum:
        """Return electrons per bin of the scene's target."""
        step = np.gradient(scene.wave)
        covariance = scene.flux_covariance + scene.modes.T @ scene.modes
        widened = scene.chi2_near if self.doubt and scene.chi2_near > self.doubt else 1.0
        covariance = covariance * widened
        error = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        flux = np.zeros_like(error) if scene.target.flux is None else scene.target.flux
        mask = np.where(scene.coverage < self.least, int(Flag.NO_DATA), 0).astype(np.uint32)
        target = scene.target.name if spectra.exposure is None else spectra.exposure.target
        return Spectrum(
            name=target,
            wave=scene.wave,
            flux=flux * step,
            var=(error * step) ** 2,
            mask=mask,
            sky=scene.sky * step * _lenslets(scene, spectra),
            unit="electron",
            fwhm=scene.fwhm_line,
            correlation=_correlation(covariance, error, self.lags),
            exposure=spectra.exposure,
            header=spectra.header,
            meta=_facts(scene, spectra) | {"widened": float(np.sqrt(widened))},
            caveats=scene.caveats,
        )


def _correlation(covariance: FloatArray, error: FloatArray, lags: int) -> FloatArray:
    """Return the correlation (lags, k) of each bin with the next ones."""
    found = np.zeros((lags, error.size))
    for lag in range(1, lags + 1):
        found[lag - 1, : error.size - lag] = np.diagonal(covariance, lag) / (error[:-lag] * error[lag:])
    return found


def _lenslets(scene: Scene, spectra: SpaxelSpectra) -> float:
    """Return how many lenslets hold the target's light: the inverse sum of squares of a Gaussian's shares."""
    from nightpipe.maths.hexagons import hexagon_of

    area = hexagon_of(spectra.q, spectra.r, spectra.east, spectra.north).area
    return float(np.pi / (2.0 * np.log(2.0)) * scene.fwhm**2 / area)


def _facts(scene: Scene, spectra: SpaxelSpectra) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {
        "extraction": scene.method,
        "east": scene.target.east,
        "north": scene.target.north,
        "placed": scene.place.how,
        "seeing": scene.fwhm,
        "airmass": scene.airmass,
        "parallactic": scene.parallactic,
        "chi2": scene.chi2 / max(scene.dof, 1),
        "chi2_near": scene.chi2_near,
        "refraction_chi2": scene.refraction_chi2,
        "snr": scene.snr,
    }
    if spectra.exposure is not None:
        facts |= {"exptime": spectra.exposure.exptime, "mjd": spectra.exposure.mjd}
    return facts
