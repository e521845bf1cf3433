"""Which lenslets others fill: contours of white light, followed down until the target's meets another's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.step import Step, parameter
from nightpipe.maths.hexagons import neighbours_of
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.scene import Scene

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Bools = NDArray[np.bool_]


class SeparateContours(Step):
    """Find the lenslets that other sources fill, outside the faintest contour that holds the target alone.

    After Kim et al. 2022 (PASP 134, 024505), on the exposure's own white light instead of a survey's image.
    """

    spacing: float = parameter(0.5, "magnitudes between contours", unit="mag", gt=0.05, le=2)
    depth: float = parameter(4.0, "magnitudes from the target's peak to the last contour", unit="mag", gt=0.5)
    clear: float = parameter(5.0, "significance of the faintest contour", unit="sigma", ge=2)

    def run(self, scene: Scene, spectra: SpaxelSpectra) -> tuple[int, ...]:
        """Return the numbers of the lenslets to leave out; none where no contour parts the target from another."""
        around = neighbours_of(spectra.q, spectra.r)
        light, error = _smooth(scene, around)
        target = int(np.argmin(np.hypot(spectra.east - scene.target.east, spectra.north - scene.target.north)))
        best: Bools | None = None
        for level in light[target] * 10.0 ** (-0.4 * np.arange(self.spacing, self.depth + 1e-9, self.spacing)):
            if level < self.clear * np.median(error):
                break
            above = light > level
            own = _joined(above, around, target)
            if _foreign_peak(light, error, own, around, spectra, scene, self.clear):
                break
            best = above & ~own
        return () if best is None else tuple(int(k) for k in np.flatnonzero(best))


def _smooth(scene: Scene, around: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return white light without sky, each lenslet averaged with its neighbours, and the error of that."""
    data = np.nansum(scene.slices.data - scene.slices.sky, axis=0)
    var = np.nansum(scene.slices.error**2, axis=0)
    group = np.column_stack([np.arange(len(around)), around])
    known = (group >= 0) & (var[group] > 0)
    count = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, data[group], 0.0).sum(axis=1) / count
    return mean, np.sqrt(np.where(known, var[group], 0.0).sum(axis=1)) / count


def _joined(above: Bools, around: IntArray, start: int) -> Bools:
    """Return the lenslets above a level that hang together with one."""
    own = np.zeros(above.size, dtype=bool)
    own[start] = True
    edge = [start]
    while edge:
        near = {int(j) for k in edge for j in around[k] if j >= 0 and above[j] and not own[j]}
        own[list(near)] = True
        edge = list(near)
    return own


def _foreign_peak(
    light: FloatArray,
    error: FloatArray,
    own: Bools,
    around: IntArray,
    spectra: SpaxelSpectra,
    scene: Scene,
    clear: float,
) -> bool:
    """Tell whether another source's peak lies within the target's contour."""
    away = np.hypot(spectra.east - scene.target.east, spectra.north - scene.target.north) > 1.2 * scene.fwhm
    for k in np.flatnonzero(own & away):
        near = around[k][around[k] >= 0]
        if near.size and (light[k] > light[near]).all() and light[k] - light[near].min() > clear * error[k]:
            return True
    return False
