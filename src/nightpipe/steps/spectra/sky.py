"""The sky on native pixels: a B-spline in wavelength and slit position, or another exposure of the nodded object."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.photons import NoiseLaw
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import SkyModel, Source
from nightpipe.model.traces import Trace, TraceSet
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.spectra.nod import nod_sky
from nightpipe.steps.spectra.objectmask import bright_rows, dark_ends, source_mask
from nightpipe.steps.spectra.skyfit import SkyFit, SkyRules, column_medians, finished, fit_sky, sky_pixels
from nightpipe.steps.spectra.skymodes import covariance_modes
from nightpipe.steps.spectra.slitgrid import SlitGrid, noise_law, slit_grid

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class SubtractSky(Step):
    """Model the sky on native pixels as a B-spline in wavelength and slit position (Kelson 2003).

    Objects are masked: those given, and whatever stands out along the slit. Weights and rejection use the noise that
    the model predicts. Terms along the slit are free only where the data call for them, knots are halved only where
    the fit is bad and the tilt of the lines samples them.
    """

    version: ClassVar[int] = 2
    order: int = parameter(2, "highest order of the polynomial along the slit", ge=0, le=5)
    spacing: float = parameter(1.0, "distance of the knots along the dispersion", unit="pixel", ge=0.5, le=20)
    splits: int = parameter(
        2, "how often badly fitted intervals are halved, where the tilt gives the samples", ge=0, le=3
    )
    clip: float = parameter(4.5, "pixels further from the model are rejected", unit="sigma", gt=2)
    iterations: int = parameter(6, "rounds of fit and rejection, at most", ge=1, le=50)
    significance: float = parameter(4.0, "terms along the slit are free where they pull this much", unit="sigma", gt=0)
    mask_width: float = parameter(3.0, "half-width of the mask around a source", unit="FWHM", gt=0)
    mask_threshold: float = parameter(4.0, "rows brighter than this above the sky are masked", unit="sigma", gt=1)
    margin: float = parameter(1.5, "width cut from both slit edges", unit="pixel", ge=0)

    def run(
        self,
        frame: Frame,
        wave: WaveSolution,
        slit: TraceSet,
        sources: tuple[Source, ...],
        before: SkyModel | None = None,
    ) -> SkyModel:
        """Return the sky of all slits of the frame; pixels outside them get none.

        `before` is a model made without knowing the `sources`: where it used no pixel of theirs, it is returned as it
        is, else it stands in for the first, rough fit.
        """
        known = source_mask(sources, frame.shape, self.mask_width)
        if before is not None and not (before.used & known).any():
            return before
        data, law = frame.data.astype(np.float64), noise_law(frame)
        start = None if before is None else before.model.astype(np.float64)
        parts = [self._one(frame, data, law, known, slit_grid(wave, t, frame.shape), t, start) for t in slit.traces]
        return _assembled(parts, frame.shape)

    def _one(
        self,
        frame: Frame,
        data: Array,
        law: NoiseLaw,
        known: Mask,
        grid: SlitGrid,
        trace: Trace,
        start: Array | None,
    ) -> _Part:
        """Fit one slit: roughly first, since objects show better once the sky is gone, then as well as it goes."""
        rules = SkyRules(self.order, self.spacing, self.splits, self.clip, self.iterations, self.significance)
        open_ = frame.good & grid.inside & _inner(grid, trace, frame.shape, self.margin)
        spectrum = column_medians(data, open_)
        model = np.broadcast_to(spectrum[None, :], data.shape)
        open_ &= ~dark_ends(data, np.sqrt(law.variance(model)), spectrum, open_)[:, None]
        model = start if start is not None else self._rough(data, law, grid, open_, known, model, rules)
        where, caveats = self._sky_rows(open_, known, data - model, law, model)
        pixels = sky_pixels(data, law, grid, where, model)
        fit = finished(pixels, fit_sky(pixels, rules), rules)
        used = np.zeros(frame.shape, dtype=bool)
        used.T[where.T] = fit.used
        model = np.where(grid.inside, fit.surface(grid.u, grid.v), 0.0)
        return _Part(model, covariance_modes(fit.surface, grid), used, fit, caveats)

    def _rough(
        self, data: Array, law: NoiseLaw, grid: SlitGrid, open_: Mask, known: Mask, model: Array, rules: SkyRules
    ) -> Array:
        """Return a rough model (ny, nx) of one slit's sky, from one of its columns' medians."""
        where, _ = self._sky_rows(open_, known, data - model, law, data)
        rough = replace(rules, splits=0, iterations=3)
        fit = fit_sky(sky_pixels(data, law, grid, where, _start(data, where)), rough)
        return np.where(grid.inside, fit.surface(grid.u, grid.v), 0.0)

    def _sky_rows(
        self, open_: Mask, known: Mask, residual: Array, law: NoiseLaw, light: Array
    ) -> tuple[Mask, tuple[Caveat, ...]]:
        """Return the pixels that show sky alone; where objects fill the slit, its faintest rows must do."""
        sigma = np.sqrt(law.variance(light))
        objects = known | bright_rows(residual, sigma, light, open_, self.mask_threshold)
        where = open_ & ~objects
        if where.sum() >= 0.15 * open_.sum():
            return where, ()
        return _faintest(residual, open_), (
            Caveat("sky.crowded", "Objects fill the slit: the sky was taken from its faintest rows."),
        )


class NodSky(Step):
    """Take the sky from another exposure with the object elsewhere on the slit (A - B), noise and all.

    With `shift` the partner is moved along the dispersion by the whole-pixel offset that its sky lines show: pixels are
    never interpolated, what is left below half a pixel can be fitted with `SubtractSky` afterwards.
    """

    scale: bool = parameter(default=True, help="scale the partner to the frame's sky level")
    max_shift: int = parameter(3, "largest shift between the two exposures that is undone", unit="pixel", ge=0, le=50)
    residual: bool = parameter(default=True, help="remove the sky left in A - B by a B-spline along the dispersion")

    def run(self, frame: Frame, partner: Frame, wave: WaveSolution, slit: TraceSet) -> SkyModel:
        """Return the partner as the sky of the frame; `var` is that of the partner, so that A - B has the sum."""
        return nod_sky(frame, partner, wave, slit, scale=self.scale, max_shift=self.max_shift, residual=self.residual)


class _Part(NamedTuple):
    model: Array
    modes: Array
    used: Mask
    fit: SkyFit
    caveats: tuple[Caveat, ...]


def _start(data: Array, where: Mask) -> Array:
    return np.broadcast_to(column_medians(data, where)[None, :], data.shape)


def _inner(grid: SlitGrid, trace: Trace, shape: tuple[int, int], margin: float) -> Mask:
    columns = np.arange(shape[1], dtype=np.float64)
    half = np.maximum(trace.upper(columns) - trace.lower(columns), 1.0) / 2
    return np.asarray(np.abs(grid.v) * half[None, :] <= half[None, :] - margin)


def _faintest(residual: Array, open_: Mask) -> Mask:
    """Return the fifth of the rows with the lowest median."""
    with np.errstate(invalid="ignore"):
        level = np.array([np.median(row[ok]) if ok.any() else np.inf for row, ok in zip(residual, open_, strict=True)])
    limit = np.quantile(level[np.isfinite(level)], 0.2)
    return open_ & (level <= limit)[:, None]


def _assembled(parts: list[_Part], shape: tuple[int, int]) -> SkyModel:
    """Join the slits: they do not overlap, so models and modes add."""
    if not parts:
        raise BadFrameError("a slit to take the sky from", "no trace", "run WholeSlit or FindSlit first")
    q = max(len(part.modes) for part in parts)
    modes = np.zeros((q, *shape), dtype=np.float32)
    for part in parts:
        modes[: len(part.modes)] += part.modes.astype(np.float32)
    weights = np.array([part.fit.used.sum() for part in parts], dtype=np.float64)
    chi = float(np.sqrt(np.average([part.fit.chi**2 for part in parts], weights=weights)))
    model = np.sum([part.model for part in parts], axis=0).astype(np.float32)
    used = np.any([part.used for part in parts], axis=0)
    knots = sum(len(part.fit.surface.breaks) for part in parts)
    caveats = tuple(dict.fromkeys(c for part in parts for c in part.caveats))
    return SkyModel(model, np.sum(modes**2, axis=0), used, chi, knots, "bspline", caveats, modes)
