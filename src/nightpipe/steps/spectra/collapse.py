"""The light along the slit in chunks of wavelength: what objects are found in and traced on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.photons import NoiseLaw
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import SkyModel
from nightpipe.steps.spectra.slitgrid import noise_law

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Residual:
    """A frame less its `sky`: `data` (ny, nx), the error's square `var` where there is no object, and what is `ok`.

    `law` gives the variance of light; None where `var` already holds that of the counts (nodding). `inside` marks the
    slit's pixels, good or not.
    """

    data: Array
    sky: Array
    var: Array
    ok: Mask
    law: NoiseLaw | None
    inside: Mask

    def variance(self, light: Array) -> Array:
        """Return the variance with `light` (ny, nx) of objects on top of the sky."""
        return self.var if self.law is None else self.law.variance(self.sky + np.maximum(light, 0.0))

    def rows(self, cut: slice) -> Residual:
        """Return some rows."""
        law = None if self.law is None else self.law.rows(cut)
        return Residual(self.data[cut], self.sky[cut], self.var[cut], self.ok[cut], law, self.inside[cut])


def residual(frame: Frame, sky: SkyModel, inside: Mask) -> Residual:
    """Return the frame less its sky, with the variance that the sky's model predicts.

    In A - B the variance made from A + B is kept: it does not go up and down with A - B, so it biases nothing.
    """
    model = sky.model.astype(np.float64)
    data = frame.data.astype(np.float64) - model
    ok = frame.good & inside
    if sky.method == "nod":
        var = frame.var.astype(np.float64) + sky.var
        if sky.modes is not None:  # they are common to a column, and counted there
            var -= np.sum(sky.modes.astype(np.float64) ** 2, axis=0)
        return Residual(data, model, var, ok & sky.used, None, inside)
    law = noise_law(frame)
    return Residual(data, model, law.variance(model), ok, law, inside)


def row_range(mask: Mask) -> slice:
    """Return the rows from the first to the last that hold anything."""
    rows = np.flatnonzero(mask.any(axis=1))
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)


@dataclass(frozen=True)
class Chunks:
    """Profiles along the slit: `x` (nc) mean columns, `width` columns each, `value` and `error` (nc, ny).

    Values are mean electrons per column; errors are infinite where a row was not measured.
    """

    x: Array
    value: Array
    error: Array
    width: int

    def less(self, model: Array) -> Chunks:
        """Return the chunks without a model (nc, ny) of found objects."""
        return replace(self, value=self.value - model)


def collapsed(light: Residual, columns: Mask, count: int, clip: float = 5.0) -> Chunks:
    """Collapse `count` chunks of the chosen `columns`: weighted along the dispersion, outliers along it rejected.

    Weights are those of columns, not of pixels, so that the shape along the slit is kept.
    """
    chosen = np.flatnonzero(columns)
    groups = [g for g in np.array_split(chosen, max(min(count, len(chosen)), 1)) if g.size]
    rows = [_one(light, group, clip) for group in groups]
    value, error = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    return Chunks(np.array([g.mean() for g in groups]), value, error, len(groups[0]) if groups else 0)


def _one(light: Residual, columns: NDArray[np.intp], clip: float) -> tuple[Array, Array]:
    data, ok, var = light.data[:, columns], light.ok[:, columns], light.var[:, columns]
    weight = _column_weights(var, ok)
    keep = ok & _agreeing(data, ok, var, clip)
    share = keep * weight[None, :]
    total = share.sum(axis=1)
    known = keep.sum(axis=1) >= max(0.3 * len(columns), 1)
    value = np.sum(share * data, axis=1) / np.where(known, total, 1.0)
    slope = np.ones((1, 1)) if light.law is None else light.law.slope
    full = var if light.law is None else var + np.mean(slope) * np.maximum(value, 0.0)[:, None]
    error = np.sqrt(np.sum(share**2 * full, axis=1)) / np.where(known, total, 1.0)
    return np.where(known, value, 0.0), np.where(known & (error > 0), error, np.inf)


def _column_weights(var: Array, ok: Mask) -> Array:
    count = ok.sum(axis=0)
    mean = np.sum(np.where(ok, var, 0.0), axis=0) / np.maximum(count, 1)
    return np.where(count > 0, 1.0 / np.maximum(mean, 1e-9), 0.0)


def _agreeing(data: Array, ok: Mask, var: Array, clip: float) -> Mask:
    """Return the pixels near their row's median, with a tolerance that follows the row's own scatter."""
    ordered = np.sort(np.where(ok, data, np.inf), axis=1)
    middle = np.take_along_axis(ordered, np.maximum(ok.sum(axis=1, keepdims=True) - 1, 0) // 2, axis=1)
    away = np.where(ok, np.abs(data - np.where(np.isfinite(middle), middle, 0.0)), np.inf)
    spread = np.take_along_axis(np.sort(away, axis=1), np.maximum(ok.sum(axis=1, keepdims=True) - 1, 0) // 2, axis=1)
    spread = np.where(np.isfinite(spread), 1.4826 * spread, 0.0)
    return np.asarray(away <= clip * np.maximum(np.sqrt(np.maximum(var, 0.0)), spread))
