"""Where the slit lies in a frame, relative to the flat: its dust is seen by sky and lamp alike.

The slit is a mechanism: between flats and sky it returns to another place (NOT/ALFOSC 2020-03-20: 3 pixels). Dividing
by dust that has moved would print it twice. The pixels' response stays where it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import masked_median, running_median
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.steps.detector.scene import look

FloatArray = NDArray[np.float64]
_FINE = 25  # pixels: what is narrower along the slit is dust and roughness


class SlitProfile(NamedTuple):
    """The light along the slit, relative to each column's median: `value` and `var` (ny,), and where it is `known`.

    `expected` (ny,) is what the flat's illumination gives with the same pixels and the same light.
    """

    value: FloatArray
    var: FloatArray
    known: NDArray[np.bool_]
    expected: FloatArray


def slit_profile(frame: Frame, flat: Frame, illumination: NDArray[Any], good: NDArray[np.bool_]) -> SlitProfile:
    """Return the profile of the sky or lamp along the slit, the pixels' response taken out.

    Only the pixels `good` count; rows with few of them are unknown, and so are those next to the slit's edges. Sums
    along the dispersion do not mind tilted lines.
    """
    response = np.where(good, flat.data / illumination, 1.0)
    light = np.where(good, frame.data / response, 0.0)
    column = np.maximum(masked_median(light, good, axis=0)[0], 0.0)
    weight = (good * column).sum(axis=1)
    known = (good.sum(axis=1) > 0.5 * int(good.sum(axis=1).max())) & (weight > 0)
    safe = np.where(known, weight, 1.0)
    var = np.where(good, frame.var / response**2, 0.0).sum(axis=1) / safe**2
    expected = np.where(good, illumination * column, 0.0).sum(axis=1) / safe
    return SlitProfile(light.sum(axis=1) / safe, np.where(known, var, 1.0), _inner(known), expected)


def _inner(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the rows that lie at least half a window inside."""
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(known, iterations=_FINE // 2, border_value=0))


def fine_structure(profile: FloatArray) -> FloatArray:
    """Return what of a profile is narrower than dust and roughness of the slit are at most."""
    from scipy.ndimage import median_filter

    return np.asarray(profile - median_filter(profile, _FINE, mode="nearest"))


def shift_of(seen: SlitProfile, *, reach: float, significance: float) -> float | None:
    """Return by how many rows the fine structure of a profile lies above the expected one; None if it is not seen.

    A fit of shift and amplitude by least squares. It counts when it beats an empty profile by `significance` sigma, in
    units of the scatter that it leaves, and when the amplitude is that of the flat within a factor of two. Failing
    that, the slit did not move if that at least is more likely than no dust at all, by two sigma.
    """
    fine, reference = fine_structure(seen.value), fine_structure(seen.expected)
    use = seen.known & ~_objects(fine, seen.var)
    if use.sum() < 50 or float(np.std(reference[use])) < 1e-4:
        return None
    shifts = np.arange(-reach, reach + 0.01, 0.25)
    rows = np.arange(len(fine))
    fits = [_amplitude(fine, np.interp(rows - shift, rows, reference), seen.var, use) for shift in shifts]
    amplitudes, gains = (np.array(part) for part in zip(*fits, strict=True))
    best = int(np.argmax(np.where(amplitudes > 0, gains, 0)))
    total = float(np.sum(fine[use] ** 2 / seen.var[use]))
    scatter = max((total - gains[best]) / (use.sum() - 2), 1e-9)
    if gains[best] < significance**2 * scatter or not 0.5 < amplitudes[best] < 2:
        still = _full_strength(*_amplitude(fine, reference, seen.var, use))
        return 0.0 if still > 4 * scatter else None
    return float(shifts[best] + _vertex(gains, best) * 0.25)


def _objects(fine: FloatArray, var: FloatArray) -> NDArray[np.bool_]:
    """Return rows near to what is brighter than the slit's roughness: objects, and what cosmic rays left."""
    from scipy.ndimage import binary_dilation

    bright = fine > np.maximum(4 * np.sqrt(var), 0.02)
    return np.asarray(binary_dilation(bright, iterations=8))


def _amplitude(fine: FloatArray, model: FloatArray, var: FloatArray, use: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the amplitude of `model` in `fine`, and by how much it lowers chi-square."""
    top = float(np.sum((fine * model / var)[use]))
    power = max(float(np.sum((model**2 / var)[use])), 1e-30)
    return top / power, top**2 / power


def _full_strength(amplitude: float, gain: float) -> float:
    """Return the gain in chi-square at full strength from the best amplitude and its gain."""
    return gain * (2 / amplitude - 1 / amplitude**2) if amplitude > 0 else -np.inf


def _vertex(values: FloatArray, k: int) -> float:
    """Return where the parabola through three neighbours peaks, in steps from `k`."""
    if k in {0, len(values) - 1}:
        return 0.0
    below, here, above = values[k - 1 : k + 2]
    bend = below - 2 * here + above
    return float(0.5 * (below - above) / bend) if bend < 0 else 0.0


def moved(illumination: NDArray[Any], shift: float) -> NDArray[Any]:
    """Return the illumination (ny, nx) moved up by `shift` rows; at the border the last row is held."""
    ny = len(illumination)
    place = np.clip(np.arange(ny) - shift, 0, ny - 1)
    below = np.minimum(place.astype(np.int64), max(ny - 2, 0))
    rest = (place - below)[:, None]
    above = np.minimum(below + 1, ny - 1)
    return np.asarray(illumination[below] * (1 - rest) + illumination[above] * rest)


def smoothed(illumination: NDArray[Any]) -> NDArray[Any]:
    """Return the illumination without its fine structure."""
    return running_median(illumination, _FINE, axis=0)


def witnesses(frame: Frame, flat: Frame) -> NDArray[np.bool_]:
    """Return the pixels that may tell where the slit lies: flat-fielded ones without a cosmic ray."""
    unknown = np.uint32(Flag.NO_FLAT | Flag.OUTSIDE_SLIT | Flag.BAD)
    good = np.asarray(frame.good & ((flat.mask & unknown) == 0))
    seen = look(frame, frame.good, rows=40, columns=25, protect=0.02)
    return np.asarray(good & (seen.rest < 8 * np.sqrt(seen.var)))


def measured_shift(frame: Frame, flat: Frame, *, reach: float, significance: float) -> float | None:
    """Return by how many rows the slit lies higher in `frame` than in `flat`; None if its dust is not seen in both.

    The flat must keep its `illumination`.
    """
    if flat.illumination is None:
        return None
    good = witnesses(frame, flat)
    if not good.any():
        return None
    profile = slit_profile(frame, flat, flat.illumination, good)
    return shift_of(profile, reach=reach, significance=significance)
