"""The shift of sky lines that many short spectra share: each too faint to be measured alone, all fitted together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.lines import smeared
from nightpipe.maths.skyshift import UNKNOWN

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]
FAINT = 1e-3
"""Kinds of lines with less than this share of a feature's light go with the brightest kind."""
BEYOND = 1.2
"""Pixels outside a window where, on both sides, an unlisted line is allowed for."""
UNLISTED = 0.01
"""Light of lines that no list has, within a line's width, as a share of a feature's: usually no more."""
STEPS, SETTLED = 6, 3e-4
"""Most steps of a fit, and the step [pixel] that is its last."""


@dataclass(frozen=True)
class Feature:
    """One feature of the sky in n spectra: `flux`, `weight` (n, w; 1 / variance, 0 where not usable) at columns `x`,
    which follow each other.

    Lines l lie at `place` (n, l) [pixel] with relative `strength` (l,) and are of `kind` (l,), numbered from 0: each
    kind has its own brightness. `sigma` (n,) [pixel] is the width of a line before the pixel, `scale` (n,) what each
    spectrum gets of the light.
    """

    flux: FloatArray
    weight: FloatArray
    x: FloatArray
    place: FloatArray
    strength: FloatArray
    kind: Index
    sigma: FloatArray
    scale: FloatArray


@dataclass(frozen=True)
class CommonShift:
    """The `shift` [pixel] of a feature, its `error`, the `doubt` from unknown line ratios and from lines that no
    list has, and the feature's S/N.

    The error is scaled by the square root of `chi2_dof` where that is above one.
    """

    shift: float
    error: float
    doubt: float
    snr: float
    chi2_dof: float


def common_shift(feature: Feature, start: float = 0.0) -> CommonShift | None:
    """Fit brightness and shift of a feature, common to all spectra, over a sloping floor of each; None if none is seen.

    Linear least squares with the floors projected out, repeated about the new shift (Gauss-Newton).
    """
    floors = _Floors(feature)
    kind = _kinds(feature)
    amplitude, shift = np.ones(int(kind.max()) + 1), start
    for step in range(STEPS):
        light, slope = _kernels(feature, shift)
        parts = [*_by_kind(light, feature.strength, kind), *_strangers(feature, shift)]
        moved = np.einsum("l,nlw->nw", amplitude[kind] * feature.strength, slope)
        solved = floors.solve([*parts, moved] if step else parts)
        if solved is None:
            return None
        values, normal, chi2 = solved
        amplitude = np.maximum(values[: len(parts)], 0.0)
        if amplitude[0] <= 0:
            return None
        if step:
            shift += float(np.clip(values[-1], -0.7, 0.7))
        if abs(shift - start) > 2.5:
            return None
        if step and abs(values[-1]) < SETTLED:
            break
    inverse = np.linalg.inv(normal)
    chi2_dof = chi2 / max(floors.dof - len(parts) - 1, 1)
    every = [*parts, moved]
    each = floors.projected(light * (amplitude[kind] * feature.strength)[:, None])
    unlisted = floors.projected(_unlisted(feature, shift) * float(amplitude[kind] @ feature.strength))
    pull, stray = (inverse[-1] @ floors.products(every, one) for one in (each, unlisted))
    doubt = float(np.sqrt(UNKNOWN**2 * np.sum(pull**2) + UNLISTED**2 * np.sum(stray**2)))
    scale = np.sqrt(max(chi2_dof, 1.0))
    error, snr = float(np.sqrt(inverse[-1, -1])), float(amplitude[0] / np.sqrt(inverse[0, 0]))
    return CommonShift(shift, error * scale, doubt, snr / scale, chi2_dof)


def explained(feature: Feature, shift: float) -> float:
    """Return by how much chi-square falls when the feature is put at `shift`: the best trial explains most."""
    floors, kind = _Floors(feature), _kinds(feature)
    parts = _by_kind(_kernels(feature, shift)[0], feature.strength, kind)
    solved = floors.solve(parts)
    return 0.0 if solved is None or solved[0][0] <= 0 else floors.total - solved[2]


def _kinds(feature: Feature) -> Index:
    """Return the kinds, brightest first, faint ones joined to it."""
    total = np.bincount(feature.kind, weights=feature.strength)
    order = np.argsort(-total, kind="stable")
    number = np.where(total[order] > FAINT * total.sum(), np.arange(order.size), 0)
    new = np.zeros(order.size, dtype=np.intp)
    new[order] = np.unique(number, return_inverse=True)[1]
    return np.asarray(new[feature.kind])


def _kernels(feature: Feature, shift: float) -> tuple[FloatArray, FloatArray]:
    """Return each line's profile in each spectrum (n, l, w), and its change with the shift."""
    from scipy.special import ndtr

    edge = np.concatenate([feature.x - 0.5, feature.x[:, -1:] + 0.5], axis=1)  # pixels follow each other
    sigma, scale = feature.sigma[:, None, None], feature.scale[:, None, None]
    t = (edge[:, None, :] - feature.place[:, :, None] - shift) / sigma
    height = np.exp(-0.5 * t * t) / (np.sqrt(2.0 * np.pi) * sigma)
    return scale * np.diff(ndtr(t), axis=2), -scale * np.diff(height, axis=2)


def _by_kind(light: FloatArray, strength: FloatArray, kind: Index) -> list[FloatArray]:
    return [np.einsum("l,nlw->nw", strength * (kind == k), light) for k in range(int(kind.max()) + 1)]


def _strangers(feature: Feature, shift: float) -> list[FloatArray]:
    """Return the flanks of lines just outside the window, on either side: no list has every lamp of a city."""
    middle = feature.place[:, int(np.argmax(feature.strength))] + shift
    half = 0.5 * (feature.x.shape[1] - 1) + BEYOND
    return [smeared(feature.x - (middle + end)[:, None], feature.sigma[:, None]) for end in (-half, half)]


def _unlisted(feature: Feature, shift: float) -> FloatArray:
    """Return the light (n, cells, w) of lines that may stand anywhere in the window, a line's width apart."""
    middle = feature.place[:, int(np.argmax(feature.strength))] + shift
    half = 0.5 * (feature.x.shape[1] - 1)
    step = float(np.median(feature.sigma))
    cells = np.arange(-int(half / step), int(half / step) + 1) * step
    away = feature.x[:, None, :] - (middle[:, None] + cells)[:, :, None]
    return feature.scale[:, None, None] * smeared(away, feature.sigma[:, None, None])


class _Floors:
    """Projects the sloping floor out of each spectrum of a feature."""

    def __init__(self, feature: Feature) -> None:
        self.weight = feature.weight
        u = feature.x - feature.x.mean(axis=1, keepdims=True)
        total = self.weight.sum(axis=1, keepdims=True)
        self.norm = np.maximum(total, 1e-30)
        self.u = u - (self.weight * u).sum(axis=1, keepdims=True) / self.norm
        self.square = np.maximum((self.weight * self.u**2).sum(axis=1, keepdims=True), 1e-30)
        used = (self.weight > 0).sum(axis=1)
        self.dof = int(np.sum(np.maximum(used - 2, 0)))
        self.data = self.projected(feature.flux)
        self.total = float(np.sum(self.weight * self.data**2))

    def projected(self, values: FloatArray) -> FloatArray:
        """Return values (n, ..., w) without level and slope."""
        shape = (values.shape[0],) + (1,) * (values.ndim - 2) + (-1,)
        weight, u = self.weight.reshape(shape), self.u.reshape(shape)
        level = (weight * values).sum(axis=-1, keepdims=True) / self.norm.reshape(shape)
        slope = (weight * u * values).sum(axis=-1, keepdims=True) / self.square.reshape(shape)
        return np.asarray(values - level - slope * u)

    def solve(self, parts: list[FloatArray]) -> tuple[FloatArray, FloatArray, float] | None:
        """Return the coefficients of `parts` (each (n, w)), the normal matrix and chi-square."""
        flat = [self.projected(part) for part in parts]
        normal = np.array([[np.sum(self.weight * a * b) for b in flat] for a in flat])
        side = np.array([np.sum(self.weight * a * self.data) for a in flat])
        norm = np.sqrt(np.diag(normal))
        if not (norm > 0).all() or np.linalg.cond(normal / np.outer(norm, norm)) > 1e8:
            return None
        values = np.linalg.solve(normal, side)
        return values, normal, self.total - float(values @ side)

    def products(self, parts: list[FloatArray], lines: FloatArray) -> FloatArray:
        """Return the products (parts, l) of parts with the projected light of single lines (n, l, w)."""
        return np.array([np.einsum("nw,nlw->l", self.weight * self.projected(part), lines) for part in parts])
