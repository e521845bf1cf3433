"""Figures of a classification: best templates over the spectrum, types, redshift."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nightpipe.maths.outliers import gaps, usual_step
from nightpipe.maths.rebin import smoothed_to
from nightpipe.model.classification import Classification, Overlay, signed
from nightpipe.plots.style import BLUE, GOLD, GREEN, GREY, INK, PALE, RED, panels

FloatArray = NDArray[np.float64]
LINES = {
    "Ia": (
        (6355.0, "Si II"),
        (5972.0, "Si II"),
        (5454.0, "S II"),
        (5640.0, "S II"),
        (8579.0, "Ca II"),
        (3945.0, "Ca II"),
    ),
    "Ibc": ((5876.0, "He I"), (6678.0, "He I"), (7065.0, "He I"), (7774.0, "O I"), (8579.0, "Ca II"), (6563.0, "H")),
    "II": ((6563.0, "Ha"), (4861.0, "Hb"), (4340.0, "Hg"), (5876.0, "He I"), (8579.0, "Ca II")),
    "Ibn": ((5876.0, "He I"), (6678.0, "He I"), (7065.0, "He I"), (4471.0, "He I")),
    "SLSN-I": ((4115.0, "O II"), (4357.0, "O II"), (4650.0, "O II"), (7774.0, "O I"), (5000.0, "Fe II")),
    "TDE": ((4686.0, "He II"), (6563.0, "Ha"), (4861.0, "Hb"), (4640.0, "N III")),
    "notSN": ((6563.0, "Ha"), (4861.0, "Hb"), (5007.0, "[O III]"), (3727.0, "[O II]"), (6725.0, "[S II]")),
}
"""Rest wavelengths [Angstrom, air] of what one looks for; broad absorption lies 5,000 to 15,000 km/s to the blue."""


GAP = 5.0
"""A step so much longer than those beside it is a gap."""


def classification(found: Classification) -> Figure:
    """Draw the spectrum with the best template of the top three types, their probabilities, and the redshift.

    Where nothing can be told the spectrum stands alone.
    """
    if not found.answered:
        figure, (axis,) = panels(1, 1, size=(14, 5))
        _spectrum(axis, found)
        return figure
    figure, (axis, types, redshift) = panels(1, 3, size=(14, 5), width_ratios=[4.2, 1.0, 1.3])
    _spectrum(axis, found)
    _types(types, found)
    _redshift(redshift, found)
    return figure


def _spectrum(axis: Axes, found: Classification) -> None:
    scale = float(np.median(np.abs(found.flux))) or 1.0
    flux = found.flux / scale
    low, high = np.percentile(flux, [0.5, 99.5])
    wave, gapped = with_gaps(found.wave, flux)
    axis.plot(wave, gapped, color=GREY, drawstyle="steps-mid", lw=0.7)
    span = high - low
    shown = found.overlays if found.answered else ()
    for number, (overlay, colour) in enumerate(zip(shown, (RED, BLUE, GREEN), strict=False)):
        seen = as_seen(overlay, found.wave) / scale
        axis.plot(overlay.wave, seen - 0.35 * number * span, color=colour, lw=1.0, label=overlay.label)
        if number:
            axis.plot(wave, gapped - 0.35 * number * span, color=PALE, drawstyle="steps-mid", lw=0.6, zorder=0)
    axis.set_ylim(low - (0.1 + 0.35 * max(len(shown) - 1, 0)) * span, high + 0.35 * span)
    axis.set_xlim(float(found.wave.min()), float(found.wave.max()))
    for rest, name in LINES.get(found.type, ()) if found.answered else ():
        place = rest * (1.0 + found.redshift)
        if found.wave.min() < place < found.wave.max():
            axis.axvline(place, color=GOLD, lw=0.7, ls=":")
            axis.text(place, 0.01, name, transform=axis.get_xaxis_transform(), rotation=90, fontsize=7, color=GOLD)
    marked = "; dotted: lines at rest in the redshift found" if found.answered and LINES.get(found.type) else ""
    axis.set(
        xlabel=f"wavelength [A, air]{marked}", ylabel="flux / median" + (", templates shifted down" if shown else "")
    )
    axis.set_title(_title(found), fontsize=10, loc="left")
    if shown:
        axis.legend(loc="upper right", fontsize=8)


def with_gaps(wave: FloatArray, flux: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a spectrum with NaN where points are missing, so that no line is drawn across."""
    behind, ends = gaps(wave, GAP)
    at = np.repeat(behind, 2)
    return np.insert(wave, at, ends.ravel()), np.insert(flux, at, np.nan)


def as_seen(overlay: Overlay, wave: FloatArray) -> FloatArray:
    """Return a template's flux as bins around `wave` [Angstrom] resolve it: finer noise is not the object's."""
    if len(overlay.wave) < 3 or len(wave) < 3:
        return overlay.flux
    fwhm = 2.0 * np.interp(overlay.wave, wave, usual_step(wave))
    return smoothed_to(overlay.wave, overlay.flux, fwhm)


def _title(found: Classification) -> str:
    """Return two lines: whose spectrum it is, and the answer."""
    mode = found.modes[0]
    error = "given" if found.redshift_given else f"$\\pm$ {mode.error:.4f}"
    phase = f", phase {signed(found.phase)} $\\pm$ {found.phase_error:.0f} d" if np.isfinite(found.phase) else ""
    name = found.name if len(found.name) < 70 else found.name[:67] + "..."
    if not found.answered:
        return f"{name}: {found.verdict}, no type can be told"
    answer = f"{found.verdict} ({found.kind}), P({found.type}) = {found.probability:.2f}"
    return f"{name}\n{answer}, z = {mode.z:.4f} {error}{phase}"


def _types(axis: Axes, found: Classification) -> None:
    names = list(found.types)[::-1]
    values = [found.types[name] for name in names]
    axis.barh(names, values, color=[RED if name == found.type else BLUE for name in names], height=0.6)
    for place, value in enumerate(values):
        axis.text(
            value + 0.03 if value < 0.75 else value - 0.25, place, f"{value:.3f}", va="center", fontsize=8, color=INK
        )
    axis.set(xlim=(0, 1), xlabel="probability", title="type")


def _redshift(axis: Axes, found: Classification) -> None:
    axis.set(xlabel="redshift", title="redshift", yticks=[])
    if found.redshift_given:
        axis.axvline(found.redshift, color=INK)
        axis.set_title("redshift: given")
        return
    axis.plot(found.grid, found.density / max(float(found.density.max()), 1e-12), color=INK, lw=0.8)
    shown = [mode for mode in found.modes if mode.probability > 0.02] or list(found.modes[:1])
    for mode in shown[:4]:
        axis.axvline(mode.z, color=PALE, lw=4, zorder=0)
    text = "\n".join(f"{mode.z:.4f} $\\pm$ {mode.error:.4f}   P {mode.probability:.2f}" for mode in shown[:4])
    axis.text(0.97, 0.97, text, transform=axis.transAxes, ha="right", va="top", fontsize=8)
    margin = max(0.02, 0.2 * max(mode.z for mode in shown))
    axis.set_xlim(min(mode.z for mode in shown) - margin, max(mode.z for mode in shown) + margin)
    axis.set_ylim(0, 1.35)
