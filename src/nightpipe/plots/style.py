"""The look that all figures share, and how they are written."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK = "#1b2733"
BLUE = "#1f5fa8"
RED = "#c2402a"
GREEN = "#2b8a57"
GOLD = "#c98a12"
GREY = "#8a949e"
PALE = "#dfe5ea"
DPI = 110
"""Dots per inch of the PNGs."""

LETTER = 0.5
"""Width of a letter over the size of its font."""

_RC = {
    "font.size": 9.0,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "image.origin": "lower",
    "image.aspect": "auto",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "lines.linewidth": 0.9,
    "figure.constrained_layout.use": True,
}


def panels(
    rows: int, columns: int = 1, *, size: tuple[float, float] = (9.0, 5.0), **keywords: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes in reading order; `keywords` go to ``Figure.subplots``."""
    with mpl.rc_context(_RC):
        figure = Figure(figsize=size)
        axes = figure.subplots(rows, columns, squeeze=False, **keywords)
    return figure, [axis for row in axes for axis in row]


def added(figure: Figure, place: Any) -> Axes:
    """Return axes of the same look at a `place` of a figure's grid."""
    with mpl.rc_context(_RC):
        return figure.add_subplot(place)


def limits(data: NDArray[Any], low: float = 1.0, high: float = 99.0) -> tuple[float, float]:
    """Return display limits: percentiles of at most about 10^5 finite values."""
    values = data[np.isfinite(data)]
    if values.size == 0:
        return 0.0, 1.0
    values = values[:: max(1, values.size // 100_000)]
    bottom, top = np.percentile(values, [low, high])
    return float(bottom), float(top if top > bottom else bottom + 1.0)


def show_image(
    axis: Axes,
    data: NDArray[Any],
    *,
    title: str = "",
    cmap: str = "Greys_r",
    symmetric: bool = False,
    extent: tuple[float, float, float, float] | None = None,
) -> None:
    """Draw an image between robust limits, with a colour bar."""
    low, high = limits(data)
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    picture = axis.imshow(
        data, vmin=low, vmax=high, cmap=cmap, extent=extent, origin="lower", aspect="auto", interpolation="nearest"
    )
    axis.figure.colorbar(picture, ax=axis, pad=0.01, fraction=0.03)
    axis.set_title(title)


def _lay_out(figure: Figure) -> None:
    """Place the axes once and for all: ``savefig`` would draw a whole figure beforehand for it."""
    figure.set_dpi(DPI)
    _wrap_titles(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def _wrap_titles(figure: Figure) -> None:
    """Break titles that are wider than their axes: what stands beyond the figure's edge nobody reads."""
    for axis in figure.axes:
        width = axis.get_position().width * figure.get_figwidth() * 72
        for place in ("left", "center"):
            title = axis.get_title(loc=place)
            size = float(axis.title.get_fontsize())
            room = int(width / (LETTER * size))
            if max(map(len, title.splitlines()), default=0) > room:
                lines = (textwrap.fill(line, room) for line in title.splitlines())
                axis.set_title("\n".join(lines), loc=place, fontsize=size)


def save(figure: Figure, path: Path, *, pdf: bool = False) -> list[Path]:
    """Write the figure as PNG, and as PDF beside it on request; return the paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.with_suffix(".png")]
    _lay_out(figure)
    figure.savefig(written[0], dpi=DPI)
    if pdf:
        written.append(path.with_suffix(".pdf"))
        figure.savefig(written[1], metadata={"CreationDate": None})
    return written
