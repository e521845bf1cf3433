"""Figures of imaging: zero points, the point-spread function, light curves, and the night's sky."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nightpipe.kernels.psf import Grid, values
from nightpipe.model.frame import Frame
from nightpipe.model.sources import LightCurve, Psf, Sources, ZeroPoint
from nightpipe.model.stack import Stack
from nightpipe.plots.style import BLUE, GOLD, GREEN, GREY, INK, RED, panels, show_image

FloatArray = NDArray[np.float64]
BANDS = {"u": "#6a4fb3", "g": GREEN, "r": RED, "i": GOLD, "z": INK, "J": BLUE, "H": "#8a4b2d", "K": "#b3407a"}
"""Colours of bands; others are grey."""
PALE_BLUE = "#a9c3de"


def zero_point(found: ZeroPoint, sources: Sources) -> Figure:
    """Draw what each star says of the zero point against its magnitude and its colour; rejected stars are open.

    `sources` are those the zero point was fitted on. The left panel has the colour term taken off, the right one shows
    it as a line.
    """
    figure, axes = panels(1, 2, size=(10, 4), sharey=True)
    table = found.used if found.used.ndim == 2 else np.zeros((0, 5))
    offset, error, colour, kept = table[:, 1], table[:, 2], table[:, 3], table[:, 4] > 0
    mag = offset - 2.5 * np.log10(sources.flux[table[:, 0].astype(np.int64)])
    slope = found.colour_term * (colour - found.colour_zero)
    for axis, place, value in ((axes[0], mag, offset - found.zp - slope), (axes[1], colour, offset - found.zp)):
        _stars(axis, place, value, error, kept)
    if len(colour):
        ends = np.array([colour.min(), colour.max()])
        axes[1].plot(ends, found.colour_term * (ends - found.colour_zero), color=INK, lw=0.8)
    spread = 6 * found.scatter if np.isfinite(found.scatter) and found.scatter > 0 else 0.3
    axes[0].set_ylim(-spread, spread)
    axes[0].set(xlabel=f"{found.band} of {found.catalogue}", ylabel="zero point of a star - fit [mag]",
                title=f"{found.band} {found.zp:.3f} +- {found.error:.3f} ({found.system}), {found.stars} stars, "
                f"scatter {found.scatter:.3f}")  # fmt: skip
    term = f"colour term {found.colour_term:+.3f} +- {found.colour_term_error:.3f}"
    axes[1].set(xlabel=f"{found.colour or 'no colour'} [mag]", title=term)
    axes[0].legend(loc="upper left")
    return figure


def _stars(axis: Axes, x: FloatArray, y: FloatArray, error: FloatArray, kept: NDArray[np.bool_]) -> None:
    for which, colour, face, label in ((kept, BLUE, BLUE, "used"), (~kept, RED, "none", "rejected")):
        text = f"{label}: {np.count_nonzero(which)}"
        axis.errorbar(x[which], y[which], error[which], fmt="o", ms=3, color=colour, mfc=face, elinewidth=0.4,
                      label=text)  # fmt: skip
    axis.axhline(0, color=GREY, lw=0.6)


def point_spread(psf: Psf, frame: Frame | Stack | None = None, sources: Sources | None = None) -> Figure:
    """Draw the PSF at the centre, its profile there and in the corners, and the curve of growth.

    With the image and its sources: also what the brightest clean stars leave over, by radius.
    """
    figure, (image, profile, rest, growth) = panels(1, 4, size=(15, 3.7))
    grid, reach = Grid(psf.basis, psf.oversampling, psf.degree, psf.shape), 3.0 * psf.fwhm
    ny, nx = psf.shape
    axis = np.linspace(-reach, reach, 121)
    dy, dx = np.meshgrid(axis, axis, indexing="ij")
    plane = values(grid, (nx - 1) / 2, (ny - 1) / 2, dx, dy)
    peak = float(plane.max())
    show_image(image, np.log10(np.maximum(plane / peak, 1e-3)), extent=(-reach, reach, -reach, reach))
    image.set(
        title=f"log PSF: FWHM {psf.fwhm:.2f} px, ellipticity {psf.ellipticity:.2f}", xlabel="x [pixel]", aspect="equal"
    )
    _profiles(profile, grid, psf, reach)
    _leftover(rest, grid, psf, frame, sources)
    inside = psf.growth[:, 0] < 8 * psf.fwhm
    growth.plot(*psf.growth[inside].T, color=BLUE)
    growth.axhline(1, color=GREY, lw=0.6)
    growth.axvline(psf.fwhm, color=GREY, lw=0.6, ls=":")
    growth.set(xlabel="radius [pixel]", ylabel="share of the light", ylim=(0, 1.05), title="curve of growth")
    return figure


def _profiles(axis: Axes, grid: Grid, psf: Psf, reach: float) -> None:
    """Draw the mean radial profiles at the centre and in the corners."""
    ny, nx = psf.shape
    r, angle = np.linspace(0, reach, 60), np.linspace(0, 2 * np.pi, 24, endpoint=False)
    dx, dy = r[:, None] * np.cos(angle), r[:, None] * np.sin(angle)
    for u, v, colour, label in ((0.5, 0.5, INK, "centre"), (0, 0, BLUE, "lower left"), (1, 0, RED, "lower right"),
                                (0, 1, GREEN, "upper left"), (1, 1, GOLD, "upper right")):  # fmt: skip
        light = values(grid, u * (nx - 1), v * (ny - 1), dx, dy).mean(axis=1)
        axis.semilogy(r, np.maximum(light, 1e-7), color=colour, lw=0.8, label=label)
    axis.set(xlabel="radius [pixel]", ylabel="share of the light per pixel", ylim=(1e-5, None),
             title=f"{psf.stars} stars, degree {psf.degree}")  # fmt: skip
    axis.legend()


def _leftover(axis: Axes, grid: Grid, psf: Psf, frame: Frame | Stack | None, sources: Sources | None) -> None:
    """Draw what bright clean stars leave over, in per cent of the PSF's peak, with its medians by radius."""
    axis.axhline(0, color=GREY, lw=0.6)
    axis.set(xlabel="radius [pixel]", ylabel="star - PSF [% of the peak]", title=f"residuals, chi {psf.chi:.2f}")
    if frame is None or sources is None:
        axis.text(0.5, 0.6, "the stars were not given", transform=axis.transAxes, ha="center")
        return
    clean = np.flatnonzero((sources.quality == 0) & (sources.flux > 30 * sources.flux_error))[:40]
    parts = [_star_rest(grid, psf, frame, sources, int(star)) for star in clean]
    if not parts:
        axis.text(0.5, 0.6, "no bright clean star", transform=axis.transAxes, ha="center")
        return
    r, rest = np.concatenate(parts, axis=1)
    edges = np.linspace(0, 3 * psf.fwhm, 16)
    ring = np.digitize(r, edges) - 1
    middle = np.array([np.median(rest[ring == k]) if (ring == k).any() else np.nan for k in range(15)])
    axis.plot(r, rest, ".", ms=1, color=PALE_BLUE, zorder=1, rasterized=True)
    axis.plot(0.5 * (edges[1:] + edges[:-1]), middle, "o-", ms=3, color=RED, zorder=2, label=f"{len(parts)} stars")
    limit = float(np.percentile(np.abs(rest), 98))
    axis.set_ylim(-limit, limit)
    axis.legend(loc="upper right")


def _star_rest(grid: Grid, psf: Psf, frame: Frame | Stack, sources: Sources, star: int) -> FloatArray:
    """Return (2, n): radius [pixel], and a star's pixels less the PSF [% of its peak], within 3 FWHM."""
    x, y, half = float(sources.x[star]), float(sources.y[star]), int(3 * psf.fwhm)
    ny, nx = frame.data.shape
    rows = slice(max(round(y) - half, 0), min(round(y) + half + 1, ny))
    columns = slice(max(round(x) - half, 0), min(round(x) + half + 1, nx))
    dy, dx = np.mgrid[rows, columns] - np.array([y, x])[:, None, None]
    shape = values(grid, x, y, dx, dy)
    electrons = isinstance(frame, Frame) and frame.unit == "electron" and frame.exposure is not None
    time = frame.exposure.exptime if electrons and frame.exposure else 1.0
    light = frame.data[rows, columns] - sources.columns["background"][star]
    rest = 100 * (light / (sources.flux[star] * time) - shape) / shape.max()
    r = np.hypot(dx, dy)
    return np.stack([r[r < 3 * psf.fwhm], rest[r < 3 * psf.fwhm]])


def light_curve(curve: LightCurve) -> Figure:
    """Draw magnitudes with limits above, fluxes below; a band has one colour.

    Open triangles are limits, open squares stacks.
    """
    figure, (mags, fluxes) = panels(2, 1, size=(9, 6), sharex=True, height_ratios=[1.4, 1])
    known = np.isfinite(curve.mjd)
    zero = float(np.floor(curve.mjd[known].min())) if known.any() else 0.0
    t, band = curve.mjd - zero, np.array(curve.band)
    half = curve.exptime / 86400 / 2
    stacked = np.array([name.startswith("stack of") for name in curve.image], np.bool_)
    for name in dict.fromkeys(curve.band):
        colour, own = BANDS.get(name, GREY), band == name
        seen, limit = own & np.isfinite(curve.mag), own & np.isnan(curve.mag) & np.isfinite(curve.limit)
        there = own & np.isfinite(curve.flux)
        for which, marker, face, what in ((~stacked, "o", colour, ""), (stacked, "s", "none", ", stack")):
            look: dict[str, Any] = {"fmt": marker, "ms": 6 if what else 4, "color": colour, "mfc": face}
            label = f"{name or 'no band'}{what}" if (seen & which).any() else None
            pick = seen & which
            mags.errorbar(t[pick], curve.mag[pick], curve.mag_error[pick], half[pick], label=label, **look)
            pick = there & which
            fluxes.errorbar(t[pick], curve.flux[pick], curve.flux_error[pick], half[pick], **look)
        if limit.any():
            mags.plot(t[limit], curve.limit[limit], "v", ms=5, mfc="none", color=colour, label=f"{name} limit")
    fluxes.axhline(0, color=GREY, lw=0.6)
    units = " or ".join(dict.fromkeys(curve.unit))
    mags.invert_yaxis()
    missing = np.count_nonzero(~np.isfinite(curve.flux))
    title = f"{curve.name} at {curve.ra:.5f} {curve.dec:+.5f}; limits at {curve.sigma:g} sigma"
    mags.set(
        ylabel="magnitude", title=title + (f"; not measured on {missing} of {len(curve)} images" if missing else "")
    )
    fluxes.set(xlabel=f"MJD - {zero:.0f} [day]", ylabel=f"flux [{units}]")
    handles, labels = mags.get_legend_handles_labels()
    if handles:
        mags.legend(handles, labels, ncol=4, fontsize=7)
    return figure
