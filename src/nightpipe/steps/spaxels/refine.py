"""Traces fitted to the dome: all of them at once, each against the light that the others leave."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.fieldpoly import drawn_to, fit_field
from nightpipe.model.frame import Frame
from nightpipe.steps.spaxels.bundle import Bundle
from nightpipe.steps.spaxels.scatter import lit, scattered

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

PIXELS = 0.01
"""Relative error of every pixel that the model must allow for: pixels respond by a per cent differently."""


@dataclass(frozen=True)
class Fitted:
    """A bundle, the `light` (n, m) of its traces with its inverse variance, `row_error` (n,) [pixel] of a row as its
    own light tells it, `scatter` the image of scattered light, `chi2` per pixel on the traces.
    """

    bundle: Bundle
    light: FloatArray
    light_ivar: FloatArray
    row_error: FloatArray
    scatter: FloatArray
    chi2: float


@dataclass(frozen=True)
class Smooth:
    """How coefficients run over the field: `u`, `v` (n,) [pixel], `good` (n,) those that may tell, `degree`."""

    u: FloatArray
    v: FloatArray
    good: Bools
    degree: int


def refine(
    frame: Frame, bundle: Bundle, smooth: Smooth, *, rounds: int, window: float, blur: float, knots: int
) -> Fitted:
    """Return the traces after `rounds` of Gauss-Newton: light, rows, widths, and from the second round on the profile.

    A coefficient of a trace that the dome tells badly (cut by the edge, dim) is drawn to the smooth run over the field.
    """
    data, weight = np.where(frame.good, frame.data, 0.0).astype(np.float64), _weight(frame)
    light = np.zeros((len(bundle.x), bundle.m))
    background = np.zeros(frame.shape)
    said = bundle.light(data, weight, light, window=window)
    light = said[..., 0]
    for turn in range(rounds):
        model = bundle.image(frame.shape, light)
        if turn in (0, 2):
            dark = ~lit(frame.shape, bundle.first, bundle.rows, 6.0 * float(np.median(bundle.widths))) & frame.good
            background = scattered(data - model, dark, blur)
        residual = data - background - model
        weight = _weight(frame, model)
        said = bundle.light(residual, weight, light, window=window)
        light = said[..., 0]
        bundle = _moved(bundle, said, smooth)
        if 1 < turn < rounds - 1:
            residual = data - background - bundle.image(frame.shape, light)
            bundle = bundle.reshaped(residual, weight, light, window=window + 3.5, knots=knots)
    model = bundle.image(frame.shape, light)
    residual = data - background - model
    said = bundle.light(residual, weight, light, window=window)
    on = lit(frame.shape, bundle.first, bundle.rows, 3.0) & (weight > 0)
    chi2 = float(np.median(residual[on] ** 2 * weight[on]) / 0.4549)
    return Fitted(bundle, said[..., 0], said[..., 1], _row_error(said), background, chi2)


def _weight(frame: Frame, model: FloatArray | None = None) -> FloatArray:
    var = np.maximum(frame.var.astype(np.float64), 1e-6)
    if model is not None:
        var = var + (PIXELS * model) ** 2
    return np.where(frame.good, 1.0 / var, 0.0)


def _row_error(said: FloatArray) -> FloatArray:
    return np.asarray(1.0 / np.sqrt(np.maximum(said[..., 3].sum(axis=1), 1e-12)))


def _moved(bundle: Bundle, said: FloatArray, smooth: Smooth) -> Bundle:
    """Return the bundle with rows and widths moved as the columns ask, coefficients drawn to the field's run."""
    shift, change = np.clip(said[..., 2], -1.5, 1.5), np.clip(said[..., 4], -0.5, 0.5)
    centre = _drawn(bundle.u, bundle.rows + shift, said[..., 3], bundle.centre.shape[1], smooth)
    sigma = _drawn(bundle.u, bundle.widths + change, said[..., 5], bundle.sigma.shape[1], smooth)
    return replace(bundle, centre=centre, sigma=sigma)


def _drawn(u: FloatArray, values: FloatArray, weight: FloatArray, terms: int, smooth: Smooth) -> FloatArray:
    coef, normal = polynomials(u, values, weight, terms)
    surface = fit_field(smooth.u, smooth.v, coef, smooth.degree, use=smooth.good)
    spread = np.diag((2.0 * surface.scatter) ** 2 + 1e-12)
    return drawn_to(coef, normal, surface(smooth.u, smooth.v), spread)[0]


def polynomials(u: FloatArray, values: FloatArray, weight: FloatArray, terms: int) -> tuple[FloatArray, FloatArray]:
    """Return coefficients (n, terms) of polynomials in u (n, m) through `values` (n, m), and their normal matrices.

    Values far off lose their weight (Cauchy's, in units of the typical residual), so that a cosmic ray or a bad column
    bends nothing. Traces without data have zero coefficients and matrices.
    """
    basis = np.stack([u**j for j in range(terms)], axis=2)
    robust, coef = np.ones(values.shape), np.zeros((len(u), terms))
    normal = np.zeros((len(u), terms, terms))
    for _ in range(2):
        w = weight * robust
        normal = np.einsum("nm,nmi,nmj->nij", w, basis, basis, optimize=True)
        right = np.einsum("nm,nmi->ni", w * values, basis, optimize=True)
        ridge = 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-12
        coef = np.linalg.solve(normal + ridge * np.eye(terms), right[..., None])[..., 0]
        off = (values - np.einsum("nmi,ni->nm", basis, coef, optimize=True)) * np.sqrt(weight)
        scale = np.median(np.abs(off), axis=1, keepdims=True) + 1.0
        robust = 1.0 / (1.0 + (off / (6.0 * scale)) ** 2)
    return coef, normal
