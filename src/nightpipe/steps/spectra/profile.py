"""The spatial profile of a source: empirical where there is light enough, a Moffat where there is not."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import Profile, SkyModel, Source
from nightpipe.model.traces import TraceSet
from nightpipe.steps.spectra.collapse import Residual, collapsed, residual
from nightpipe.steps.spectra.columnfit import fit_columns
from nightpipe.steps.spectra.profilefit import RULES, WINGS, MoffatFit, Shape, fit_empirical, fit_moffat, moffat_shape

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class FitProfile(Step):
    """Fit how the light of a source is spread along the slit, smoothly in wavelength.

    With light enough, a B-spline around the trace; else a Moffat whose width changes linearly along the dispersion, led
    by weak priors where even that cannot be measured. Neighbours that are given are fitted at the same time.
    """

    version: ClassVar[int] = 2
    kind: Literal["auto", "empirical", "moffat"] = parameter("auto", "empirical, moffat, or by significance (auto)")
    empirical_snr: float = parameter(60.0, "significance from which a profile is empirical", unit="sigma", ge=5)
    order: int = parameter(6, "highest order of the profile's change along the dispersion", ge=0, le=8)
    radius: float = parameter(
        5.0, "half-width in which it is fitted; the wings go on as a Moffat", unit="FWHM", ge=1, le=20
    )
    clip: float = parameter(5.0, "pixels further from the profile are rejected", unit="sigma", ge=2)
    chunks: int = parameter(12, "stretches of wavelength in which a Moffat is fitted", ge=1, le=64)

    def run(
        self, frame: Frame, sky: SkyModel, source: Source, slit: TraceSet, neighbours: tuple[Source, ...] = ()
    ) -> Profile:
        """Return the profile of `source`; `neighbours` are other sources whose light must not count."""
        inside = in_slit(slit, source, frame.shape)
        light = residual(frame, sky, inside)
        others = tuple(other for other in neighbours if other is not source and _overlaps(source, other, self.radius))
        first, shapes = self._moffats(light, source, others)
        empirical = self.kind == "empirical" or (self.kind == "auto" and source.snr >= self.empirical_snr)
        blended = any(_blended(source, other) for other in others)
        if empirical and not (blended and self.kind == "auto"):
            alone = _without_others(light, shapes)
            offset = offsets(source, frame.shape) - first.shift
            radius = self.radius * first.fwhm
            shape = fit_empirical(alone, offset, shapes[0], first.fwhm, radius, self.order, self.clip)
            return Profile(shape.values.astype(np.float32), "empirical", shape.fwhm)
        return Profile(shapes[0].values.astype(np.float32), "moffat", shapes[0].fwhm, self._caveats(source, blended))

    def _moffats(self, light: Residual, source: Source, others: tuple[Source, ...]) -> tuple[MoffatFit, list[Shape]]:
        shape = light.data.shape
        chunks = collapsed(light, np.asarray(light.ok.any(axis=0)), self.chunks)
        everyone = (source, *others)
        centres = [one.trace.centre(chunks.x) for one in everyone]
        fit = fit_moffat(chunks, centres, source.fwhm, shape[1])
        if source.forced:
            fit = MoffatFit(0.0, source.fwhm, 0.0, 3.0)
        radius = WINGS * self.radius * fit.fwhm
        shifts = [fit.shift] + [0.0] * len(others)
        places = [offsets(one, shape) - shift for one, shift in zip(everyone, shifts, strict=True)]
        return fit, [moffat_shape(place, light.inside, fit.widths(shape[1]), fit.beta, radius) for place in places]

    def _caveats(self, source: Source, blended: bool) -> tuple[Caveat, ...]:
        caveats = []
        if blended:
            caveats.append(Caveat("profile.blended", "The source overlaps another: both were given one Moffat shape."))
        if source.forced or source.snr < 8:
            text = "The source is too faint for its profile to be measured: a Moffat of the assumed width was used."
            caveats.append(Caveat("profile.assumed", text))
        return tuple(caveats)


def offsets(source: Source, shape: tuple[int, int]) -> Array:
    """Return the distance of every pixel from the source's trace [pixel], (ny, nx)."""
    columns = np.arange(shape[1], dtype=np.float64)
    return np.arange(shape[0], dtype=np.float64)[:, None] - source.trace.centre(columns)[None, :]


def in_slit(slit: TraceSet, source: Source, shape: tuple[int, int]) -> Mask:
    """Return the pixels of the slit in which the source lies."""
    columns = np.arange(shape[1], dtype=np.float64)
    rows = np.arange(shape[0], dtype=np.float64)[:, None]
    middle = 0.5 * (shape[1] - 1)

    def distance(k: int) -> float:
        return abs(float(slit.traces[k].centre(middle)) - source.y)

    trace = slit.traces[min(range(len(slit.traces)), key=distance)]
    return np.asarray((rows >= trace.lower(columns)[None, :]) & (rows <= trace.upper(columns)[None, :]))


def _overlaps(source: Source, other: Source, radius: float) -> bool:
    return abs(source.y - other.y) < 2.0 * radius * max(source.fwhm, other.fwhm)


def _blended(source: Source, other: Source) -> bool:
    return abs(source.y - other.y) < 2.5 * max(source.fwhm, other.fwhm)


def _without_others(light: Residual, shapes: list[Shape]) -> Residual:
    """Return the residual without the light of the other sources, fitted together with the first."""
    if len(shapes) == 1:
        return light
    stack = np.array([shape.values for shape in shapes])
    fit = fit_columns(light, stack, RULES)
    others = np.einsum("mx,myx->yx", fit.flux[1:], stack[1:])
    return replace(light, data=light.data - others, sky=light.sky + others, var=light.variance(others))
