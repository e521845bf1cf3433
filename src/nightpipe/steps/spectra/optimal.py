"""Optimal extraction on native pixels, with a boxcar beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import merged
from nightpipe.base.step import Step, parameter
from nightpipe.model.exposure import Scalar
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import Profile, SkyModel, Source, Spectrum
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.spectra.collapse import residual
from nightpipe.steps.spectra.columnfit import ColumnFit, ColumnRules, fit_columns
from nightpipe.steps.spectra.extraction import (
    bin_flags,
    box_of,
    box_sum,
    extrapolated,
    facts,
    optimal_sum,
    under_object,
    wavelengths,
    with_limits,
)

Array = NDArray[np.float64]


class Optimal(Step):
    """Extract a source with optimal weights (Horne 1986), masks applied, outliers rejected, the sky's error included.

    Masked pixels drop out of the weighted fit and bias nothing, as long as enough of the profile is left. The variance
    comes from the model: profile times flux, sky, and what noise there is without light.
    """

    clip: float = parameter(5.0, "pixels further from profile times flux are rejected", unit="sigma", ge=2)
    profile_error: float = parameter(
        0.03, "share by which the profile may be wrong before light is rejected", ge=0, le=1
    )
    rounds: int = parameter(12, "pixels rejected in one column, at most", ge=0, le=100)
    smooth: int = parameter(15, "columns over which the flux is smoothed for the weights", unit="pixel", ge=1, le=201)
    least: float = parameter(0.5, "share of the profile that must have been measured", ge=0.05, le=1)
    box: float = parameter(1.5, "half-width of the boxcar", unit="FWHM", ge=0.3, le=10)
    correct: bool = parameter(default=True, help="add to the boxcar the light outside it, by the profile")

    def run(
        self,
        frame: Frame,
        sky: SkyModel,
        profile: Profile,
        source: Source,
        wave: WaveSolution,
        others: tuple[Profile, ...] = (),
    ) -> Spectrum:
        """Return electrons per pixel bin; `others` are profiles of neighbours that are fitted at the same time."""
        values = profile.values.astype(np.float64)
        light = residual(frame, sky, np.any([p.values > 0 for p in (profile, *others)], axis=0))
        stack = np.array([values, *(other.values.astype(np.float64) for other in others)])
        rules = ColumnRules(self.clip, self.profile_error, self.rounds, self.smooth)
        fit = fit_columns(light, stack, rules)
        fwhm = float(np.median(profile.fwhm))
        share = box_of(source, frame.shape, self.box * fwhm)
        best, box = optimal_sum(fit, sky, light), box_sum(light, sky, fit, values, share, correct=self.correct)
        along, width, keep = wavelengths(wave, source, frame.shape[1])
        flags = bin_flags(frame, source, values, fit.ok, self.least, best.known) | extrapolated(along, wave)
        spectrum = Spectrum(
            source.name,
            along[keep],
            best.flux[keep],
            best.var[keep],
            flags[keep],
            under_object(sky, share)[keep],
            "electron",
            width[keep],
            np.where(box.known, box.flux, 0.0)[keep],
            np.where(box.known, box.var, 0.0)[keep],
            exposure=frame.exposure,
            header=frame.header,
            meta=facts(frame, sky, source, fwhm, self.box * fwhm) | self._extraction(profile, fit, frame),
            caveats=merged(frame.caveats, sky.caveats, source.caveats, profile.caveats),
        )
        return with_limits(spectrum, source)

    def _extraction(self, profile: Profile, fit: ColumnFit, frame: Frame) -> dict[str, Scalar]:
        lost = (profile.values > 0) & frame.good & ~fit.ok
        return {"profile": profile.kind, "rejected": int(lost.sum())}
