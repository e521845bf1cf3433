"""A - B: the sky of one exposure from another with the object elsewhere on the slit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.maths.photons import NoiseLaw
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import SkyModel
from nightpipe.model.traces import TraceSet
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.spectra.objectmask import bright_rows
from nightpipe.steps.spectra.skyfit import SkyRules, column_medians, finished, fit_sky, sky_pixels
from nightpipe.steps.spectra.skymodes import covariance_modes
from nightpipe.steps.spectra.slitgrid import SlitGrid, noise_law, slit_grid

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

RULES = SkyRules(order=1, spacing=1.0, splits=0, clip=4.5, iterations=4, significance=4.0)
"""What is left in A - B has no sharp structure that the tilt could sample."""


@dataclass(frozen=True)
class Partner:
    """The partner as it is subtracted: moved by whole pixels and scaled; `good` where it was measured."""

    data: Array
    var: Array
    good: Mask
    shift: int
    scale: float


def nod_sky(
    frame: Frame, partner: Frame, wave: WaveSolution, slit: TraceSet, *, scale: bool, max_shift: int, residual: bool
) -> SkyModel:
    """Return the partner as the sky of `frame`: `var` is the partner's, so that A - B has the sum of both.

    Raises BadFrameError where the two were not read out alike.
    """
    if frame.shape != partner.shape:
        raise BadFrameError(
            "two nodded exposures of one size", f"{frame.shape} and {partner.shape}", "pair like with like"
        )
    grids = [slit_grid(wave, trace, frame.shape) for trace in slit.traces]
    inside = np.any([grid.inside for grid in grids], axis=0)
    moved, caveats = _matched(frame, partner, inside, scale, max_shift)
    model, var, modes, empty = moved.data, moved.var, None, moved.good & inside
    if residual:
        law = noise_law(frame)
        for grid in grids:
            level = np.broadcast_to(column_medians(moved.data, moved.good & grid.inside)[None, :], frame.shape)
            part, errors, where = _left_over(frame, moved, (1.0 + moved.scale**2) * law.variance(level), grid)
            model, empty = model + part, empty & (where | ~grid.inside)
            modes = errors if modes is None else modes + errors
    total = var if modes is None else var + np.sum(modes**2, axis=0)
    return SkyModel(
        np.where(inside, model, 0.0).astype(np.float32),
        np.where(inside, total, 0.0).astype(np.float32),
        moved.good & inside,
        _scatter(frame, model, var, empty),
        0,
        "nod",
        caveats,
        None if modes is None else modes.astype(np.float32),
    )


def _matched(frame: Frame, partner: Frame, inside: Mask, scale: bool, most: int) -> tuple[Partner, tuple[Caveat, ...]]:
    both = frame.good & partner.good & inside
    a, b = column_medians(frame.data.astype(np.float64), both), column_medians(partner.data.astype(np.float64), both)
    offset = line_shift(a, b, most)
    step = round(offset)
    factor = _ratio(a, np.roll(b, step), most) if scale else 1.0
    data = np.roll(partner.data.astype(np.float64), step, axis=1) * factor
    var = np.roll(partner.var.astype(np.float64), step, axis=1) * factor**2
    good = np.roll(partner.good, step, axis=1)
    good[:, : max(step, 0)] = False
    good[:, frame.shape[1] + min(step, 0) :] = False
    caveats: tuple[Caveat, ...] = ()
    if abs(offset - step) > 0.15:
        text = f"The sky lines of the nodded pair are {offset - step:+.2f} pixel apart: expect residuals at lines."
        caveats = (Caveat("nod.shift", text),)
    return Partner(data, var, good, step, factor), caveats


def line_shift(a: Array, b: Array, most: int) -> float:
    """Return by how many pixels `b` must be moved to the right to fall on `a`: the peak of their correlation.

    Fractions come from a parabola through the peak. Without structure in the spectra the answer is zero.
    """
    if most == 0:
        return 0.0
    a, b = _structure(a), _structure(b)
    lags = np.arange(-most, most + 1)
    core = slice(most, len(a) - most)
    value = np.array([float(np.sum(a[core] * np.roll(b, int(lag))[core])) for lag in lags])
    norm = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    peak = int(np.argmax(value))
    if norm <= 0 or value[peak] < 0.3 * norm or peak in {0, len(lags) - 1}:
        return 0.0
    left, middle, right = value[peak - 1 : peak + 2]
    return float(lags[peak] + 0.5 * (left - right) / (left - 2 * middle + right))


def _structure(spectrum: Array) -> Array:
    """Return the lines: the spectrum less its running mean, faint noise ignored."""
    width = min(31, len(spectrum) // 2 * 2 - 1)
    smooth = np.convolve(np.pad(spectrum, width // 2, mode="edge"), np.ones(width) / width, mode="valid")
    return np.asarray(spectrum - smooth)


def _ratio(a: Array, b: Array, margin: int) -> float:
    """Return the robust ratio of two sky spectra: the median over the brighter half of the columns."""
    core = slice(margin, len(a) - margin)
    a, b = a[core], b[core]
    bright = (b >= np.median(b)) & (b > 0)
    return float(np.clip(np.median(a[bright] / b[bright]), 0.3, 3.0)) if bright.any() else 1.0


def _left_over(frame: Frame, moved: Partner, var: Array, grid: SlitGrid) -> tuple[Array, Array, Mask]:
    """Return the sky that A - B still holds, its error modes, and the pixels without objects of either sign."""
    difference = frame.data.astype(np.float64) - moved.data
    ok = frame.good & moved.good & grid.inside
    flat = difference - column_medians(difference, ok)[None, :]
    sigma = np.sqrt(var)
    light = np.maximum(moved.data, 0.0)
    objects = bright_rows(flat, sigma, light, ok, 4.0) | bright_rows(-flat, sigma, light, ok, 4.0)
    where = ok & ~objects if (ok & ~objects).sum() > 0.15 * ok.sum() else ok
    law = _constant(var)
    start = np.broadcast_to(column_medians(difference, where)[None, :], difference.shape)
    pixels = sky_pixels(difference, law, grid, where, start)
    fit = finished(pixels, fit_sky(pixels, RULES), RULES)
    return np.where(grid.inside, fit.surface(grid.u, grid.v), 0.0), covariance_modes(fit.surface, grid), where


def _constant(var: Array) -> NoiseLaw:
    zero = np.zeros((1, 1))
    return NoiseLaw(var, zero, zero)


def _scatter(frame: Frame, model: Array, var: Array, where: Mask) -> float:
    """Return the robust scatter of A - B in sigma."""
    ok = where & frame.good
    if not ok.any():
        return 0.0
    pull = ((frame.data - model) / np.sqrt(np.maximum(frame.var + var, 1e-9)))[ok]
    return float(1.4826 * np.median(np.abs(pull - np.median(pull))))
