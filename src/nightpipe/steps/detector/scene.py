"""What a frame of the sky should show: lines along the slit, objects along the dispersion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import masked_median
from nightpipe.model.frame import Frame
from nightpipe.steps.detector.lamp import bilinear, block_edges

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """A smooth model of a frame: `sky` and `objects` (ny, nx) [electron], without anything sharp in both directions."""

    sky: NDArray[Any]
    objects: NDArray[Any]

    @property
    def model(self) -> NDArray[np.float32]:
        """Return the sum of all."""
        return (self.sky + self.objects).astype(np.float32)

    @property
    def profile(self) -> NDArray[np.float64]:
        """Return the mean light of the objects in each row (ny,)."""
        return np.asarray(self.objects.mean(axis=1), dtype=np.float64)


def scene(data: NDArray[Any], good: Bools, *, rows: int, columns: int) -> Scene:
    """Model `data` (ny, nx): sky lines plus objects.

    The sky is the median of `rows` rows at each column, the objects the median of `columns` columns in each row of what
    is left, times what each column says of their brightness. Pixels that are not `good` have no say.
    """
    sky = sky_lines(data, good, rows)
    rest = data - sky
    objects = object_trails(rest, good, columns)
    return Scene(sky, objects * _brightness(rest, objects, good))


@dataclass(frozen=True)
class Look:
    """A frame as the search sees it: what its smooth scene leaves, `rest`, with variance; the objects' `profile`."""

    rest: NDArray[np.float32]
    var: NDArray[np.float32]
    profile: NDArray[np.float64]


def look(frame: Frame, good: Bools, rows: int, columns: int, protect: float) -> Look:
    """Return what the smooth scene leaves over.

    The model's own error is `protect` times its value, and what a misplacement by a tenth of a pixel does to its edges.
    """
    smooth = scene(frame.data, good, rows=rows, columns=columns)
    model = smooth.model
    down, across = np.gradient(model)
    own = np.square(protect * np.maximum(model, 0)) + 0.01 * (np.square(down) + np.square(across))
    var = frame.variance_of(model) + own
    return Look(frame.data - model, var.astype(np.float32), smooth.profile)


def sky_lines(data: NDArray[Any], good: Bools, rows: int) -> NDArray[Any]:
    """Return the median over blocks of `rows` rows at each column, joined along the slit by straight lines."""
    blocks = block_edges(data.shape[0], rows)
    parts = [masked_median(data[a:b], good[a:b], axis=0) for a, b in blocks]
    values = np.array([value for value, _ in parts], dtype=np.float64)
    known = np.array([count > 0.3 * (b - a) for (_, count), (a, b) in zip(parts, blocks, strict=True)])
    _fill(values, known)
    centres = np.array([(a + b - 1) / 2 for a, b in blocks])
    return bilinear(values, centres, np.arange(data.shape[1], dtype=np.float64), data.shape)


def _fill(values: NDArray[Any], known: Bools) -> None:
    """Give unknown blocks the value of the nearest known block along the slit, in place."""
    for k in np.flatnonzero(~known.all(axis=1)):
        for other in sorted(range(len(values)), key=lambda j: abs(j - k)):
            lacking = ~known[k] & known[other]
            values[k, lacking] = values[other, lacking]
            known[k] |= lacking


def object_trails(rest: NDArray[Any], good: Bools, columns: int) -> NDArray[Any]:
    """Return the median over blocks of `columns` columns in each row, joined along the dispersion by straight lines."""
    blocks = block_edges(rest.shape[1], columns)
    parts = [masked_median(rest[:, a:b], good[:, a:b], axis=1) for a, b in blocks]
    values = np.array([np.where(count > 0.3 * (b - a), v, 0) for (v, count), (a, b) in zip(parts, blocks, strict=True)])
    centres = np.array([(a + b - 1) / 2 for a, b in blocks])
    rows = np.arange(rest.shape[0], dtype=np.float64)
    return bilinear(values.astype(np.float64).T, rows, centres, rest.shape)


def _brightness(rest: NDArray[Any], objects: NDArray[Any], good: Bools) -> NDArray[Any]:
    """Return by how much each column (1, nx) is brighter than `objects` say: absorption and emission lines of a star.

    The median ratio over the brightest tenth of the pixels of a column; 1 where that is no measurement.
    """
    count = max(objects.shape[0] // 40, 3)
    top = np.argpartition(objects, -count, axis=0)[-count:]
    model, found, keep = (np.take_along_axis(a, top, axis=0) for a in (objects, rest, good))
    ratio, used = masked_median(found / np.where(model > 0, model, 1), keep & (model > 0), axis=0)
    certain = (used >= 3) & (np.min(model, axis=0) > 30)
    return np.where(certain, np.clip(ratio, 0, 5), 1.0)[None, :]


def shift_between(one: NDArray[np.float64], two: NDArray[np.float64], *, least: float = 0.6) -> int:
    """Return by how many rows the objects of profile `two` (ny,) lie above those of `one`; 0 where they do not match.

    The cross-correlation must reach `least` of what two equal profiles would give.
    """
    a, b = (np.maximum(p - np.median(p), 0) for p in (one, two))
    norm = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    if norm <= 0:
        return 0
    size = 2 * len(a)
    power = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    best = int(np.argmax(power))
    if power[best] < least * norm:
        return 0
    return best if best < len(a) else best - size
