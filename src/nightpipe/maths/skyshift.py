"""How far the night sky's lines are from where they should be: windows about lines, each fitted with its blend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.lines import FWHM_PER_SIGMA, LineShape

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]
UNKNOWN = 0.3
"""Relative strengths of airglow lines in a window are known to about this."""


@dataclass(frozen=True)
class Template:
    """Sky lines as one row should show them: `wave`, `strength`, `place` [pixel] and the line `shape`."""

    wave: FloatArray
    strength: FloatArray
    place: FloatArray
    shape: LineShape

    def spectrum(self, x: FloatArray, shift: float = 0.0) -> FloatArray:
        """Return the sky at consecutive pixels `x` when all lines are moved by `shift`."""
        return self.with_slope(x, shift)[0]

    def with_slope(self, x: FloatArray, shift: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Return the sky at consecutive pixels `x` and its derivative by the shift; lines reach five widths far."""
        reach = int(np.ceil(3.0 * self.widest())) + 1
        near = (self.place + shift > x[0] - reach) & (self.place + shift < x[-1] + reach)
        place, strength = self.place[near] + shift, self.strength[near]
        at = np.floor(place).astype(np.intp)[:, None] + np.arange(-reach, reach + 2)
        distance, index = at - place[:, None], at - round(float(x[0]))
        inside = (index >= 0) & (index < len(x))
        light = strength[:, None] * self.shape(distance, place[:, None])
        slope = strength[:, None] * self.shape.slope_at(distance, place[:, None])
        deposit = (np.bincount(index[inside], weights=values[inside], minlength=len(x)) for values in (light, slope))
        sky, change = deposit
        return np.asarray(sky), np.asarray(change)

    def widest(self) -> float:
        """Return the greatest FWHM [pixel] on the row, nearly."""
        return FWHM_PER_SIGMA * (self.shape.sigma + abs(self.shape.slope)) + 0.5 * self.shape.box

    def width(self, x: FloatArray) -> FloatArray:
        """Return the FWHM [pixel] at `x`, interpolated between the ends and the middle."""
        low, high = self.shape.domain
        at = np.array([low, 0.5 * (low + high), high])
        return np.interp(x, at, self.shape.fwhm_at(at))


@dataclass(frozen=True)
class Window:
    """A feature of the sky: the `wave` of its strongest line, pixels `low` ... `high` - 1 about it."""

    wave: float
    low: int
    high: int


@dataclass(frozen=True)
class Shift:
    """A window's shift [pixel], its `error` from noise, the `doubt` from unknown line ratios, and the feature's S/N."""

    shift: float
    error: float
    doubt: float
    snr: float


def windows(template: Template, n: int, *, most: int = 40, reach: float = 1.6) -> list[Window]:
    """Return windows about the strongest separate peaks of the template, in order of wavelength.

    A window is `reach` line widths to either side, and no two overlap by more than half.
    """
    x = np.arange(n, dtype=np.float64)
    sky = template.spectrum(x)
    width = template.width(x)
    at = np.flatnonzero((sky[1:-1] >= sky[:-2]) & (sky[1:-1] > sky[2:])) + 1
    found: list[Window] = []
    for k in at[np.argsort(-sky[at])]:
        half = reach * width[k]
        if k < half or k > n - 1 - half or any(abs(k - 0.5 * (w.low + w.high)) < 1.2 * half for w in found):
            continue
        near = np.abs(template.place - k) < 0.6 * width[k]
        score = np.where(near, template.strength, -1.0)
        found.append(Window(float(template.wave[score.argmax()]), int(np.ceil(k - half)), int(np.floor(k + half)) + 1))
        if len(found) == most:
            break
    return sorted(found, key=lambda window: window.wave)


def about(template: Template, wave: float, n: int, reach: float = 1.6) -> Window | None:
    """Return the window about one line, or None when it falls off the row."""
    k = int(np.argmin(np.abs(template.wave - wave)))
    place = template.place[k]
    half = reach * float(template.width(np.array([place]))[0]) if np.isfinite(place) else np.inf
    if not half < place < n - 1 - half:
        return None
    return Window(float(template.wave[k]), int(np.ceil(place - half)), int(np.floor(place + half)) + 1)


def coarse_shift(flux: FloatArray, error: FloatArray, template: Template, most: float) -> float:
    """Return the shift, within `most` pixels, at which template and spectrum correlate best; to a tenth of a pixel."""
    from scipy.ndimage import gaussian_filter1d

    x = np.arange(len(flux), dtype=np.float64)
    wide = 4.0 * float(np.median(template.width(x)))
    trials = np.arange(-most, most + 0.05, 0.1)

    def sharp(values: FloatArray) -> FloatArray:
        return np.asarray(values - gaussian_filter1d(values, wide))

    weight = 1.0 / np.maximum(error, 1e-30) ** 2
    data = np.clip(sharp(flux), -50 * np.median(error), 200 * np.median(error))
    score = []
    for trial in trials:
        model = sharp(template.spectrum(x, float(trial)))
        score.append(np.sum(weight * data * model) / np.sqrt(np.sum(weight * model**2) + 1e-30))
    return float(trials[int(np.argmax(score))])


def fit_window(
    flux: FloatArray, error: FloatArray, template: Template, window: Window, start: float = 0.0
) -> Shift | None:
    """Fit strength, shift and a sloping floor to one window; None when nothing is there or it runs away.

    The doubt is what independent errors of `UNKNOWN` in the strengths of the lines in and about the window do to the
    shift, to first order: nothing for a single line, much for an unresolved blend.
    """
    x = np.arange(window.low, window.high, dtype=np.float64)
    data, noise = flux[window.low : window.high], error[window.low : window.high]
    shift = start
    for _ in range(6):
        solved = _linear(x, data, noise, template, shift)
        if solved is None:
            return None
        step, scale, cov, row = solved
        shift += float(np.clip(step, -0.5, 0.5))
        if abs(shift - start) > 1.5 * template.widest():
            return None
        if abs(step) < 1e-3:
            break
    doubt = _doubt(x, noise, template, shift, scale, row)
    return Shift(shift, float(np.sqrt(cov[1])), doubt, scale / float(np.sqrt(cov[0])))


def _linear(
    x: FloatArray, data: FloatArray, noise: FloatArray, template: Template, shift: float
) -> tuple[float, float, FloatArray, FloatArray] | None:
    """Return the step in shift, the scale, variances of both, and the pseudo-inverse's row for the shift."""
    model, slope = template.with_slope(x, shift)
    ground = [np.ones_like(x), (x - x.mean()) / max(float(np.ptp(x)), 1.0)]
    design = np.stack([model, slope, *ground], axis=1) / noise[:, None]
    norm = np.sqrt(np.sum(design**2, axis=0)) + 1e-30
    normal = (design / norm).T @ (design / norm)
    if not np.all(np.isfinite(normal)) or abs(float(np.linalg.det(normal))) < 1e-10:
        return None
    inverse = np.linalg.inv(normal)
    pseudo = (inverse @ (design / norm).T) / norm[:, None]
    values = pseudo @ (data / noise)
    scale = float(values[0])
    if scale <= 0:
        return None
    variance = np.diag(inverse) / norm**2
    return float(values[1] / scale), scale, np.array([variance[0], variance[1] / scale**2]), pseudo[1] / scale


def _doubt(x: FloatArray, noise: FloatArray, template: Template, shift: float, scale: float, row: FloatArray) -> float:
    near = np.flatnonzero((template.place > x[0] - 15.0) & (template.place < x[-1] + 15.0))
    place = template.place[near] + shift
    each = UNKNOWN * scale * template.strength[near] * template.shape(x[:, None] - place, place) / noise[:, None]
    return float(np.sqrt(np.sum((row @ each) ** 2)))
