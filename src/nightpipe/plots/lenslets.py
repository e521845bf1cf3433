"""Figures of a lenslet unit's calibrations and cubes: geometry, wavelengths, response, flexure, the field."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nightpipe.model.cube import Cube, SpaxelSpectra
from nightpipe.model.frame import Frame
from nightpipe.model.spaxels import Spaxel, SpaxelFlat, SpaxelSet, SpaxelWaves
from nightpipe.model.warp import Warp
from nightpipe.plots.hexagons import hexmap
from nightpipe.plots.style import BLUE, GOLD, GREY, INK, PALE, RED, limits, panels

FloatArray = NDArray[np.float64]
COLOURS = {Spaxel.MEASURED: BLUE, Spaxel.REPAIRED: GOLD, Spaxel.DEAD: RED}
SKY_LINES = ((5462.3, "Hg"), (5578.9, "[O I]"), (5894.6, "Na"), (6302.0, "[O I]"), (7620.0, "O2 A"))


def geometry(dome: Frame, spaxels: SpaxelSet) -> Figure:
    """Draw the spectra over the dome's light, measured, repaired and dead ones apart, with the middle enlarged."""
    figure, (whole, near) = panels(1, 2, size=(13, 6.3))
    low, high = limits(dome.data, 5.0, 99.7)
    for axis in (whole, near):
        axis.imshow(dome.data, vmin=low, vmax=high, cmap="Greys_r", origin="lower", interpolation="nearest")
        axis.set(xlabel="x [pixel], wavelength grows", ylabel="y [pixel]")
    every = max(1, len(spaxels) // 400)
    for k in range(len(spaxels)):
        state = Spaxel(int(spaxels.state[k]))
        columns = np.linspace(spaxels.span[k, 0], spaxels.span[k, 1], 12)
        rows = spaxels.row(k, columns)
        if k % every == 0 or state is not Spaxel.MEASURED:
            whole.plot(columns, rows, color=COLOURS[state], lw=0.5)
        near.plot(columns, rows, color=COLOURS[state], lw=0.7)
    ny, nx = dome.shape
    whole.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5), title=_counted(spaxels))
    near.set(xlim=(nx / 2 - 170, nx / 2 + 170), ylim=(ny / 2 - 70, ny / 2 + 70), title="the middle")
    near.set_aspect("auto")
    for state, colour in COLOURS.items():
        whole.plot([], [], color=colour, label=state.name.lower())
    whole.legend(loc="upper right", fontsize=7, facecolor="white", frameon=True)
    return figure


def _counted(spaxels: SpaxelSet) -> str:
    counts = {state: int((spaxels.state == state).sum()) for state in Spaxel}
    return f"{len(spaxels)} lenslets: " + ", ".join(f"{counts[state]} {state.name.lower()}" for state in Spaxel)


def dispersion_map(waves: SpaxelWaves, spaxels: SpaxelSet) -> Figure:
    """Draw each lenslet's residual scatter [Angstrom], its distribution, and the residuals line by line."""
    figure, (field, spread, lines) = panels(1, 3, size=(14, 4.8), width_ratios=[1.2, 0.9, 1.3])
    known = np.isfinite(waves.rms) & (waves.used > 0)
    rms = np.where(known, waves.rms, np.nan)
    top = max(float(np.nanpercentile(rms, 98)), 0.1) if known.any() else 1.0
    hexmap(
        field,
        spaxels.east,
        spaxels.north,
        rms,
        span=(0.0, top),
        label="rms [A]",
        title="scatter of single lines, noise in it",
    )
    smooth = waves.smooth & np.isfinite(spaxels.east)
    field.plot(spaxels.east[smooth], spaxels.north[smooth], "x", ms=3, color=RED)
    spread.hist(np.clip(rms[known], 0, top), bins=40, color=BLUE)
    middle = float(np.nanmedian(rms)) if known.any() else float("nan")
    spread.set(xlabel="rms of a lenslet [A]", ylabel="lenslets",
               title=f"median {middle:.2f} A; {int(waves.smooth.sum())} from the surface alone")  # fmt: skip
    _by_line(lines, waves)
    return figure


def _by_line(axis: Axes, waves: SpaxelWaves) -> None:
    """Draw the residuals [pixel] of each line over all lenslets: median and central two thirds."""
    for line, residual in zip(waves.line_wave, waves.residual.T, strict=True):
        seen = residual[np.isfinite(residual)]
        if seen.size:
            low, middle, high = np.percentile(seen, [16, 50, 84])
            axis.plot([line, line], [low, high], color=BLUE, lw=1.4)
            axis.plot(line, middle, "o", ms=3.5, color=INK)
    axis.axhline(0.0, color=GREY, lw=0.6)
    for edge in waves.range:
        axis.axvline(edge, color=GOLD, lw=0.8, ls=":")
    axis.set(xlabel="vacuum wavelength [A]", ylabel="measured minus fitted [pixel]",
             title=f"lines of {', '.join(waves.lamps)}; beyond the dots it is extrapolated")  # fmt: skip


def flat_map(flat: SpaxelFlat, spaxels: SpaxelSet) -> Figure:
    """Draw the lenslets' response at three wavelengths."""
    figure, axes = panels(1, 3, size=(14, 4.6))
    for axis, wave in zip(axes, (4500.0, 6500.0, 8500.0), strict=True):
        values = flat.values[:, int(np.argmin(np.abs(flat.wave - wave)))]
        alive = np.where(values > 0, values, np.nan)
        hexmap(axis, spaxels.east, spaxels.north, alive, label="response", title=f"{wave:.0f} A")
    return figure


def flexure(warp: Warp, spaxels: SpaxelSet, spectra: SpaxelSpectra) -> Figure:
    """Draw how far the light has moved over the detector, and the sky's lines as they then lie."""
    figure, (field, sky) = panels(1, 2, size=(13, 4.6), width_ratios=[0.8, 1.5])
    pick = slice(None, None, max(1, len(spaxels) // 90))
    x = spaxels.x[pick]
    y = spaxels.centre[pick, 0]
    dx, dy = warp.at(x, y)
    arrows = field.quiver(x, y, dx, dy, color=BLUE if warp.accepted else GREY, width=0.003)
    field.quiverkey(arrows, 0.84, -0.1, 0.5, "0.5 pixel", labelpos="E", coordinates="axes", fontproperties={"size": 7})
    field.set(xlabel="x [pixel]", ylabel="y [pixel]")
    field.set_title(_told(warp), fontsize=8)
    wave, level = _sky(spectra)
    sky.plot(wave, level, color=INK, drawstyle="steps-mid", lw=0.8)
    for line in warp.lines:
        sky.axvline(line, color=BLUE, lw=0.7, ls=":")
    for number, (line, name) in enumerate(SKY_LINES):  # above the frame, in turns, for two stand 120 Angstrom apart
        place = line, 0.99 - 0.045 * (number % 2)
        sky.annotate(name, place, xycoords=("data", "axes fraction"), fontsize=7, color=GREY, ha="center", va="top")
    sky.set(xlabel="vacuum wavelength [A]", ylabel=f"sky [{spectra.unit}/A per lenslet]",
            title="sky of the fainter lenslets, and the lines that the shift is from")  # fmt: skip
    return figure


def _told(warp: Warp) -> str:
    (dx, ex), (dy, ey), (turn, _) = warp.told()
    verdict = "" if warp.accepted else "  NOT ACCEPTED"
    return f"dx {dx:+.3f} +- {ex:.3f}, dy {dy:+.3f} +- {ey:.3f} pixel, turn {1e5 * turn:+.1f}e-5 radian{verdict}"


def _sky(spectra: SpaxelSpectra, step: float = 6.0) -> tuple[FloatArray, FloatArray]:
    """Return wavelength and the median over the fainter half of the lenslets of what an Angstrom holds."""
    good = spectra.good
    density = np.where(good, spectra.flux / spectra.step, np.nan)
    total = np.nansum(np.where(good, spectra.flux, 0.0), axis=1) / np.maximum(good.sum(axis=1), 1)
    lit = good.any(axis=1)
    faint = lit & (total <= np.median(total[lit])) if lit.any() else lit
    grid = np.arange(3700.0, 9300.0, step)
    place = np.floor((spectra.wave[faint][good[faint]] - grid[0]) / step).astype(np.int64)
    values = density[faint][good[faint]]
    order = np.argsort(place, kind="stable")
    place, values = place[order], values[order]
    cuts = np.searchsorted(place, np.arange(grid.size + 1))
    level = [np.median(values[a:b]) if b - a > 5 else np.nan for a, b in pairwise(cuts)]
    return grid + step / 2.0, np.array(level)


def field(cube: Cube, *, band: tuple[float, float] = (5000.0, 8000.0)) -> Figure:
    """Draw what a cube shows: the light of a broad band lenslet by lenslet, and the mean spectrum."""
    figure, (image, spectrum) = panels(1, 2, size=(13, 5.0), width_ratios=[1.0, 1.5])
    hexmap(image, cube.east, cube.north, band_light(cube, band), cmap="magma", label=cube.unit,
           title=f"{band[0]:.0f} to {band[1]:.0f} A")  # fmt: skip
    good = cube.var > 0
    mean = np.where(good, cube.flux, 0.0).sum(axis=1) / np.maximum(good.sum(axis=1), 1)
    spectrum.plot(cube.wave, mean, color=BLUE, drawstyle="steps-mid", lw=0.8)
    spectrum.axhline(0.0, color=PALE, lw=0.6)
    spectrum.set(xlabel="vacuum wavelength [A]", ylabel=f"mean of all lenslets [{cube.unit}]")
    return figure


def band_light(cube: Cube, band: tuple[float, float]) -> FloatArray:
    """Return the mean of each lenslet over a band; NaN where less than a quarter of it was measured.

    Where the detector's edge cuts a spectrum, what the field shows there stands for it: else its part of a sky that
    changes with wavelength would look dark or bright.
    """
    inside = (cube.wave >= band[0]) & (cube.wave <= band[1])
    good = cube.var[inside] > 0
    usual = [np.median(row[seen]) if seen.any() else 0.0 for row, seen in zip(cube.flux[inside], good, strict=True)]
    light = np.where(good, cube.flux[inside], np.array(usual)[:, None]).mean(axis=0, dtype=np.float64)
    return np.asarray(np.where(good.mean(axis=0) > 0.25, light, np.nan))
