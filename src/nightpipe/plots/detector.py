"""Figures of the detector's calibrations: master bias, master flat, measured noise."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame
from nightpipe.model.traces import TraceSet
from nightpipe.plots.style import BLUE, GREY, RED, panels, show_image


def bias(master: Frame) -> Figure:
    """Draw a master bias or dark: the image, and its mean along both axes."""
    figure, (image, along, across) = panels(3, size=(9, 6.5), height_ratios=[2, 1, 1])
    show_image(image, master.data, title=f"master, {master.unit}, overscan removed")
    weight = master.good.astype(np.float64)
    for axis, direction, name in ((along, 0, "x [pixel]"), (across, 1, "y [pixel]")):
        total = np.maximum(weight.sum(axis=direction), 1)
        axis.plot((master.data * weight).sum(axis=direction) / total, color=BLUE)
        axis.axhline(0, color=GREY, lw=0.6)
        axis.set(xlabel=name, ylabel=f"mean [{master.unit}]")
    return figure


def flat(response: Frame, lamp: Frame, slit: TraceSet) -> Figure:
    """Draw a master flat: the lamp as combined with the slit's edges, the response, and cuts through it."""
    figure, (top, middle, cut, across) = panels(4, size=(9, 8), height_ratios=[2, 2, 1, 1])
    show_image(top, lamp.data, title=f"lamp, {lamp.unit}, and the slit's edges")
    x = np.arange(lamp.shape[1])
    for trace in slit.traces:
        for edge in (trace.lower, trace.upper):
            top.plot(x, edge(x), color=RED, lw=0.8, ls="-" if slit.measured else ":")
    top.set(xlim=(0, lamp.shape[1] - 1), ylim=(-0.5, lamp.shape[0] - 0.5))
    show_image(middle, response.data, title="pixel response times slit illumination")
    row, column = response.shape[0] // 2, response.shape[1] // 2
    cut.plot(response.data[row], color=BLUE)
    cut.set(xlabel="x [pixel]", ylabel=f"row {row}")
    across.plot(np.median(response.data[:, column - 50 : column + 50], axis=1), color=BLUE)
    across.set(xlabel="y [pixel]", ylabel="illumination")
    return figure


def noise(measured: Noise) -> Figure:
    """Draw gain and read noise of each amplifier, measured against the header."""
    figure, axes = panels(1, 2, size=(7, 3))
    rows = (
        ("gain [electron/adu]", measured.gain, measured.gain_error, measured.header_gain),
        ("read noise [electron]", measured.read_noise, measured.read_noise_error, measured.header_read_noise),
    )
    for axis, (label, value, error, header) in zip(axes, rows, strict=True):
        place = np.arange(len(value))
        axis.errorbar(place, value, error, fmt="o", color=BLUE, label="measured")
        axis.plot(place, header, "x", color=RED, label="header")
        axis.set(xticks=place, xticklabels=measured.amplifiers, ylabel=label, xlim=(-0.6, len(value) - 0.4))
        axis.legend()
    return figure
