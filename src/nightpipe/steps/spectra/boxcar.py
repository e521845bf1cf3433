"""The plain sum along the slit."""

from __future__ import annotations

import numpy as np

from nightpipe.base.caveat import merged
from nightpipe.base.step import Step, parameter
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import SkyModel, Source, Spectrum
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.spectra.collapse import residual
from nightpipe.steps.spectra.columnfit import ColumnRules, fit_columns
from nightpipe.steps.spectra.extraction import (
    bin_flags,
    box_of,
    box_sum,
    extrapolated,
    facts,
    under_object,
    wavelengths,
    with_limits,
)
from nightpipe.steps.spectra.profile import offsets
from nightpipe.steps.spectra.profilefit import moffat_shape


class Boxcar(Step):
    """Sum the light within a few FWHM of the trace, each pixel alike; its edges cut pixels in proportion.

    Masked pixels are filled from a Moffat of the source's width, scaled to the pixels that are left.
    """

    box: float = parameter(1.5, "half-width of the box", unit="FWHM", ge=0.3, le=10)
    correct: bool = parameter(default=False, help="add the light outside the box, by a Moffat of the source's width")
    beta: float = parameter(3.0, "exponent of the Moffat that fills masked pixels", ge=1.2, le=20)
    least: float = parameter(0.5, "share of the profile that must have been measured", ge=0.05, le=1)

    def run(self, frame: Frame, sky: SkyModel, source: Source, wave: WaveSolution) -> Spectrum:
        """Return electrons per pixel bin within the box."""
        columns = frame.shape[1]
        inside = np.abs(offsets(source, frame.shape)) <= max(3.0, self.box + 1.0) * source.fwhm
        width = np.full(columns, source.fwhm)
        shape = moffat_shape(offsets(source, frame.shape), inside, width, self.beta, 5.0 * source.fwhm)
        light = residual(frame, sky, inside)
        fit = fit_columns(light, shape.values[None], ColumnRules(1e6, 0.0, 0, 15))
        share = box_of(source, frame.shape, self.box * source.fwhm)
        total = box_sum(light, sky, fit, shape.values, share, correct=self.correct)
        along, line, keep = wavelengths(wave, source, columns)
        flags = bin_flags(frame, source, shape.values, fit.ok, self.least, total.known) | extrapolated(along, wave)
        spectrum = Spectrum(
            source.name,
            along[keep],
            np.where(total.known, total.flux, 0.0)[keep],
            np.where(total.known, total.var, 0.0)[keep],
            flags[keep],
            under_object(sky, share)[keep],
            "electron",
            line[keep],
            exposure=frame.exposure,
            header=frame.header,
            meta=facts(frame, sky, source, source.fwhm, self.box * source.fwhm) | {"profile": "boxcar"},
            caveats=merged(frame.caveats, sky.caveats, source.caveats),
        )
        return with_limits(spectrum, source)
