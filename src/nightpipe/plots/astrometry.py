"""Figures of plate solutions: residuals over the field and by axis, and the stars that matched."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nightpipe.model.sources import Sources
from nightpipe.model.wcs import Alignment, Astrometry
from nightpipe.plots.style import BLUE, GREEN, GREY, RED, panels, show_image


def residuals(solution: Astrometry, shape: tuple[int, int]) -> Figure:
    """Draw the residuals of a solution of an image of `shape`: vectors over the field, and a histogram of each axis."""
    figure, (field, along, across) = panels(1, 3, size=(11, 4.2), width_ratios=[1.3, 1, 1])
    dx, dy = solution.pairs[:, 4], solution.pairs[:, 5]
    _vectors(field, solution, shape)
    limit = float(np.percentile(np.abs(solution.pairs[:, 4:6]), 99)) if dx.size else 1.0
    bins = np.linspace(-limit, limit, 31).tolist()
    for axis, values, rms, name in ((along, dx, solution.rms[0], "ra cos dec"), (across, dy, solution.rms[1], "dec")):
        axis.hist(values, bins=bins, color=BLUE, alpha=0.8)
        axis.axvline(0, color=GREY, lw=0.6)
        axis.set(xlabel=f"residual along {name} [arcsec]", ylabel="stars", title=f"rms {1e3 * rms:.1f} mas")
    return figure


def _vectors(axis: Axes, solution: Astrometry, shape: tuple[int, int]) -> None:
    """Draw residuals in pixels on the image, enlarged alike so that the typical one is visible."""
    pairs = solution.pairs[:1500]
    (a, b), (c, d) = solution.wcs.cd
    inverse = np.linalg.inv(np.array([[a, b], [c, d]]))
    du, dv = inverse @ (pairs[:, 4:6].T / 3600)
    typical = float(np.median(np.hypot(du, dv))) if len(pairs) else 0.0
    grow = 0.03 * max(shape) / typical if typical > 0 else 1.0
    axis.quiver(pairs[:, 0], pairs[:, 1], grow * du, grow * dv, angles="xy", scale_units="xy", scale=1, width=0.002,
                color=RED)  # fmt: skip
    size = float(np.median(np.hypot(pairs[:, 4], pairs[:, 5]))) if len(pairs) else 0.0
    title = f"{solution.method}, {solution.matches} stars; median {1e3 * size:.0f} mas"
    axis.set(
        xlim=(0, shape[1]), ylim=(0, shape[0]), aspect="equal", xlabel="x [pixel]", ylabel="y [pixel]", title=title
    )


def matches(solution: Astrometry, image: NDArray[np.float32], sources: Sources) -> Figure:
    """Draw an image with all its sources and those that match the catalogue, at the catalogue's places."""
    figure, (axis,) = panels(1, size=(7, 6.6))
    show_image(axis, image, title=f"{solution.matches} of {len(sources)} sources match {solution.catalogue}")
    axis.scatter(sources.x, sources.y, s=28, facecolors="none", edgecolors=RED, linewidths=0.5, label="sources")
    x, y = solution.wcs.to_pixel(solution.pairs[:, 2], solution.pairs[:, 3])
    axis.scatter(x, y, s=60, marker="s", facecolors="none", edgecolors=GREEN, linewidths=0.6, label="catalogue")
    ny, nx = image.shape
    axis.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5), aspect="equal", xlabel="x [pixel]", ylabel="y [pixel]")
    axis.legend(loc="upper right", frameon=True)
    return figure


def alignment(found: Alignment, shape: tuple[int, int]) -> Figure:
    """Draw the dithers of a joint fit: the frames' shifts, and the scatter of their stars."""
    figure, (place, scatter) = panels(1, 2, size=(9, 4))
    number = np.arange(len(found.solutions)) + 1
    place.plot(found.shifts[:, 0], found.shifts[:, 1], color=GREY, lw=0.6)
    place.scatter(found.shifts[:, 0], found.shifts[:, 1], color=BLUE, s=18)
    for n, (x, y) in zip(number, found.shifts, strict=True):
        if np.isfinite(x):
            place.annotate(str(n), (x, y), xytext=(3, 3), textcoords="offset points")
    place.set(xlabel="shift in x [pixel]", ylabel="shift in y [pixel]", title=f"frames of {shape[1]} x {shape[0]}")
    for k, (name, colour) in enumerate((("ra cos dec", BLUE), ("dec", RED))):
        values = [np.nan if one is None else 1e3 * one.rms[k] for one in found.solutions]
        scatter.plot(number, values, "o", color=colour, label=name, ms=4)
    scatter.set(xlabel="frame", ylabel="stars about their means [mas]", ylim=(0, None))
    scatter.legend()
    return figure
