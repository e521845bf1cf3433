"""Maps of a field of hexagonal lenslets on the sky: east to the left, north up."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from numpy.typing import NDArray

from nightpipe.plots.style import INK, limits

FloatArray = NDArray[np.float64]
PITCH = 0.635
TURN = 103.0


def corners(east: FloatArray, north: FloatArray, pitch: float = PITCH, turn: float = TURN) -> FloatArray:
    """Return the corners (n, 6, 2) [arcsec] of hexagons that touch their neighbours, `pitch` [arcsec] apart."""
    angle = np.radians(turn + 30.0 + 60.0 * np.arange(6))
    shape = pitch / np.sqrt(3.0) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.asarray(np.stack([east, north], axis=1)[:, None, :] + shape)


def hexmap(
    axis: Axes,
    east: FloatArray,
    north: FloatArray,
    values: FloatArray,
    *,
    cmap: str = "viridis",
    span: tuple[float, float] | None = None,
    label: str = "",
    title: str = "",
) -> Any:
    """Draw `values` (n,) as coloured hexagons; what is no number stays white. Returns the picture."""
    finite = np.isfinite(values)
    low, high = span or limits(values[finite])
    hexagons = PolyCollection(list(corners(east, north)[finite]), cmap=cmap, edgecolors="face", linewidths=0.2)
    hexagons.set_array(values[finite])
    hexagons.set_clim(low, high)
    axis.add_collection(hexagons)
    reach = float(np.max(np.abs(np.concatenate([east, north])))) + 1.0 if east.size else 1.0
    axis.set(xlim=(reach, -reach), ylim=(-reach, reach), aspect="equal", title=title)
    axis.set(xlabel="east [arcsec]", ylabel="north [arcsec]")
    if label:
        axis.figure.colorbar(hexagons, ax=axis, pad=0.01, fraction=0.045, label=label)
    return hexagons


def outline(axis: Axes, east: FloatArray, north: FloatArray, colour: str = INK, width: float = 0.4) -> None:
    """Draw the edges of hexagons, such as those that an extraction used."""
    axis.add_collection(PolyCollection(list(corners(east, north)), facecolors="none", edgecolors=colour, lw=width))
