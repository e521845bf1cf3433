"""Coordinates of the pixels of a slit: along the dispersion on the reference row, and along the slit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from nightpipe.base.errors import DataError
from nightpipe.maths.photons import NoiseLaw, law_from_counts
from nightpipe.maths.poly import scaled
from nightpipe.model.frame import Frame
from nightpipe.model.traces import Trace
from nightpipe.model.wave import WaveSolution

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SlitGrid:
    """Pixel coordinates of one slit, all (ny, nx).

    `u` is the column [pixel] at which the reference row has the pixel's wavelength; `v` runs from -1 at the lower edge
    of the slit to 1 at the upper; `inside` marks pixels whose centre lies in the slit.
    """

    u: Array
    v: Array
    inside: NDArray[np.bool_]


def slit_grid(wave: WaveSolution, trace: Trace, shape: tuple[int, int], margin: float = 0.0) -> SlitGrid:
    """Return the coordinates of all pixels; `margin` [pixel] is cut from both edges of the slit."""
    columns = np.arange(shape[1], dtype=np.float64)
    rows = np.arange(shape[0], dtype=np.float64)[:, None]
    lower, upper = trace.lower(columns)[None, :], trace.upper(columns)[None, :]
    inside = (rows >= lower + margin) & (rows <= upper - margin)
    v = np.clip(2.0 * (rows - lower) / np.maximum(upper - lower, 1.0) - 1.0, -1.0, 1.0)
    return SlitGrid(reference_column(wave, shape), v, inside)


NODES = 12
"""Rows on which the map is computed: wavelength is a polynomial of lower order along the slit."""


def reference_column(wave: WaveSolution, shape: tuple[int, int]) -> Array:
    """Return, for each pixel, the column [pixel] of the reference row that has its wavelength.

    Two Newton steps; sampling thus stays native, in pixels, however uneven the dispersion. Done on a few rows at
    Chebyshev's nodes, between which the smooth map is interpolated to rounding error.
    """
    columns, span = np.arange(shape[1], dtype=np.float64), (0.0, max(shape[0] - 1.0, 1.0))
    nodes = 0.5 * span[1] * (1.0 + np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES))
    reference = wave.at(columns, wave.y_ref)
    slope = np.gradient(reference)
    slope = np.maximum(slope, 0.2 * float(np.median(slope)))  # beyond the last lines a polynomial may turn over
    target = wave.at(columns[None, :], nodes[:, None])
    u = columns[None, :] + (target - reference[None, :]) / slope[None, :]
    u += (target - _extended(u, columns, reference, slope)) / np.interp(u, columns, slope)
    at_rows = chebyshev.chebvander(scaled(np.arange(shape[0]), span), NODES - 1)
    between = at_rows @ np.linalg.inv(chebyshev.chebvander(scaled(nodes, span), NODES - 1))
    return np.asarray(columns[None, :] + between @ (u - columns[None, :]))


def _extended(u: Array, columns: Array, value: Array, slope: Array) -> Array:
    """Interpolate linearly, and extrapolate with the slope at the ends."""
    beyond = np.where(u < columns[0], (u - columns[0]) * slope[0], 0.0)
    beyond += np.where(u > columns[-1], (u - columns[-1]) * slope[-1], 0.0)
    return np.asarray(np.interp(u, columns, value) + beyond)


def pixel_scale(frame: Frame) -> float:
    """Return arcsec per pixel along the slit; raises DataError where the frame does not know its detector."""
    if frame.detector is None:
        raise DataError("arcsec per pixel along the slit", "a frame without a detector", "keep `detector` on the frame")
    return frame.detector.pixel_scale


def slit_arcsec(frame: Frame, trace: Trace, y: float) -> float:
    """Return the position of row `y` at the middle column, in arcsec from the slit's centre, up positive."""
    return float((y - trace.centre(middle(frame))) * pixel_scale(frame))


def noise_law(frame: Frame) -> NoiseLaw:
    """Return how the frame's variance follows from light: as the frame knows it, else as its variance shows."""
    if frame.read_var is None:
        return law_from_counts(frame.data, frame.var, frame.good)
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    slope = one if frame.photon_var is None else frame.photon_var.astype(np.float64)
    flat = zero if frame.flat_var is None else frame.flat_var.astype(np.float64)
    return NoiseLaw(np.maximum(frame.read_var.astype(np.float64), 1e-6), slope, flat)


def middle(frame: Frame) -> float:
    """Return the reference column, at which a source's `y` is given."""
    return (frame.shape[1] - 1) / 2
