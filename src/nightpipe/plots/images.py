"""Figures of images of the sky: a stack with its bearings, its sources, the flats that served, the weather."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.selection import Selection
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Wcs
from nightpipe.plots.style import BLUE, GOLD, GREEN, GREY, INK, RED, limits, panels

FloatArray = NDArray[np.float64]
MOST = 900
"""Pixels along a side that a figure shows; larger images are averaged in blocks."""
COLOURS = (BLUE, RED, GREEN, GOLD, INK, GREY)


@dataclass(frozen=True)
class Look:
    """What one image tells of the weather: `mjd` at mid-exposure, `seeing` [arcsec], `sky` [electron/s per pixel],
    `depth` [mag] of a star at 5 sigma, `transparency` against the best image of its field; nan: not known.
    """

    mjd: float
    camera: str
    seeing: float
    sky: float
    depth: float = float("nan")
    transparency: float = float("nan")


def field(stack: Stack) -> Figure:
    """Draw a stack with a scale bar and the directions of north and east; beside it how many frames each pixel has."""
    figure, (image, count) = panels(1, 2, size=(11.5, 5.6), width_ratios=[1.25, 1])
    _sky(image, stack)
    many = len(stack.frames)
    image.set_title(f"{many} frame{'s' if many != 1 else ''}, {stack.exptime:g} s")
    small = _thin(stack.count, np.ones(stack.count.shape, np.bool_))
    picture = count.imshow(small, cmap="Blues", vmin=0, extent=_extent(stack.count), origin="lower", aspect="equal")
    count.figure.colorbar(picture, ax=count, pad=0.01, fraction=0.04)
    count.set(xlabel="x [pixel]", title="frames in each pixel")
    return figure


def detected(stack: Stack, sources: Sources) -> Figure:
    """Draw a stack with its sources; those with a quality bit (blended, at the edge, saturated, extended) in gold."""
    figure, (axis,) = panels(1, size=(8, 7.4))
    _sky(axis, stack)
    sound = sources.quality == 0
    for use, colour, name in ((sound, GREEN, "sound"), (~sound, GOLD, "with a quality bit")):
        label = f"{int(use.sum())} {name}"
        axis.scatter(sources.x[use], sources.y[use], s=36, facecolors="none", edgecolors=colour, lw=0.8, label=label)
    axis.legend(loc="upper right", frameon=True)
    axis.set_title(f"{len(sources)} sources")
    return figure


def _sky(axis: Axes, stack: Stack) -> None:
    """Show the stack dark on white, missing pixels pale, between the sky and the brighter stars."""
    seen = (stack.count > 0) & ((stack.mask & np.uint32(Flag.NO_DATA)) == 0) & np.isfinite(stack.data)
    small = _thin(stack.data, seen)
    low, high = limits(small, 2, 99.6)
    axis.set_facecolor("#e9eef3")
    axis.imshow(
        small, vmin=low, vmax=high, cmap="Greys", extent=_extent(stack.data), origin="lower", aspect="equal",
        interpolation="nearest",
    )  # fmt: skip
    axis.set(xlabel="x [pixel]", ylabel="y [pixel]")
    _bearings(axis, stack.wcs, stack.data.shape)


def _bearings(axis: Axes, wcs: Wcs, shape: tuple[int, ...]) -> None:
    """Draw a bar of a round number of arcsec or arcmin, and arrows to north and east."""
    ny, nx = shape
    length, name = _round(0.2 * nx * wcs.scale)
    x, y = 0.04 * nx, 0.04 * ny
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    axis.plot([x, x + length / wcs.scale], [y, y], color=RED, lw=2.2, solid_capstyle="butt")
    axis.text(x, y + 0.015 * ny, name, color=RED, va="bottom", bbox=box)
    corner = np.array([0.86 * nx, 0.12 * ny])
    for direction, vector in zip("NE", _compass(wcs, shape), strict=True):
        tip = corner + 0.09 * min(nx, ny) * vector
        axis.annotate(
            "", (tip[0], tip[1]), (corner[0], corner[1]), arrowprops={"arrowstyle": "-|>", "color": RED, "lw": 1.2}
        )
        end = corner + 0.115 * min(nx, ny) * vector
        axis.text(float(end[0]), float(end[1]), direction, color=RED, ha="center", va="center", bbox=box)


def _compass(wcs: Wcs, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Return the unit vectors (x, y) on the image to north and to east at its centre."""
    ny, nx = shape
    centre = np.array([(nx - 1) / 2, (ny - 1) / 2])
    ra, dec = (float(value) for value in wcs.to_sky(*centre))
    step = 10 * wcs.scale / 3600
    up = np.array(wcs.to_pixel(ra, dec + step), dtype=np.float64) - centre
    east = np.array(wcs.to_pixel(ra + step / max(np.cos(np.radians(dec)), 1e-3), dec), dtype=np.float64) - centre
    return up / np.hypot(*up), east / np.hypot(*east)


def _round(arcsec: float) -> tuple[float, str]:
    """Return the largest round length of at most `arcsec`, and its name."""
    known = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000]
    length = max((one for one in known if one <= arcsec), default=arcsec)
    if length >= 3600:
        return length, f"{length / 3600:g} deg"
    return length, f"{length / 60:g} arcmin" if length >= 60 else f"{length:g} arcsec"


def _extent(image: NDArray[np.generic]) -> tuple[float, float, float, float]:
    ny, nx = image.shape
    return (-0.5, nx - 0.5, -0.5, ny - 0.5)


def _thin(image: NDArray[np.generic], good: NDArray[np.bool_]) -> FloatArray:
    """Return the means of the good pixels of blocks, nan where a block has none; at most `MOST` along a side."""
    size = -(-max(image.shape) // MOST)
    if size == 1:
        return np.where(good, image, np.nan).astype(np.float64)
    edges = [np.arange(0, n, size) for n in image.shape]

    def total(values: NDArray[np.generic]) -> FloatArray:
        return np.asarray(np.add.reduceat(np.add.reduceat(values, edges[0], axis=0), edges[1], axis=1), np.float64)

    number = total(good.astype(np.float32))
    light = total(np.where(good, image, 0).astype(np.float32))
    return np.divide(light, number, where=number > 0, out=np.full(number.shape, np.nan))


def flat(response: Frame) -> Figure:
    """Draw a master flat of an imager: the response of the pixels, and how it is distributed."""
    figure, (image, spread) = panels(1, 2, size=(10.5, 4.6), width_ratios=[1.25, 1])
    small = _thin(response.data, response.good)
    low, high = limits(small, 0.5, 99.5)
    picture = image.imshow(
        small, vmin=low, vmax=high, cmap="Greys_r", extent=_extent(response.data), origin="lower", aspect="equal"
    )
    image.figure.colorbar(picture, ax=image, pad=0.01, fraction=0.04)
    image.set(title="response", xlabel="x [pixel]", ylabel="y [pixel]")
    values = response.data[response.good]
    if values.size:
        low, high = limits(values, 0.1, 99.9)
        spread.hist(values, bins=np.linspace(low, high, 101).tolist(), color=BLUE, alpha=0.8)
    bad = 1.0 - float(np.mean(response.good))
    spread.set(xlabel="response", ylabel="pixels", yscale="log", title=f"{bad:.2%} of the pixels do not serve")
    return figure


def selection(judged: Selection, bounds: tuple[float, float] = (np.nan, np.nan)) -> Figure:
    """Draw the flats that were judged: each small, and their levels; `bounds` are the levels between which they serve.

    Frames over their medians, all between the same limits; green serves, red does not, and says why.
    """
    count, across = len(judged.names), 9
    rows = -(-count // across)
    figure = Figure(figsize=(11, 1.55 * rows + 3.0), layout="constrained")
    top, bottom = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=[1.55 * rows, 2.8])))
    cells = np.ravel(top.subplots(rows, across, squeeze=False))
    taken = [k for k, reason in enumerate(judged.reasons) if not reason]
    low, high = limits(judged.thumbnails[taken] if taken else judged.thumbnails, 0.5, 99.5)
    for k, cell in enumerate(cells):
        cell.set(xticks=[], yticks=[])
        if k >= count:
            cell.set_axis_off()
            continue
        reason = judged.reasons[k]
        colour = RED if reason else GREEN
        cell.imshow(judged.thumbnails[k], vmin=low, vmax=high, cmap="Greys_r", origin="lower", interpolation="nearest")
        cell.set_title(f"{k + 1}: {reason.split(':')[0] or 'serves'}", fontsize=7, color=colour)
        for edge in cell.spines.values():
            edge.set(color=colour, linewidth=1.8)
    _levels(bottom.subplots(), judged, bounds)
    return figure


def _levels(axis: Axes, judged: Selection, bounds: tuple[float, float]) -> None:
    number = np.arange(len(judged.names)) + 1
    colours = [RED if reason else GREEN for reason in judged.reasons]
    axis.bar(number, judged.level, color=colours, width=0.7)
    for bound in bounds:
        if np.isfinite(bound):
            axis.axhline(bound, color=GREY, lw=0.8, ls="--")
    axis.set_xticks(number, judged.names, rotation=60, ha="right", fontsize=6)
    axis.tick_params(axis="y", labelsize=8)
    serve = sum(not reason for reason in judged.reasons)
    axis.set_title(f"{serve} of {len(number)} serve", loc="left", fontsize=10)
    axis.set_ylabel("level / full scale", fontsize=9)
    axis.set_ylim(0, 1.05)
    axis.spines[["top", "right"]].set_visible(False)


ROWS = (
    ("seeing", "seeing [arcsec]"), ("sky", "sky [electron/s/pixel]"), ("depth", "depth, 5 sigma [mag]"),
    ("transparency", "transparency"),
)  # fmt: skip
"""What is shown of the weather."""


def weather(looks: Sequence[Look]) -> Figure:
    """Draw seeing, sky and, where zero points tell them, depth and transparency over the night, by camera and filter.

    Images of several nights stand side by side, whatever lies between them.
    """
    rows = [row for row in ROWS if np.isfinite([getattr(one, row[0]) for one in looks]).any()] or list(ROWS[:2])
    figure, axes = panels(len(rows), size=(9, 1.2 + 1.9 * len(rows)), sharex=True)
    place, label = _times([one.mjd for one in looks])
    for number, camera in enumerate(sorted({one.camera for one in looks})):
        mine = [k for k, one in enumerate(looks) if one.camera == camera]
        for axis, (name, _) in zip(axes, rows, strict=True):
            series = [getattr(looks[k], name) for k in mine]
            axis.plot(place[mine], series, "o", ms=4, color=COLOURS[number % len(COLOURS)], label=camera or "images")
    for axis, (name, title) in zip(axes, rows, strict=True):
        axis.set_ylabel(title)
        if name != "depth":
            axis.set_ylim(0, 1.1 if name == "transparency" else None)
    axes[0].set_title(f"{len(looks)} images")
    axes[-1].set_xlabel(label)
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _times(mjd: Sequence[float]) -> tuple[FloatArray, str]:
    """Return the hours after midnight UTC, or the rank where the images span more than a day; and what that is."""
    times = np.asarray(mjd, dtype=np.float64)
    if float(np.ptp(times)) < 1.0:
        midnight = np.round(float(times.mean()))
        return 24 * (times - midnight), f"hours from midnight UTC, MJD {midnight:.0f}"
    return np.argsort(np.argsort(times)).astype(np.float64) + 1, "images in order of time"
