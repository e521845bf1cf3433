"""Figures of sky, objects, extraction, response and final spectra."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import Profile, Response, SkyModel, Source, Spectrum
from nightpipe.model.wave import WaveSolution
from nightpipe.plots.style import BLUE, GOLD, GREEN, GREY, INK, PALE, RED, panels, show_image

TELLURIC = ((6860, 6965, "O2 B"), (7160, 7340, "H2O"), (7590, 7710, "O2 A"), (8120, 8345, "H2O"), (8940, 9850, "H2O"))
SKY = ((5578.9, "[O I]"), (6302.0, "[O I]"), (5891.6, "Na"), (4359.6, "Hg"), (5462.3, "Hg"))


def sky(frame: Frame, model: SkyModel, wave: WaveSolution) -> Figure:
    """Draw the frame before and after the sky is subtracted, and the residual in units of its error."""
    figure, axes = panels(3, size=(11, 7.5), sharex=True)
    residual = frame.data - model.model
    error = np.sqrt(np.maximum(frame.var + model.var, 1e-6))
    show_image(axes[0], frame.data, title=f"before, {frame.unit}")
    show_image(axes[1], residual, title=f"after ({model.method}, {model.knots} knots), {frame.unit}")
    chi = np.where(frame.good, residual / error, 0.0)
    show_image(axes[2], np.clip(chi, -5, 5), title=f"residual / error; on sky pixels its scatter is {model.chi:.3f}",
               cmap="RdBu_r", symmetric=True)  # fmt: skip
    _wave_ticks(axes[2], wave)
    return figure


def _wave_ticks(axis: Axes, wave: WaveSolution) -> None:
    ny, nx = wave.shape
    grid = wave.at(np.arange(nx), ny / 2)
    step = 500 if grid[-1] - grid[0] < 4000 else 1000
    marks = np.arange(np.ceil(grid[0] / step) * step, grid[-1], step)
    axis.set_xticks(np.interp(marks, grid, np.arange(nx)), [f"{mark:.0f}" for mark in marks])
    axis.set(xlabel="vacuum wavelength [A]", ylabel="y [pixel]")


def extraction(frame: Frame, model: SkyModel, sources: tuple[Source, ...], profiles: tuple[Profile, ...]) -> Figure:
    """Draw the sky-subtracted frame with the traces, and the slit profile with each object's aperture."""
    figure, (image, slit) = panels(2, size=(11, 6.5), height_ratios=[1.4, 1])
    clean = np.where(frame.good, frame.data - model.model, 0.0)
    show_image(image, clean, title="sky subtracted, traces, objects")
    x, y = np.arange(frame.shape[1]), np.arange(frame.shape[0])
    for source, colour in zip(sources, _colours(len(sources)), strict=True):
        image.plot(x, source.trace.lower(x), x, source.trace.upper(x), color=colour, lw=0.7)
    image.set(xlim=(0, frame.shape[1] - 1), ylim=(-0.5, frame.shape[0] - 0.5), ylabel="y [pixel]")
    slit.plot(y, slit_profile(frame, model), color=INK, drawstyle="steps-mid", lw=0.8)
    peak = float(np.nanmax(np.abs(slit_profile(frame, model)))) or 1.0
    for source, profile, colour in zip(sources, profiles, _colours(len(sources)), strict=True):
        shape = np.median(profile.values, axis=1)
        shape = shape / max(float(shape.max()), 1e-9) * float(np.interp(source.y, y, slit_profile(frame, model)))
        kind = "forced, " if source.forced else ""
        slit.plot(y, shape, color=colour, label=f"{source.name}: {kind}{profile.kind}, S/N {source.snr:.1f}")
    slit.set(xlabel="y along the slit [pixel]", ylabel="mean signal", ylim=(-0.15 * peak, 1.15 * peak))
    slit.legend()
    return figure


def slit_profile(frame: Frame, model: SkyModel) -> NDArray[np.float64]:
    """Return the sky-subtracted signal along the slit: mean over the dispersion of unflagged, clipped pixels (ny,)."""
    edge = frame.shape[1] // 8
    good = frame.good[:, edge:-edge]
    clean = (frame.data - model.model)[:, edge:-edge]
    low, high = np.percentile(np.where(good, clean, 0.0), [2, 98], axis=1)
    kept = good & np.asarray(clean >= low[:, None]) & np.asarray(clean <= high[:, None])
    return np.asarray(np.where(kept, clean, 0.0).sum(axis=1) / np.maximum(kept.sum(axis=1), 1), dtype=np.float64)


def _colours(count: int) -> list[str]:
    return [(RED, BLUE, GREEN, GOLD)[k % 4] for k in range(count)]


def spectrum(product: Spectrum, *, redshift: float | None = None) -> Figure:
    """Draw a spectrum with its error, the sky beneath, telluric bands, and lines at `redshift` where one is given."""
    figure, (axis,) = panels(1, size=(11, 4.5))
    good = product.good
    flux, error = np.where(good, product.flux, np.nan), np.where(good, product.err, np.nan)
    low, high = _flux_limits(product)
    axis.fill_between(product.wave, flux - error, flux + error, color=BLUE, alpha=0.2, lw=0, step="mid")
    if product.transmission is not None:
        raw = np.where(product.transmission < 0.995, flux * product.transmission, np.nan)
        axis.plot(product.wave, raw, color=GOLD, drawstyle="steps-mid", lw=0.6, label="before the air's bands went")
    axis.plot(product.wave, flux, color=BLUE, drawstyle="steps-mid", lw=0.8, label="optimal")
    axis.plot(product.wave, error, color=GREY, drawstyle="steps-mid", lw=0.6, label="error")
    axis.set(
        xlabel="vacuum wavelength [A]",
        ylabel=f"flux [{product.unit}]",
        ylim=(low, high),
        title=_spectrum_title(product),
    )
    axis.set_xlim(float(product.wave[good].min()), float(product.wave[good].max())) if good.any() else None
    _mark_atmosphere(axis)
    if redshift is not None:
        _mark_lines(axis, redshift)
    axis.legend(loc="upper right")
    return figure


def _flux_limits(product: Spectrum) -> tuple[float, float]:
    useful = product.good & (product.err < 10 * np.median(product.err[product.good])) if product.good.any() else None
    if useful is None or not useful.any():
        return -1.0, 1.0
    low, high = np.percentile(product.flux[useful], [0.5, 99.5])
    pad = 0.15 * max(high - low, 1e-30)
    return float(min(low - pad, 0.0)), float(high + 2 * pad)


def _spectrum_title(product: Spectrum) -> str:
    exposure = product.exposure
    where = f"{exposure.instrument} {exposure.setup.label()}, {exposure.start[:16]}" if exposure else ""
    snr = product.meta.get("snr_median", product.meta.get("snr", ""))
    quality = f", S/N {snr:.1f}" if isinstance(snr, float) else ""
    target = f"{exposure.target} {product.name}" if exposure else product.name
    return f"{target}   {where}{quality}"


def _mark_atmosphere(axis: Axes) -> None:
    low, high = axis.get_xlim()
    for start, end, name in TELLURIC:
        if start < high and end > low:
            axis.axvspan(max(start, low), min(end, high), color=PALE, alpha=0.7, lw=0, zorder=0)
            axis.text((max(start, low) + min(end, high)) / 2, 0.98, name, transform=axis.get_xaxis_transform(),
                      ha="center", va="top", fontsize=7, color=GREY)  # fmt: skip
    for wave, name in SKY:
        if low < wave < high:
            axis.axvline(wave, color=PALE, lw=0.6, ls=":", zorder=0)
            axis.text(wave, 0.02, name, transform=axis.get_xaxis_transform(), fontsize=6, color=GREY, rotation=90)


LINES = (
    (6564.6, "Ha"), (4862.7, "Hb"), (4341.7, "Hg"), (4102.9, "Hd"), (5877.2, "He I"), (4687.0, "He II"),
    (6357.0, "Si II"), (5895.6, "Na I"), (3934.8, "Ca K"), (3969.6, "Ca H"), (5008.2, "[O III]"), (3728.5, "[O II]"),
    (2799.1, "Mg II"), (1908.7, "C III]"), (1549.5, "C IV"), (1215.7, "Lya"), (8544.4, "Ca II"),
)  # fmt: skip


def _mark_lines(axis: Axes, redshift: float) -> None:
    low, high = axis.get_xlim()
    for rest, name in LINES:
        place = rest * (1 + redshift)
        if low < place < high:
            axis.axvline(place, color=RED, lw=0.6, ls="--", alpha=0.6)
            axis.text(place, 0.9, name, transform=axis.get_xaxis_transform(), fontsize=7, color=RED, rotation=90)


def response(product: Response) -> Figure:
    """Draw the sensitivity: points of each band, the fit with its error, and what was masked."""
    figure, (top, bottom) = panels(2, size=(10, 5.5), height_ratios=[2, 1], sharex=True)
    used = product.point_used
    top.plot(product.point_wave[~used], product.point_value[~used], "x", ms=4, color=GREY, label="masked or rejected")
    top.plot(product.point_wave[used], product.point_value[used], ".", ms=4, color=BLUE, label="used")
    top.plot(product.wave, product.log_response, color=RED, label="fit")
    top.fill_between(product.wave, product.log_response - product.error, product.log_response + product.error,
                     color=RED, alpha=0.25, lw=0)  # fmt: skip
    names = ", ".join(f"{name} x{ratio:.2f}" for name, ratio in zip(product.standards, product.ratios, strict=True))
    top.set(ylabel="ln response", title=f"{product.setup} from {names} ({product.source})")
    top.legend()
    fitted = np.interp(product.point_wave, product.wave, product.log_response)
    bottom.plot(product.point_wave[used], (product.point_value - fitted)[used], ".", ms=4, color=BLUE)
    bottom.axhline(0, color=INK, lw=0.6)
    bottom.set(xlabel="vacuum wavelength [A]", ylabel="residual [ln]")
    return figure
