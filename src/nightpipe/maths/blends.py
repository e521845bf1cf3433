"""Crowded lines: which list lines an arc shows, and their centres fitted jointly with their neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.lines import LineShape

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Group:
    """List lines that the instrument cannot tell apart, as one: intensity-weighted `wave`, and its uncertainty.

    `wave_error` is what a factor of two in the ratio of the intensities does to `wave`; `members` index the list.
    """

    wave: float
    strength: float
    wave_error: float
    members: tuple[int, ...]


def grouped(wave: FloatArray, strength: FloatArray, within: float) -> list[Group]:
    """Merge lines of increasing `wave` closer than `within` [Angstrom] to the strongest of them.

    Strongest first, so that a chain of faint lines does not join two bright ones.
    """
    free = np.ones(len(wave), dtype=bool)
    groups: list[Group] = []
    for k in np.argsort(-strength):
        if not free[k]:
            continue
        low, high = np.searchsorted(wave, [wave[k] - within, wave[k] + within])
        members = low + np.flatnonzero(free[low:high])
        free[members] = False
        groups.append(_merged(wave, strength, members))
    return sorted(groups, key=lambda group: group.wave)


def _merged(wave: FloatArray, strength: FloatArray, members: Index) -> Group:
    share = strength[members] / strength[members].sum()
    mean = float(np.sum(share * wave[members]))
    pull = share * (wave[members] - mean)
    error = float(np.log(2.0) * np.sqrt(np.sum(pull**2)))
    return Group(mean, float(strength[members].sum()), error, tuple(int(i) for i in members))


def amplitudes(
    flux: FloatArray, weight: FloatArray, centres: FloatArray, shape: LineShape, *, passes: int = 80
) -> FloatArray:
    """Return non-negative areas of lines at fixed `centres` that explain `flux` (n,), `weight` = 1 / variance.

    Multiplicative updates for weighted least squares (Lee and Seung 2001): none goes negative, unresolved ones share.
    """
    x = np.arange(len(flux), dtype=np.float64)
    design = _profiles(x, centres, shape)
    target = np.maximum(flux, 0.0) * weight
    top = design.T @ target
    area = np.maximum(np.interp(centres, x, np.maximum(flux, 0.0)) * shape.fwhm_at(centres), 1e-12)
    for _ in range(passes):
        area *= (top + 1e-30) / (design.T @ (weight * (design @ area)) + 1e-30)
    return np.asarray(area)


def _profiles(x: FloatArray, centres: FloatArray, shape: LineShape) -> FloatArray:
    """Return profiles (n, lines), computed only where they are not zero."""
    out = np.zeros((len(x), len(centres)))
    reach = int(np.ceil(2.5 * float(np.max(shape.fwhm_at(np.array(shape.domain))))))
    near = np.round(centres).astype(int)[:, None] + np.arange(-reach, reach + 1)[None, :]
    values = shape(near - centres[:, None], centres[:, None])
    line = np.broadcast_to(np.arange(len(centres))[:, None], near.shape)
    inside = (near >= 0) & (near < len(x))
    out[near[inside], line[inside]] = values[inside]
    return out


@dataclass(frozen=True)
class Fitted:
    """Centres and areas fitted jointly: `x`, `x_error` [pixel], `area`, `area_error`; `ok` where the fit converged."""

    x: FloatArray
    x_error: FloatArray
    area: FloatArray
    area_error: FloatArray
    ok: NDArray[np.bool_]


def fit_jointly(
    flux: FloatArray,
    error: FloatArray,
    start: Fitted,
    shape: LineShape,
    *,
    mismatch: float = 0.02,
    pull: float = 0.15,
    iterations: int = 15,
    sweeps: int = 2,
) -> Fitted:
    """Fit centres and areas of all lines, neighbours together, by damped Gauss-Newton on overlapping stretches.

    `error` grows by `mismatch` times the local peak, as the line shape is known no better: blends get honest errors.
    Each stretch has its own sloping floor; lines outside it are subtracted as they stand. Centres are pulled to where
    they start with a standard deviation of `pull` line widths: nothing to a line that stands out, but a faint neighbour
    cannot wander into the flank of a bright line. The errors returned are those without the pull.
    """
    x = np.arange(len(flux), dtype=np.float64)
    now = start
    for _ in range(sweeps):
        for part in _stretches(now.x, float(np.median(shape.fwhm_at(now.x)))):
            now = _fit_stretch(x, flux, error, now, start.x, shape, part, (mismatch, pull), iterations)
    return now


def _stretches(x: FloatArray, fwhm: float, most: int = 16) -> Iterator[Index]:
    """Yield runs of neighbouring lines: cut at gaps wider than four line widths, or when `most` are together."""
    order = np.argsort(x)
    run: list[int] = []
    for k in order:
        gap = x[k] - x[run[-1]] if run else 0.0
        if run and (gap > 4.0 * fwhm or (len(run) >= most and gap > fwhm) or len(run) >= 2 * most):
            yield np.array(run, dtype=np.intp)
            run = []
        run.append(int(k))
    if run:
        yield np.array(run, dtype=np.intp)


def _fit_stretch(
    x: FloatArray,
    flux: FloatArray,
    error: FloatArray,
    now: Fitted,
    anchor: FloatArray,
    shape: LineShape,
    part: Index,
    how: tuple[float, float],
    iterations: int,
) -> Fitted:
    fwhm = float(np.median(shape.fwhm_at(now.x[part])))
    low = max(int(now.x[part].min() - 2.0 * fwhm), 0)
    high = min(int(now.x[part].max() + 2.0 * fwhm) + 2, len(x))
    if high - low < 2 * len(part) + 3:
        return _not_ok(now, part)
    here = x[low:high]
    others = np.setdiff1d(np.flatnonzero(_near(now.x, low, high, 3.0 * fwhm)), part)
    outside = shape(here[:, None] - now.x[others], now.x[others]) @ now.area[others]
    data = flux[low:high] - outside
    problem = _Stretch(here, data, error[low:high], outside, shape, how[0], fwhm, anchor[part], how[1] * fwhm)
    return _updated(now, part, *problem.solve(now.x[part].copy(), now.area[part].copy(), iterations), fwhm)


@dataclass(frozen=True)
class _Stretch:
    """The pixels `here` with some lines on a sloping floor, to be fitted together."""

    here: FloatArray
    data: FloatArray
    error: FloatArray
    outside: FloatArray
    shape: LineShape
    mismatch: float
    fwhm: float
    anchor: FloatArray
    pull: float

    def solve(self, centre: FloatArray, area: FloatArray, iterations: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return centres, areas and the errors of areas and centres (2 lines): Levenberg and Marquardt's way."""
        noise = self._noise(centre, area)
        scale = (self.here - self.here.mean()) / max(float(np.ptp(self.here)), 1.0)
        ground = np.stack([np.ones_like(scale), scale], axis=1) / noise[:, None]
        first, floor, damping = centre, np.zeros(2), 1e-3
        design, residual = self._system(centre, area, floor, noise, ground)
        for _ in range(iterations):
            step = _damped(design, residual, damping)
            trial = self._moved(centre, area, floor, step, first)
            new_design, new_residual = self._system(*trial, noise, ground)
            if new_residual @ new_residual <= residual @ residual:
                small = np.max(np.abs(trial[0] - centre)) < 2e-4
                (centre, area, floor), design, residual = trial, new_design, new_residual
                damping *= 0.2
                if small:
                    break
            else:
                damping = min(damping * 10.0, 1e6)
        return centre, area, _errors(design[: len(self.here)])

    def _noise(self, centre: FloatArray, area: FloatArray) -> FloatArray:
        """Return errors that grow by a share of the *local peak*, so that wings do not outweigh cores."""
        from scipy.ndimage import maximum_filter1d

        model = self.outside + self.shape(self.here[:, None] - centre, centre) @ area
        return np.hypot(self.error, self.mismatch * maximum_filter1d(model, 2 * int(np.ceil(0.8 * self.fwhm)) + 1))

    def _system(
        self, centre: FloatArray, area: FloatArray, floor: FloatArray, noise: FloatArray, ground: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        distance = self.here[:, None] - centre
        profile = self.shape(distance, centre) / noise[:, None]
        shift = self.shape.slope_at(distance, centre) * area / noise[:, None]
        residual = self.data / noise - profile @ area - ground @ floor
        design = np.concatenate([profile, shift, ground], axis=1)
        count = len(centre)
        pulls = np.zeros((count, design.shape[1]))
        pulls[:, count : 2 * count] = np.eye(count) / self.pull
        return np.concatenate([design, pulls]), np.concatenate([residual, (self.anchor - centre) / self.pull])

    def _moved(
        self, centre: FloatArray, area: FloatArray, floor: FloatArray, step: FloatArray, first: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        n = len(centre)
        moved = centre + np.clip(step[n : 2 * n], -0.25 * self.fwhm, 0.25 * self.fwhm)
        moved = np.clip(moved, first - self.fwhm, first + self.fwhm)
        return moved, np.maximum(area + step[:n], 0.05 * area), floor + step[2 * n :]


def _damped(design: FloatArray, residual: FloatArray, damping: float) -> FloatArray:
    norm = np.sqrt(np.sum(design**2, axis=0)) + 1e-30
    scaled = design / norm
    normal = scaled.T @ scaled + damping * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(normal, scaled.T @ residual) / norm)


def _errors(design: FloatArray) -> FloatArray:
    norm = np.sqrt(np.sum(design**2, axis=0)) + 1e-30
    normal = (design / norm).T @ (design / norm) + 1e-9 * np.eye(design.shape[1])
    return np.asarray(np.sqrt(np.maximum(np.diag(np.linalg.inv(normal)), 0.0)) / norm)


def _near(x: FloatArray, low: int, high: int, reach: float) -> NDArray[np.bool_]:
    return np.asarray((x > low - reach) & (x < high + reach))


def _updated(now: Fitted, part: Index, centre: FloatArray, area: FloatArray, sigma: FloatArray, fwhm: float) -> Fitted:
    count = len(part)
    x, x_error, value, value_error = (a.copy() for a in (now.x, now.x_error, now.area, now.area_error))
    ok = now.ok.copy()
    fine = (np.abs(centre - now.x[part]) < 0.7 * fwhm) & np.isfinite(centre) & (sigma[count : 2 * count] < 0.5 * fwhm)
    x[part] = np.where(fine, centre, now.x[part])
    x_error[part], value[part], value_error[part] = sigma[count : 2 * count], area, sigma[:count]
    ok[part] = fine
    return replace(now, x=x, x_error=x_error, area=value, area_error=value_error, ok=ok)


def _not_ok(now: Fitted, part: Index) -> Fitted:
    ok = now.ok.copy()
    ok[part] = False
    return replace(now, ok=ok)
