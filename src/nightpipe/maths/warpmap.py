"""A smooth map between two images, known on coarse nodes: cubic interpolation between them is as good as asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import NoSolutionError
from nightpipe.kernels.warp import Nodes

FloatArray = NDArray[np.float64]
Map = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


def coarse(forward: Map, shape: tuple[int, int], *, tolerance: float = 1e-3, step: int = 64, least: int = 8) -> Nodes:
    """Return nodes of `forward`, (x, y) of the output to (x, y) of the input, over an output of `shape` (ny, nx).

    The nodes are as far apart as `step` or, where the map bends too much for cubics, nearer: deviations are measured
    in the middles of the cells. Positions that the map does not know (nan) become far outside the input. Raises
    NoSolutionError where even nodes `least` pixels apart miss the `tolerance` [pixel].
    """
    while True:
        nodes = _nodes(forward, shape, step)
        if nodes.error <= tolerance:
            return nodes
        if step <= least:
            raise NoSolutionError(
                f"a map that is smooth to {tolerance:g} pixel over {step} pixels",
                f"{nodes.error:.2g} pixel",
                "look at the plate solution: its distortion bends too much",
            )
        step = max(step // 2, least)


def _nodes(forward: Map, shape: tuple[int, int], step: int) -> Nodes:
    places = [(np.arange(-(-max(n - 1, 1) // step) + 3) - 1.0) * step for n in shape]
    x, y = np.meshgrid(places[1], places[0])
    mapped = [np.where(np.isfinite(part), part, -1e9) for part in forward(x, y)]
    return Nodes(step, mapped[0], mapped[1], _area(forward, x, y), _error(forward, x, y, mapped, step))


def _area(forward: Map, x: FloatArray, y: FloatArray) -> FloatArray:
    right, left, up, down = (forward(x + dx, y + dy) for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)))
    area = (right[0] - left[0]) * (up[1] - down[1]) - (right[1] - left[1]) * (up[0] - down[0])
    return np.where(np.isfinite(area), np.abs(area), 0.0)


def _error(forward: Map, x: FloatArray, y: FloatArray, mapped: list[FloatArray], step: int) -> float:
    """Return the largest error of the cubic in the middles of the cells that the output uses."""
    middle = np.array([-1, 9, 9, -1]) / 16
    exact = forward(x[1:-2, 1:-2] + step / 2, y[1:-2, 1:-2] + step / 2)
    worst = 0.0
    for known, truth in zip(mapped, exact, strict=True):
        rows = sum(w * known[k : k + known.shape[0] - 3] for k, w in enumerate(middle))
        found = sum(w * rows[:, k : k + known.shape[1] - 3] for k, w in enumerate(middle))
        off = np.abs(found - truth)[np.isfinite(truth)]
        worst = max(worst, float(off.max()) if off.size else 0.0)
    return worst
