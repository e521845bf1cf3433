"""Narrow lines in a flattened spectrum: of a host galaxy, or of gas about a supernova; and the redshifts they tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.logflux import BINS, FIRST, STEP, Flat
from nightpipe.maths.matching import column_of, shift_of

F32 = NDArray[np.float32]
FloatArray = NDArray[np.float64]
I64 = NDArray[np.int64]

EMISSION = (3727.3, 4861.3, 5006.8, 6564.0, 6723.0)
"""[O II], H beta, [O III], H alpha with [N II], [S II]: air wavelengths [Angstrom]."""
ABSORPTION = (3933.7, 3968.5, 4304.4, 5175.3, 5892.9)
"""Ca II K and H, G band, Mg b, Na D."""
OTHERS = (4101.7, 4340.5, 4471.5, 4685.7, 4958.9, 5875.6, 6678.2, 7065.2)
"""H delta, H gamma, He I, He II, [O III], He I three times."""
LINES = (*EMISSION, *ABSORPTION, *OTHERS)
SCALES = ((1, 3, 6), (3, 7, 13))
"""Half width of a line's window, first and last bin of those at its sides: lines of R 1,000 and of R 100."""
AROUND = 5
"""A line is looked for within so many bins of where the candidate redshift puts it."""
FLOOR = 0.02
"""Structure of a flattened spectrum that is no noise and no line."""
WEIGHED = 8.0
"""Signal-to-noise ratios of single lines are clipped here: one cosmic ray is no galaxy."""
MARGIN = 16
"""Bins of negative shifts."""
COUNT = 4 * len(LINES) + 4
"""Numbers that `at_columns` returns for a candidate."""


class Contrast(NamedTuple):
    """What stands out against its sides, at each scale and bin (2, 1024): in continua, and in its errors."""

    height: FloatArray
    snr: FloatArray


def contrast(flat: Flat) -> Contrast:
    """Return the mean of a window about each bin less that of its sides; zero where the sides have no data."""
    heights, ratios = [], []
    weight = flat.good.astype(np.float64)
    variance = weight * (flat.error**2 + FLOOR**2)
    for half, near, far in SCALES:
        window, sides = _kernel(0, half), _kernel(near, far)
        inside, outside = np.convolve(weight, window, "same"), np.convolve(weight, sides, "same")
        known = (inside >= half + 1) & (outside >= far - near + 1) & flat.good
        n_in, n_out = np.maximum(inside, 1.0), np.maximum(outside, 1.0)
        height = np.convolve(weight * flat.value, window, "same") / n_in
        height = height - np.convolve(weight * flat.value, sides, "same") / n_out
        error = np.sqrt(
            np.convolve(variance, window, "same") / n_in**2 + np.convolve(variance, sides, "same") / n_out**2
        )
        heights.append(np.where(known, height, 0.0))
        ratios.append(np.where(known, height / np.maximum(error, 1e-9), 0.0))
    return Contrast(np.array(heights), np.array(ratios))


def _kernel(near: int, far: int) -> FloatArray:
    distance = np.abs(np.arange(-far, far + 1))
    return np.asarray(distance >= near, dtype=np.float64)


class Narrow(NamedTuple):
    """A spectrum's `contrast`, and how well `emission` and `absorption` fit as wholes (scales, lags from -MARGIN)."""

    contrast: Contrast
    emission: FloatArray
    absorption: FloatArray


def narrow_lines(flat: Flat) -> Narrow:
    """Return what stands out of a spectrum, and how well the lines of galaxies fit it at each shift."""
    found = contrast(flat)
    return Narrow(found, comb(found, EMISSION, 1.0), comb(found, ABSORPTION, -1.0))


def comb(found: Contrast, lines: tuple[float, ...], sign: float) -> FloatArray:
    """Return (scales, lags) the root sum of squares, over `lines` with the right sign, of their clipped ratios.

    Lag k shifts the lines by k bins, from -`MARGIN` to the grid's length; lines without data count as nothing.
    """
    squares = np.zeros((len(SCALES), BINS + MARGIN))
    ratio = np.clip(sign * found.snr, 0.0, WEIGHED) ** 2
    for line in lines:
        place = _place(line)
        low = max(place - MARGIN, 0)
        squares[:, low - place + MARGIN : BINS - place + MARGIN] += ratio[:, low:]
    return np.sqrt(squares)


def at_columns(lines: Narrow, columns: I64) -> F32:
    """Return (candidates, COUNT) numbers about the narrow lines at the redshifts of `columns` (see `matching.lags`).

    For both scales, at the shift within `AROUND` bins that fits the emission best: height and ratio of every line,
    squeezed to a few units; and how well the emission and the absorption fit as wholes.
    """
    near = np.round(shift_of(np.asarray(columns))).astype(int)[:, None] + np.arange(-AROUND, AROUND + 1) + MARGIN
    parts, whole = [], []
    for scale in range(len(SCALES)):
        scores = lines.emission[scale, near]
        shift = np.take_along_axis(near, scores.argmax(axis=1)[:, None], axis=1) - MARGIN
        places = shift + PLACES
        inside = (places >= 0) & (places < BINS)
        places = np.clip(places, 0, BINS - 1)
        height = 4.0 * np.where(inside, lines.contrast.height[scale, places], 0.0)
        ratio = np.where(inside, lines.contrast.snr[scale, places], 0.0)
        parts += [height / (1.0 + 0.3 * np.abs(height)), np.arcsinh(0.5 * ratio)]
        whole += [scores.max(axis=1) / 4.0, lines.absorption[scale, near].max(axis=1) / 4.0]
    return np.concatenate([*parts, np.stack(whole, axis=1)], axis=1).astype(np.float32)


def emission_columns(lines: Narrow, columns: int, most: int = 2, least: float = 9.0) -> I64:
    """Return the columns, of so many, of the redshifts that narrow emission tells, best first; none where it is weak.

    Two lines at least must stand out, or one line would be any other.
    """
    stands = Contrast(lines.contrast.height, np.where(lines.contrast.snr > 3.0, 1.0, 0.0))
    score = np.where(comb(stands, EMISSION, 1.0) ** 2 > 1.5, lines.emission, 0.0).max(axis=0)
    chosen: list[int] = []
    for place in np.argsort(-score)[:100]:
        column = column_of(float(np.expm1((place - MARGIN) * STEP)))
        if score[place] < least or len(chosen) == most:
            break
        if 0 <= column < columns and all(abs(column - other) > 3 for other in chosen):
            chosen.append(column)
    return np.array(chosen, dtype=np.int64)


def _place(line: float) -> int:
    """Return the bin of a wavelength."""
    return int(np.log(line / FIRST) / STEP)


PLACES = np.array([_place(line) for line in LINES])
"""Bins of the lines at rest."""
