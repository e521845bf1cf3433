"""The spectra of all lenslets of one frame, solved together with the scattered light; outliers of the profile go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError
from nightpipe.kernels.spaxels import Fluxes, Layout, drawn, fluxes, layout, reduced
from nightpipe.maths.scatter import Basis, Scatter, cubic_basis, fit_scatter
from nightpipe.model.frame import Frame
from nightpipe.model.spaxels import SpaxelSet

Floats = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Bools = NDArray[np.bool_]
Columns = IntArray | slice

STEADY = 2.0
"""Columns (rms) over which fluxes are averaged for the pixels' variance where they do not differ by `DIFFERS` sigma: a
variance that follows the noise of its own flux makes low fluxes look too sure, and the mean pull negative."""
DIFFERS = 3.0
NEAR = 5
"""Rows among which only the worst pixel goes at a time: with a cosmic ray in the fit its neighbours look bad, too."""
STEP = 64
"""Columns and rows between the places where the variance of the scattered light is worked out."""


@dataclass(frozen=True)
class Rules:
    """How to solve: knot `spacing` [pixel] of the scattered light (0: none), pixels' `grain` (relative rms of response
    that no flat corrects), `mismatch` of the profile (relative), `clip` [sigma] and `rounds` of rejection. Only one
    column in `every` is looked at.
    """

    spacing: float = 56.0
    grain: float = 0.008
    mismatch: float = 0.02
    clip: float = 5.0
    rounds: int = 8
    every: int = 1


class Places(NamedTuple):
    """Where the entries of a layout go: lenslet and element of the spectra (n, m) that begin at column `first` (n,).

    `column` and `row` are those of the frame.
    """

    lenslet: IntArray
    element: IntArray
    column: IntArray
    row: FloatArray
    first: IntArray
    m: int

    def spread(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return the entries' values as (n, m), 0 where there is no light."""
        out = np.zeros((self.first.size, self.m))
        out[self.lenslet, self.element] = values
        return out


@dataclass(frozen=True)
class Solution:
    """What is known at one stage: entries' `found`, transposed images of `scatter`, `weight` and `var`, `good`."""

    found: Fluxes
    scatter: Floats
    weight: Floats
    var: Floats
    good: Bools
    surface: Scatter | None = None


def places(spaxels: SpaxelSet, every: int = 1) -> tuple[Places, Layout]:
    """Return where on the frame, in one column of `every`, the light of each lenslet lies.

    Raises BadFrameError if there is none.
    """
    nx = spaxels.shape[1]
    move = 0.0 if spaxels.warp is None else spaxels.warp.told()[0][0]
    low = np.clip(np.ceil(spaxels.span[:, 0] + move), 0, nx).astype(np.int64)
    high = np.clip(np.floor(spaxels.span[:, 1] + move) + 1, low, nx).astype(np.int64)
    count = high - low
    if not count.any():
        raise BadFrameError("spectra on the frame", "none", "look at the geometry that was used")
    lenslet = np.repeat(np.arange(len(spaxels)), count)
    element = np.arange(lenslet.size) - np.repeat(np.cumsum(count) - count, count)
    column = low[lenslet] + element
    if every > 1:
        lenslet, element, column = (part[column % every == 0] for part in (lenslet, element, column))
    row = spaxels.row(lenslet, column)
    order = np.lexsort((row, column))
    lenslet, element, column, row = lenslet[order], element[order], column[order], row[order]
    sigma = spaxels.width(lenslet, column)
    held = layout(column // every, row, sigma, spaxels.offset, spaxels.below, -(-nx // every))
    return Places(lenslet, element, column, row, low, int(count.max())), held


def turned(frame: Frame, every: int) -> Frame:
    """Return one column in `every` of a frame, transposed: (nx, ny), a column consecutive in memory."""
    return _each(frame, lambda image: np.ascontiguousarray(image[:, ::every].T))


def _each(frame: Frame, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Frame:
    """Return a frame all of whose images are changed alike; what is not needed here is left out."""
    names = ("data", "var", "mask", "read_var", "photon_var", "flat_var")
    parts: dict[str, Any] = {name: change(part) for name in names if (part := getattr(frame, name)) is not None}
    return replace(frame, amp=None, illumination=None, **parts)


class Deblend:
    """One frame and the places of its spectra; images are transposed, so that a column is consecutive in memory."""

    def __init__(self, frame: Frame, spaxels: SpaxelSet, rules: Rules) -> None:
        if frame.shape != spaxels.shape:
            raise BadFrameError(f"a frame of {spaxels.shape}", str(frame.shape), "use the geometry of this detector")
        self.frame, self.rules = turned(frame, rules.every), rules
        self.places, self.layout = places(spaxels, rules.every)
        self.data = np.asarray(self.frame.data, dtype=np.float32)
        ny, nx = frame.shape
        spacing = rules.spacing or max(ny, nx)
        self.along, self.across = cubic_basis(nx, spacing)[:: rules.every], cubic_basis(ny, spacing)

    def solve(self) -> Solution:
        """Return the final solution: weights that follow the model, pixels off the profile rejected one by one."""
        good, every = self.frame.good, slice(None)
        now = self._solved(self._weight(np.maximum(self.data, 0.0), good, every), covariance=False)
        now = self._solved(self._weight(self._expected(now, every), good, every), covariance=False)
        now = self._cleaned(now)
        return self._solved(self._weight(self._expected(now, every), now.good, every), covariance=True)

    def model(self, solution: Solution, columns: Columns = slice(None)) -> Floats:
        """Return the model of the frame as fitted (nx, ny), or of some of its columns."""
        return self._drawn(solution.found.flux, columns) + solution.scatter[columns]

    def _drawn(self, flux: FloatArray, columns: Columns) -> Floats:
        return drawn(flux, self.layout, self.data.shape[1], None if isinstance(columns, slice) else columns)

    def _weight(self, signal: Floats, good: Bools, columns: Columns) -> tuple[Floats, Floats, Bools]:
        """Return weights, variance and good of some columns, for an expected signal."""
        frame = _each(self.frame, lambda image: image[columns])
        var = frame.variance_of(signal) + np.square(self.rules.grain * signal)
        usable = good & (var > 0)
        return np.where(usable, 1.0 / np.where(usable, var, 1.0), 0.0).astype(np.float32), var, usable

    def _expected(self, solution: Solution, columns: Columns) -> Floats:
        """Return the model in some columns, its fluxes averaged along each spectrum where that is no loss."""
        steady = self._steady(solution.found)
        model = self._drawn(steady, columns) + np.maximum(solution.scatter[columns], 0.0)
        return np.maximum(model, 0.0)

    def _steady(self, found: Fluxes) -> FloatArray:
        from scipy.ndimage import gaussian_filter1d

        flux, var = self.places.spread(found.flux), self.places.spread(found.var)
        known = (var > 0).astype(np.float64)
        soft = gaussian_filter1d(flux * known, STEADY, axis=1) / np.maximum(
            gaussian_filter1d(known, STEADY, axis=1), 1e-6
        )
        kept = np.where(np.abs(flux - soft) < DIFFERS * np.sqrt(var), soft, flux)
        return np.asarray(np.maximum(kept, 0.0)[self.places.lenslet, self.places.element])

    def _solved(self, weights: tuple[Floats, Floats, Bools], *, covariance: bool) -> Solution:
        weight, var, good = weights
        surface = self._surface(weight, covariance=covariance) if self.rules.spacing else None
        scatter = np.zeros_like(self.data) if surface is None else surface.image()
        return Solution(fluxes(self.data, weight, scatter, self.layout), scatter, weight, var, good, surface)

    def _surface(self, weight: Floats, *, covariance: bool) -> Scatter:
        across: Basis = self.across
        matrix, side = reduced(self.data, weight, self.layout, across.first, across.value, across.count)
        return fit_scatter(matrix, side, self.along, across, covariance=covariance)

    def _cleaned(self, now: Solution) -> Solution:
        """Return the solution without pixels off the profile; in each round the worst of `NEAR` rows goes.

        A column in which none is off is done with: what another column loses does not change it.
        """
        columns = np.arange(self.data.shape[0])
        weight, var, good = now.weight.copy(), now.var.copy(), now.good.copy()
        now = replace(now, weight=weight, var=var, good=good)
        for _ in range(self.rules.rounds):
            off = self._worst(now, columns)
            bad = off.any(axis=1)
            if not bad.any():
                break
            columns = columns[bad]
            kept = good[columns] & ~off[bad]
            weight[columns], var[columns], good[columns] = self._weight(self._expected(now, columns), kept, columns)
            part = fluxes(self.data, weight, now.scatter, self.layout, columns)
            fresh = np.isin(self.places.column // self.rules.every, columns)
            found = Fluxes(*(np.where(fresh, new, old) for new, old in zip(part, now.found, strict=True)))
            now = replace(now, found=found)
        return now

    def _worst(self, now: Solution, columns: IntArray) -> Bools:
        """Return, of some columns, the pixels off the model by more than allowed and most among their neighbours."""
        from scipy.ndimage import maximum_filter1d

        model = self.model(now, columns)
        allowed = now.var[columns] + np.square(self.rules.mismatch * (model - now.scatter[columns]))
        pull = np.where(now.good[columns], np.abs(self.data[columns] - model) / np.sqrt(allowed), 0.0)
        return np.asarray((pull > self.rules.clip) & (pull == maximum_filter1d(pull, NEAR, axis=1)))


def flux_variance(work: Deblend, solution: Solution) -> FloatArray:
    """Return the variance of each entry's flux: that of its pixels, and what the scattered light's own error adds.

    The surface hardly changes across a profile, so its error there acts as one level.
    """
    if solution.surface is None:
        return solution.found.var
    from scipy.ndimage import map_coordinates

    grid = np.maximum(solution.surface.variance(STEP), 0.0)
    at = np.array([work.places.column, work.places.row]) / STEP
    ground = map_coordinates(grid, at, order=1, mode="nearest")
    return np.asarray(solution.found.var + np.where(solution.found.var > 0, solution.found.level**2 * ground, 0.0))
