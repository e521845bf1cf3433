"""Figures of the wavelength calibration: arc with lines, residuals, two-dimensional map, flexure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nightpipe.model.frame import Frame
from nightpipe.model.wave import WaveSolution
from nightpipe.plots.style import BLUE, GOLD, GREEN, GREY, INK, RED, panels, show_image

NAMED = 8
"""Sky lines that a title names; of more it gives the number."""


def arc_fit(wave: WaveSolution, arc: Frame) -> Figure:
    """Draw the arc's spectrum on the reference row with the identified lines, and the residuals of the fit."""
    figure, (top, bottom) = panels(2, size=(11, 6), height_ratios=[2, 1], sharex=True)
    row = round(wave.y_ref)
    block = arc.data[max(row - 5, 0) : row + 6]
    spectrum = np.median(block, axis=0)
    floor = max(float(np.percentile(spectrum, 5)), 1.0)
    x = np.arange(spectrum.size)
    grid = wave.at(x, wave.y_ref)
    top.semilogy(grid, np.maximum(spectrum, floor / 3), color=INK, lw=0.7)
    lines = wave.lines
    for place, value, used in zip(lines.x, lines.wave, lines.used, strict=True):
        height = float(np.interp(place, x, spectrum))
        colour = GREEN if used else GREY
        top.annotate(
            f"{value:.1f}", (value, max(height, floor)), (0, 4), textcoords="offset points", rotation=90,
            ha="center", va="bottom", fontsize=6, color=colour,
        )  # fmt: skip
    top.set(ylabel=f"arc [{arc.unit}]", title=_title(wave))
    top.set_ylim(top=float(spectrum.max()) * 6)
    for used, colour, label in ((True, GREEN, "used"), (False, GREY, "not used")):
        select = lines.used == used
        bottom.errorbar(
            lines.wave[select], lines.residual[select], lines.x_err[select], fmt="o", ms=3, color=colour, label=label
        )
    bottom.axhline(0, color=INK, lw=0.6)
    bottom.set(xlabel="vacuum wavelength [A]", ylabel="residual [pixel]")
    spread = max(5 * wave.rms_px, 0.1) if np.isfinite(wave.rms_px) else 1.0
    bottom.set_ylim(-spread, spread)
    bottom.legend(ncol=2)
    return figure


def _title(wave: WaveSolution) -> str:
    used = int(wave.lines.used.sum())
    return (
        f"{'+'.join(wave.lamps) or wave.source}: {used} lines, order {wave.order}, rms {wave.rms_px:.3f} px, "
        f"leave-one-out {wave.loo_px:.3f} px, coverage {100 * wave.coverage:.0f}%"
    )


def wave_map(wave: WaveSolution) -> Figure:
    """Draw how lines of equal wavelength bend over the slit: the map minus the reference row, in pixels."""
    figure, (axis,) = panels(1, size=(10, 3.5))
    table = wave.map()
    reference = table[round(wave.y_ref)]
    dispersion = np.gradient(reference)
    show_image(axis, (table - reference) / dispersion, cmap="RdBu_r", symmetric=True)
    axis.contour(table, levels=np.arange(3000, 26000, 500), colors=INK, linewidths=0.4)
    axis.set(
        xlabel="x [pixel]",
        ylabel="y [pixel]",
        title=f"tilt and curvature [pixel], contours each 500 A, map rms {wave.map_rms_px:.3f} px",
    )
    return figure


def flexure(wave: WaveSolution) -> Figure:
    """Draw the exposure's shift along the slit at three places of the dispersion, with its error band."""
    figure, (axis,) = panels(1, size=(8, 3.2))
    ny, nx = wave.shape
    y = np.linspace(0, ny - 1, 100)
    if wave.warp is None:
        axis.text(0.5, 0.5, "no sky line could be measured: no correction", transform=axis.transAxes, ha="center")
        return figure
    for fraction, colour in ((0.3, BLUE), (0.6, GREEN), (0.9, RED)):
        x = np.full_like(y, fraction * nx)
        shift, sigma = wave.warp.along(x, y), wave.warp.along.sigma(x, y)
        axis.plot(y, shift, color=colour, label=f"x = {x[0]:.0f} ({wave.poly(x[0], ny / 2):.0f} A)")
        axis.fill_between(y, shift - sigma, shift + sigma, color=colour, alpha=0.2, lw=0)
    axis.axhline(0, color=GREY, lw=0.6)
    axis.set(
        xlabel="y along the slit [pixel]", ylabel="shift [pixel]", title=f"flexure from {_named(wave.warp.lines)} A"
    )
    axis.legend()
    return figure


def _named(lines: Sequence[float]) -> str:
    """Return which sky lines there are, or between which wavelengths so many of them lie."""
    if len(lines) > NAMED:
        return f"{len(lines)} sky lines, {min(lines):.0f} to {max(lines):.0f}"
    return "sky lines " + ", ".join(f"{line:.0f}" for line in lines)


def offsets(rows: list[dict[str, float]]) -> Figure:
    """Draw the measured offsets of sky lines from their true wavelengths, by slit position [Angstrom]."""
    figure, (axis,) = panels(1, size=(8, 3.2))
    for line, colour in zip(sorted({row["line"] for row in rows}), (BLUE, RED, GREEN, GOLD, INK, GREY), strict=False):
        chosen = [row for row in rows if row["line"] == line]
        axis.errorbar(
            [row["y"] for row in chosen], [row["offset"] for row in chosen], [row["sigma"] for row in chosen],
            fmt="o-", ms=3, color=colour, label=f"{line:.1f}",
        )  # fmt: skip
    axis.axhspan(-0.2, 0.2, color=GREY, alpha=0.15, lw=0)
    axis.set(xlabel="y along the slit [pixel]", ylabel="offset [A]", title="sky lines after the flexure correction")
    if rows:
        axis.legend(ncol=4, fontsize=7)
    return figure
