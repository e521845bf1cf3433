"""Significance-limited detection of objects along a slit: one star is one object."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.poly import Poly1
from nightpipe.maths.profile import gaussian
from nightpipe.steps.spectra.collapse import Chunks
from nightpipe.steps.spectra.objecttrace import Course, measured_width, straightened, traced, weighted_mean

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What counts as an object.

    `threshold` [sigma]; `widths` [pixel] of the matched filters; `tilts` [pixel], end to end, that traces may have
    against the slit; `contrast`: nothing fainter than threshold times this share of a bright star's peak is believed,
    nor `wing` times the star's own light at that place; `separation` [FWHM] below which two peaks are one object; what
    is wider than `widest` [pixel] is no object but unevenness of the sky.
    """

    threshold: float
    widths: tuple[float, ...]
    tilts: tuple[float, ...]
    contrast: float
    wing: float
    separation: float
    widest: float
    max_order: int
    max_sources: int


@dataclass(frozen=True)
class Found:
    """One object: its `course`, `fwhm` [pixel], significance `snr`."""

    course: Course
    fwhm: float
    snr: float


@dataclass(frozen=True)
class _Peak:
    y: float
    snr: float
    width: float
    tilt: float


def detect(coarse: Chunks, fine: Chunks, shape: Poly1, rules: Rules) -> tuple[Found, ...]:
    """Return the objects, the brightest first.

    `coarse` chunks are searched, `fine` ones traced; `shape` is the slit's own course, zero at the middle column. Once
    an object is found, its light (the lower of the two halves of its profile, mirrored) is taken away, a share of it is
    added to the noise, and the search goes on.
    """
    found: list[Found] = []
    rest, noise = coarse, np.zeros(coarse.value.shape)
    refused = np.zeros(coarse.value.shape[1], dtype=bool)
    for _ in range(3 * rules.max_sources):
        scale = empirical_scale(rest, noise, shape, rules)
        leader = found[0].course.centre if found else None
        peak = _highest(rest, noise, shape, leader, scale, rules, refused)
        if peak is None or len(found) >= rules.max_sources:
            break
        one = _measured(rest, fine, shape, leader, peak, rules)
        middle = float(one.course.centre(_middle(shape)))
        if not _credible(coarse, rest, one, found, noise, scale, rules):
            refused |= _near(refused, peak.y, 0.5 * peak.width)
            continue
        found.append(one)
        refused |= _near(refused, middle, rules.separation * one.fwhm)
        model = star_model(rest, one)
        rest = rest.less(model)
        noise = np.hypot(noise, _distrust(model, one, rules))
    scale = empirical_scale(rest, noise, shape, rules)
    ranked = [replace(one, snr=significance(coarse, one.course.centre, one.fwhm) / scale) for one in found]
    kept = [one for one in ranked if one.snr >= rules.threshold]
    return tuple(sorted(kept, key=lambda item: -item.snr))


def significance(chunks: Chunks, course: Poly1, fwhm: float) -> float:
    """Return the formal signal-to-noise ratio of an object of known course and width."""
    value, error = aligned(chunks, np.zeros(chunks.value.shape), course)
    ratio = matched(value, error, fwhm)
    return float(np.interp(float(course(_middle(course))), np.arange(len(ratio)), ratio))


def _middle(shape: Poly1) -> float:
    return 0.5 * (shape.domain[0] + shape.domain[1])


def _near(rows: Mask, y: float, half: float) -> Mask:
    return np.abs(np.arange(len(rows)) - y) <= max(half, 1.0)


def tilted(shape: Poly1, tilt: float) -> Poly1:
    """Return the course with an added slope of `tilt` pixels from end to end."""
    coef = np.zeros(max(len(shape.coef), 2))
    coef[: len(shape.coef)] = shape.coef
    coef[1] += 0.5 * tilt
    return Poly1(coef, shape.domain)


def aligned(chunks: Chunks, noise: Array, course: Poly1) -> tuple[Array, Array]:
    """Return the mean profile (ny) and its error after undoing the course, whose value at the middle column is kept."""
    rows = np.arange(chunks.value.shape[1], dtype=np.float64)
    shift = course(chunks.x) - course(_middle(course))
    value, var = np.empty_like(chunks.value), np.empty_like(chunks.value)
    for k, move in enumerate(shift):
        value[k] = np.interp(rows + move, rows, chunks.value[k])
        full = np.where(np.isfinite(chunks.error[k]), chunks.error[k] ** 2 + noise[k] ** 2, 1e30)
        moved = np.interp(rows + move, rows, full, left=1e30, right=1e30)
        var[k] = np.where(moved < 1e28, moved, np.inf)
    return weighted_mean(value, var)


def matched(value: Array, error: Array, width: float) -> Array:
    """Return the signal-to-noise ratio of a Gaussian of `width` FWHM [pixel] centred on every row."""
    half = math.ceil(1.5 * width)
    kernel = gaussian(np.arange(-half, half + 1), width)
    weight = np.where(np.isfinite(error), 1.0 / error**2, 0.0)
    top = np.convolve(weight * value, kernel, mode="full")[half : half + len(value)]
    bottom = np.convolve(weight, kernel**2, mode="full")[half : half + len(value)]
    whole = np.convolve((weight > 0).astype(float), kernel, mode="full")[half : half + len(value)]
    return np.where((bottom > 0) & (whole > 0.6), top / np.sqrt(np.where(bottom > 0, bottom, 1.0)), 0.0)


def empirical_scale(chunks: Chunks, noise: Array, shape: Poly1, rules: Rules) -> float:
    """Return by how much the matched filters' scatter along the slit surely exceeds the formal one; never below one.

    Half of the rows may hold objects: the scatter is taken from below the median, where there are none. A short slit
    has few independent rows, so the scatter's own uncertainty is taken off first.
    """
    value, error = aligned(chunks, noise, shape)
    known = np.isfinite(error)
    scales = [
        _excess(matched(value, error, width)[known], width) for width in rules.widths[: len(rules.widths) // 2 + 1]
    ]
    return max(1.0, *scales)


def _excess(ratio: Array, width: float) -> float:
    independent = 0.5 * ratio.size / width
    if independent < 6:
        return 1.0
    middle = float(np.median(ratio))
    scatter = 1.4826 * float(np.median(middle - ratio[ratio <= middle]))
    return scatter / (1.0 + 2.0 / math.sqrt(independent))


def _highest(
    chunks: Chunks, noise: Array, shape: Poly1, leader: Poly1 | None, scale: float, rules: Rules, refused: Mask
) -> _Peak | None:
    """Return the highest peak over all widths and tilts; a tilt must earn nine in chi-square against none."""
    best: _Peak | None = None
    for tilt in (0.0,) if leader is not None else rules.tilts:
        value, error = aligned(chunks, noise, leader or tilted(shape, tilt))
        peak = _narrow_peak([(w, _open(matched(value, error, w), refused) / scale) for w in rules.widths], tilt)
        gain = 9.0 if best is not None and best.tilt == 0.0 else 0.0
        if best is None or peak.snr**2 > best.snr**2 + gain:
            best = peak
    return best if best is not None and best.snr >= rules.threshold else None


def _open(ratio: Array, refused: Mask) -> Array:
    return np.where(refused, 0.0, ratio)


def _narrow_peak(ratios: list[tuple[float, Array]], tilt: float) -> _Peak:
    """Return the best filter's significance at the place where the narrowest filter that sees enough puts the peak.

    A wide filter would centre between two stars and call them one.
    """
    top = max(float(ratio.max()) for _, ratio in ratios)
    broad = next(ratio for _, ratio in ratios if float(ratio.max()) == top)
    for width, ratio in ratios:
        if float(ratio.max()) >= max(0.6 * top, min(5.0, top)):
            y = int(np.argmax(ratio))
            return _Peak(float(y), max(float(broad[y]), float(ratio[y])), width, tilt)
    return _Peak(float(np.argmax(broad)), top, ratios[-1][0], tilt)


def _measured(rest: Chunks, fine: Chunks, shape: Poly1, leader: Poly1 | None, peak: _Peak, rules: Rules) -> Found:
    """Trace the peak and measure its width, each with the help of the other."""
    course = leader if leader is not None else tilted(shape, peak.tilt)
    start = course.shifted(peak.y - float(course(_middle(shape))))
    start = Poly1(start.coef, start.domain)
    fwhm = measured_width(rest, start, peak.width, 3.0 * max(rules.widths))
    result = traced(fine, start, fwhm, rules.max_order)
    fwhm = measured_width(rest, result.centre, fwhm, 3.0 * max(rules.widths))
    return Found(result, fwhm, peak.snr)


def star_model(chunks: Chunks, star: Found) -> Array:
    """Return the star's light in every chunk (nc, ny): the lower envelope of its mirrored mean profile, scaled.

    A neighbour sits on one side only and therefore stays in the residual, whatever the shape of the star's wings.
    """
    ny = chunks.value.shape[1]
    places = np.arange(-ny, ny + 1.0)
    mean, error = straightened(chunks, star.course.centre, places)
    both = np.isfinite(error) & np.isfinite(error[::-1])
    lower = np.where(both, np.minimum(mean, mean[::-1]), np.where(np.isfinite(error), 0.0, 0.0))
    core = np.abs(places) <= 0.75 * star.fwhm
    envelope = np.maximum(np.where(core, mean, lower), 0.0)
    rows = np.arange(ny, dtype=np.float64)
    model = np.empty_like(chunks.value)
    for k, x in enumerate(chunks.x):
        template = np.interp(rows - star.course.centre(x), places, envelope)
        near = np.abs(rows - star.course.centre(x)) <= star.fwhm
        weight = np.where(near & np.isfinite(chunks.error[k]), template, 0.0)
        square = float(np.sum(weight * template))
        model[k] = template * (np.sum(weight * chunks.value[k]) / square if square > 0 else 0.0)
    return model


def _distrust(model: Array, star: Found, rules: Rules) -> Array:
    """Return what the subtraction of a star may leave: a share of its light there, and of its peak anywhere."""
    reach = max(round(0.5 * star.fwhm), 1)
    around = np.max([np.roll(model, step, axis=1) for step in range(-reach, reach + 1)], axis=0)
    peak = model.max(axis=1, keepdims=True)
    return np.asarray(rules.wing * np.maximum(around, 0.0) + rules.contrast * np.maximum(peak, 0.0))


def _credible(
    all_: Chunks, rest: Chunks, one: Found, found: list[Found], noise: Array, scale: float, rules: Rules
) -> bool:
    """Return whether a peak is an object: in the slit, in more than one stretch of wavelength, separate, star-like."""
    if one.fwhm > rules.widest or not _within(rest, one) or not _in_many_chunks(rest, one, noise, scale, rules):
        return False
    for star in found:
        apart = abs(float(one.course.centre(_middle_of(one)) - star.course.centre(_middle_of(one))))
        if apart < rules.separation * max(star.fwhm, 1.0):
            return False
        if star.snr > 30.0 * rules.threshold and one.fwhm > 2.5 * star.fwhm:
            return False
        if apart < 6.0 * star.fwhm and not _valley(all_, one, star, noise):
            return False
    return True


def _within(chunks: Chunks, one: Found) -> bool:
    """Return whether the object's centre lies half its width inside the rows that were measured."""
    rows = np.flatnonzero(np.isfinite(chunks.error).any(axis=0))
    centre, margin = float(one.course.centre(_middle_of(one))), 0.5 * one.fwhm
    return bool(rows.size) and bool(rows[0] - 0.5 + margin <= centre <= rows[-1] + 0.5 - margin)


def _middle_of(one: Found) -> float:
    return _middle(one.course.centre)


def _in_many_chunks(rest: Chunks, one: Found, noise: Array, scale: float, rules: Rules) -> bool:
    """Return whether the object stays significant without its best chunk."""
    rows = np.arange(rest.value.shape[1], dtype=np.float64)
    ratios = []
    for x, value, error, extra in zip(rest.x, rest.value, rest.error, noise, strict=True):
        shape = gaussian(rows - one.course.centre(x), one.fwhm)
        weight = np.where(np.isfinite(error), 1.0 / (error**2 + extra**2), 0.0)
        bottom = np.sum(weight * shape**2)
        ratios.append(np.sum(weight * shape * value) / math.sqrt(bottom) if bottom > 0 else 0.0)
    ordered = np.sort(np.array(ratios))[:-1] / scale
    return len(ratios) < 3 or float(ordered.sum()) / math.sqrt(len(ordered)) >= 0.6 * rules.threshold


def _valley(chunks: Chunks, one: Found, star: Found, noise: Array) -> bool:
    """Return whether the light dips between two objects by more than three sigma below the fainter peak."""
    value, error = aligned(chunks, noise, star.course.centre)
    kernel = gaussian(np.arange(-3, 4), max(0.4 * star.fwhm, 1.2))
    kernel /= kernel.sum()
    smooth = np.convolve(value, kernel, mode="same")
    middle = _middle_of(star)
    bright, faint = (round(float(item.course.centre(middle))) for item in (star, one))
    reach = max(round(0.4 * one.fwhm), 1)
    around = np.arange(max(faint - reach, 0), min(faint + reach + 1, len(smooth)))
    peak = int(around[np.argmax(smooth[around])])
    between = slice(min(bright, peak), max(bright, peak) + 1)
    low = int(np.argmin(smooth[between])) + between.start
    sigma = math.hypot(*(float(error[k]) if math.isfinite(error[k]) else 0.0 for k in (low, peak)))
    return float(smooth[peak] - smooth[low]) > 3.0 * sigma * math.sqrt(float(np.sum(kernel**2)))
