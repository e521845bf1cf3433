"""How far the night sky's lines are from where they should be: windows about lines, each fitted with its blend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.lines import FWHM_PER_SIGMA, LineShape

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]
UNKNOWN = 0.3
"""Relative strengths of airglow lines in a window are known to about this."""
WIDER, WIDEST = 1.25, 5.0
"""Ratio of the slit widths that are compared, and how far from the arc's width they are followed."""
LEAP = 3
"""Steps of the first move where one is too short: a slit narrower than the Gaussian hardly shows a small change."""
BETTER = 0.85
"""A width is left for the next where that leaves less than this share of chi-square."""


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
    """A window's shift [pixel], its `error` from noise, the `doubt` from unknown line ratios, and the feature's S/N.

    `chi2` is what the fit leaves in the window.
    """

    shift: float
    error: float
    doubt: float
    snr: float
    chi2: float = 0.0


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
    """Fit strength, shift and a sloping floor to one window; see `fit_windows`."""
    return fit_windows(flux, error, template, [window], start)[0]


def fit_windows(
    flux: FloatArray, error: FloatArray, template: Template, windows: list[Window], start: float = 0.0
) -> list[Shift | None]:
    """Fit strength, shift and a sloping floor to each window of a row; None when nothing is there or it runs away.

    All windows take their Gauss-Newton steps together, six at most, each until its own step is below 1e-3 pixel. The
    doubt is what independent errors of `UNKNOWN` in the strengths of the lines in and about the window do to the shift,
    to first order: nothing for a single line, much for an unresolved blend.
    """
    if not windows:
        return []
    cut = _Cut(flux, error, template, windows, start)
    shift = np.full(len(windows), start)
    sound, moving = np.ones(len(windows), dtype=bool), np.ones(len(windows), dtype=bool)
    last = cut.solved(shift)
    for _ in range(6):
        fresh = cut.solved(shift)
        last = _Solved(
            *(np.where(moving.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(fresh, last, strict=True))
        )
        sound &= ~moving | fresh.sound
        moving &= sound
        shift = np.where(moving, shift + np.clip(fresh.step, -0.5, 0.5), shift)
        sound &= np.abs(shift - start) <= 1.5 * template.widest()
        moving &= sound & (np.abs(fresh.step) >= 1e-3)
        if not moving.any():
            break
    doubt = cut.doubt(shift, last)
    snr = last.scale / np.sqrt(last.scale_var)
    rows = zip(sound, shift, np.sqrt(last.shift_var), doubt, snr, last.chi2, strict=True)
    return [Shift(*map(float, row)) if ok else None for ok, *row in rows]


def slit_width(flux: FloatArray, error: FloatArray, template: Template, start: float = 0.0) -> float:
    """Return by what factor the sky's lines are wider than the template's box says: 1 unless chi-square tells.

    An arc may be taken through a narrower slit than the sky. A template that is too narrow hardly feels where in a
    flat-topped line it stands, and leaves half the shift behind.
    """
    for step in (WIDER, 1.0 / WIDER):
        better = (f for f in (step, step**LEAP) if _better(flux, error, template, 1.0, f, start))
        factor = next(better, 1.0)
        while 1.0 / WIDEST < factor < WIDEST and factor != 1.0:
            trial = factor * step
            if not _better(flux, error, template, factor, trial, start):
                return factor
            factor = trial
        if factor != 1.0:
            return factor
    return 1.0


def _better(flux: FloatArray, error: FloatArray, template: Template, factor: float, trial: float, start: float) -> bool:
    """Tell whether the strongest windows, just wide enough for both widths, speak for the trial.

    In windows far wider than the lines the strengths of neighbours decide, and a smeared template always wins.
    """
    every = windows(_boxed(template, max(factor, trial)), len(flux), most=16)
    every = [replace(w, low=w.low + round(start), high=w.high + round(start)) for w in every]
    strong = sorted((w for w in every if w.low >= 0 and w.high <= len(flux)), key=lambda w: -_peak(flux, w))[:8]
    if len(strong) < 2:
        return False
    left = [_left(flux, error, _boxed(template, f), strong, start) for f in (trial, factor)]
    return left[0] < BETTER * left[1]


def _boxed(template: Template, factor: float) -> Template:
    return replace(template, shape=replace(template.shape, box=factor * template.shape.box))


def _peak(flux: FloatArray, window: Window) -> float:
    inside = flux[window.low : window.high]
    return float(inside.max() - np.median(inside)) if inside.size else 0.0


def _left(flux: FloatArray, error: FloatArray, template: Template, strong: list[Window], start: float) -> float:
    """Return the chi-square that a template leaves in the windows; one that runs away leaves all."""
    fits = fit_windows(flux, error, template, strong, start)
    return float(np.sum([_scatter(flux, error, w) if f is None else f.chi2 for f, w in zip(fits, strong, strict=True)]))


def _scatter(flux: FloatArray, error: FloatArray, window: Window) -> float:
    part = slice(window.low, window.high)
    return float(np.sum(((flux[part] - np.mean(flux[part])) / error[part]) ** 2))


class _Solved(NamedTuple):
    """One step of all windows: `sound` where there is a solution, the `step` in shift, the template's `scale`, the
    variances of both, the pseudo-inverse's `row` for the shift (windows, pixels), and the `chi2` left.
    """

    sound: NDArray[np.bool_]
    step: FloatArray
    scale: FloatArray
    scale_var: FloatArray
    shift_var: FloatArray
    row: FloatArray
    chi2: FloatArray


class _Cut:
    """The pixels of all windows, padded to the longest, and the lines that reach each, padded likewise."""

    def __init__(
        self, flux: FloatArray, error: FloatArray, template: Template, windows: list[Window], start: float
    ) -> None:
        low, high = (np.array(ends)[:, None] for ends in zip(*((w.low, w.high) for w in windows), strict=True))
        at = low + np.arange(int((high - low).max()))
        inside, at = at < high, np.minimum(at, len(flux) - 1)
        self.x, self.shape = at.astype(np.float64), template.shape
        self.weight = np.where(inside, 1.0 / error[at], 0.0)
        self.data = flux[at] * self.weight
        centre = 0.5 * (low + high - 1)
        self.ground = np.stack([np.ones_like(self.x), (self.x - centre) / np.maximum(high - low - 1, 1)], axis=2)
        reach = int(np.ceil(3.0 * template.widest())) + 1
        self.place, self.strength = _reaching(template, low - reach - start, high - 1 + reach - start)
        beside = (self.place > low - 15.0) & (self.place < high - 1 + 15.0)
        self.unknown = np.where(beside, UNKNOWN * self.strength, 0.0)

    def solved(self, shift: FloatArray) -> _Solved:
        """Return the linear solution about `shift` (windows,)."""
        place = (self.place + shift[:, None])[:, :, None]
        distance = self.x[:, None, :] - place
        model = np.einsum("wl,wlp->wp", self.strength, self.shape(distance, place))
        slope = np.einsum("wl,wlp->wp", self.strength, self.shape.slope_at(distance, place))
        design = np.concatenate([model[:, :, None], slope[:, :, None], self.ground], axis=2) * self.weight[:, :, None]
        norm = np.sqrt(np.sum(design**2, axis=1)) + 1e-30
        design /= norm[:, None, :]
        normal = np.swapaxes(design, 1, 2) @ design
        sound = np.isfinite(normal).all(axis=(1, 2))
        normal[~sound] = 0.0
        sound &= np.abs(np.linalg.det(normal)) >= 1e-10
        inverse = np.linalg.inv(np.where(sound[:, None, None], normal, np.eye(4)))
        scaled = np.einsum("wij,wpj,wp->wi", inverse, design, self.data)
        chi2 = np.sum((self.data - np.einsum("wpi,wi->wp", design, scaled)) ** 2, axis=1)
        values = scaled / norm
        sound &= values[:, 0] > 0
        scale = np.where(sound, values[:, 0], 1.0)
        row = np.einsum("wj,wpj->wp", inverse[:, 1], design) / (norm[:, 1] * scale)[:, None]
        variance = np.einsum("wii->wi", inverse) / norm**2
        return _Solved(sound, values[:, 1] / scale, scale, variance[:, 0], variance[:, 1] / scale**2, row, chi2)

    def doubt(self, shift: FloatArray, solved: _Solved) -> FloatArray:
        """Return the doubt of the shifts (windows,)."""
        place = (self.place + shift[:, None])[:, :, None]
        light = self.shape(self.x[:, None, :] - place, place)
        each = solved.scale[:, None] * self.unknown * np.einsum("wp,wlp->wl", solved.row * self.weight, light)
        return np.asarray(np.sqrt(np.sum(each**2, axis=1)))


def _reaching(template: Template, low: NDArray[Any], high: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Return place and strength (windows, lines) of the lines between `low` and `high` (windows, 1), padded by none."""
    near = (template.place > low) & (template.place < high)
    count = int(near.sum(axis=1).max(initial=1))
    chosen = np.argsort(~near, axis=1, kind="stable")[:, :count]
    held = np.take_along_axis(near, chosen, axis=1)
    return np.where(held, template.place[chosen], low), np.where(held, template.strength[chosen], 0.0)
