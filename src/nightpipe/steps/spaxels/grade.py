"""How good a spectrum is, from what was measured, as SEDM's users know it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.step import Step, parameter
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.exposure import FrameType
from nightpipe.model.scene import Grade, Reason, Scene
from nightpipe.model.spectrum import Spectrum
from nightpipe.model.warp import Warp

FloatArray = NDArray[np.float64]

_DOUBTS = (
    Reason.BAD_FIT
    | Reason.REFRACTION
    | Reason.STRUCTURE
    | Reason.AWAY
    | Reason.EDGE
    | Reason.FLEXURE
    | Reason.FAINT
    | Reason.POINTING
)


class GradeSpectrum(Step):
    """Give a quality of 0 to 5 with its reasons as bits: 0 to 2 go on to classification and delivery.

    | quality | when |
    |---|---|
    | 5 | astrometry failed, and the brightest source was taken or a faint one (never for standards) |
    | 3 | the target lies outside the field |
    | 4 | more than `negative` of the bins are negative |
    | 1 | a person placed the target |
    | 2 | a doubt: faint, bad fit, refraction, structure, away, edge, flexure; placed by pointing alone |
    | 0 | none of these |

    Fit, structure and the slices' places are judged beyond what a shape of seeing that is wrong by `FitScene.mismatch`
    would leave: a standard of signal to noise 700 shows 0.15 per cent of misfit as a chi2 of 2, and slices that are off
    by 2 milliarcsec as one of 7, and is none the worse for it.
    """

    version: ClassVar[int] = 5
    least: float = parameter(3.0, "signal to noise per bin below which a spectrum is faint", ge=0)
    chi2: float = parameter(1.5, "chi2 per element about the target above which the fit is bad", gt=1)
    refraction: float = parameter(4.0, "chi2 of the slices' places above which refraction is not believed", gt=1)
    structure: float = parameter(0.3, "correlation of neighbouring residuals above which they have structure", gt=0)
    away: float = parameter(4.0, "distance from the astrometry's place in its errors", unit="sigma", gt=1)
    edge: float = parameter(0.8, "share of the light in the field below which the target is at the edge", gt=0, le=1)
    negative: float = parameter(0.2, "share of negative bins that spoils a spectrum", gt=0, le=1)
    verdict: str = parameter("", "what a person says of it: no object visible, bogus target ...; a card of its own")
    contamination: float = parameter(0.5, "share of others' light within the target's FWHM that is told", gt=0)

    def run(self, scene: Scene, spectrum: Spectrum, spectra: SpaxelSpectra, warp: Warp | None = None) -> Grade:
        """Return the quality of the scene's spectrum; `warp` is the exposure's flexure, where it is known."""
        measured = self._measured(scene, spectrum, spectra)
        reasons = self._reasons(measured, scene, spectra, warp)
        return Grade(self._quality(reasons), int(reasons), measured, self.verdict)

    def _measured(self, scene: Scene, spectrum: Spectrum, spectra: SpaxelSpectra) -> dict[str, float]:
        good = spectrum.good & (spectrum.wave > 4000) & (spectrum.wave < 9000)
        negative = float(np.mean(spectrum.flux[good] < 0)) if good.any() else 1.0
        return {
            "snr": scene.snr,
            "chi2": scene.chi2_near,
            "refraction_chi2": scene.refraction_chi2,
            "structure": scene.structure,
            "away": _away(scene),
            "in_field": _in_field(scene, spectra),
            "negative": negative,
            "contamination": _contamination(scene),
        }

    def _reasons(self, measured: dict[str, float], scene: Scene, spectra: SpaxelSpectra, warp: Warp | None) -> Reason:
        codes = {caveat.code for caveat in scene.caveats}
        standard = spectra.exposure is not None and spectra.exposure.type == FrameType.STANDARD
        tests = {
            Reason.FAINT: measured["snr"] < self.least,
            Reason.BAD_FIT: measured["chi2"] > self.chi2 + scene.slack,
            Reason.REFRACTION: measured["refraction_chi2"] > self.refraction + scene.slack
            or "scene.refraction" in codes,
            Reason.STRUCTURE: measured["structure"] > self.structure
            and measured["structure"] * measured["chi2"] > scene.slack,
            Reason.AWAY: measured["away"] > self.away,
            Reason.EDGE: measured["in_field"] < self.edge,
            Reason.OUTSIDE: "place.outside" in codes,
            Reason.NEGATIVE: measured["negative"] > self.negative,
            Reason.NO_ASTROMETRY: not standard and self._unplaced(scene),
            Reason.POINTING: scene.place.how == "header",
            Reason.FLEXURE: warp is not None and not warp.accepted,
            Reason.PERSON: scene.place.how == "person",
            Reason.CONTAMINATED: measured["contamination"] > self.contamination,
        }
        found = Reason(0)
        for reason, true in tests.items():
            if true:
                found |= reason
        return found

    def _unplaced(self, scene: Scene) -> bool:
        """Tell whether nothing says that this is the target: a source that pointing alone names must stand out, too."""
        faint = scene.snr < self.least
        return scene.place.how in ("brightest", "middle") or (scene.place.how == "header" and faint)

    def _quality(self, reasons: Reason) -> int:
        if reasons & Reason.OUTSIDE:
            return 3
        if reasons & Reason.NO_ASTROMETRY:
            return 5
        if reasons & Reason.NEGATIVE:
            return 4
        if reasons & Reason.PERSON:
            return 1
        return 2 if reasons & _DOUBTS else 0


def _away(scene: Scene) -> float:
    """Return how many errors the target was found from where it was expected."""
    off = np.array([scene.target.east - scene.place.east, scene.target.north - scene.place.north])
    return float(np.sqrt(off @ np.linalg.solve(scene.place.covariance, off)))


def _in_field(scene: Scene, spectra: SpaxelSpectra) -> float:
    """Return which part of a circle of 1.5 FWHM about the target has lenslets in it."""
    away = np.hypot(spectra.east - scene.target.east, spectra.north - scene.target.north)
    pitch = float(np.sort(np.hypot(spectra.east - spectra.east[0], spectra.north - spectra.north[0]))[1])
    expected = np.pi * (1.5 * scene.fwhm) ** 2 / (np.sqrt(0.75) * pitch**2)
    return float(min(np.sum(scene.used & (away < 1.5 * scene.fwhm)) / expected, 1.0))


def _contamination(scene: Scene) -> float:
    """Return the others' light over the target's, where the target gives more than a quarter of its peak."""
    target, others = (np.nansum(part, axis=0) for part in (scene.slices.target, scene.slices.others))
    near = target > 0.25 * target.max()
    return float(others[near].sum() / max(float(target[near].sum()), 1e-12)) if near.any() else 0.0
