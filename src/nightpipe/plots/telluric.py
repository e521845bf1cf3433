"""Figure of the air's bands in a spectrum: what was seen, what the model says, what is left."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from nightpipe.maths.features import TELLURIC
from nightpipe.model.spectrum import Spectrum
from nightpipe.plots.style import BLUE, GOLD, INK, RED, panels

MARGIN = 120.0


def shown(product: Spectrum) -> list[tuple[float, float, str]]:
    """Return the bands that a spectrum was corrected for and that a figure can show."""
    wave = product.wave
    if product.transmission is None:
        return []
    return [b for b in TELLURIC if wave[0] < b[0] - 30 and b[1] < wave[-1] + 400 and b[0] > 6800 and b[1] < 10000]


def bands(product: Spectrum) -> Figure:
    """Draw each band that a corrected spectrum covers: flux before and after, and the transmission below."""
    wave, seen = product.wave, shown(product)
    figure, axes = panels(2, max(len(seen), 1), size=(3.0 * max(len(seen), 1), 4.6), height_ratios=[2, 1])
    transmission = np.ones(len(wave)) if product.transmission is None else product.transmission
    error = np.zeros(len(wave)) if product.transmission_error is None else product.transmission_error
    for k, (low, high, name) in enumerate(seen):
        top, bottom = axes[k], axes[len(seen) + k]
        show = (wave > low - MARGIN) & (wave < high + MARGIN) & product.good
        level = float(np.median(product.flux[show])) if show.any() else 1.0
        top.plot(
            wave[show], (product.flux * transmission)[show] / level, color=GOLD, drawstyle="steps-mid", label="seen"
        )
        top.plot(wave[show], product.flux[show] / level, color=BLUE, drawstyle="steps-mid", label="corrected")
        top.set(title=name, ylim=(0.0, 1.5))
        bottom.fill_between(
            wave[show], (transmission - error)[show], (transmission + error)[show], color=RED, alpha=0.3
        )
        bottom.plot(wave[show], transmission[show], color=RED)
        bottom.set(xlabel="vacuum wavelength [A]", ylim=(0.0, 1.08))
    axes[0].set_ylabel("relative flux")
    axes[len(axes) // 2].set_ylabel("transmission")
    axes[0].legend(loc="lower left", fontsize=7)
    water = product.meta.get("air_water")
    if isinstance(water, float):
        told = (
            f"water {water:.2f} mm, oxygen {float(product.meta['air_oxygen']):.2f}, from {product.meta['air_source']}"
        )
        figure.suptitle(told, color=INK, fontsize=9, x=0.01, ha="left")
    return figure
