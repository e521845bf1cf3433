"""Wavelength over the whole detector: tilt and curvature of the lines on native pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.step import Step, parameter
from nightpipe.maths.lines import shape_between
from nightpipe.maths.poly import Poly2
from nightpipe.maths.tilt import Displacement, bent, fit_displacement
from nightpipe.model.frame import Frame
from nightpipe.model.traces import TraceSet
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.spectra.rows import slit_rows
from nightpipe.steps.spectra.slitlines import Followed, blocks_of, followed

FloatArray = NDArray[np.float64]


class MapWavelength(Step):
    """Follow the arc's lines along the slit and bend the wavelength scale with them."""

    blocks: int = parameter(24, "blocks of rows along the slit in which lines are measured", ge=3, le=200)
    min_rows: int = parameter(4, "a block has at least so many rows", unit="pixel", ge=1)
    max_order_x: int = parameter(3, "highest order of the tilt along the dispersion that is tried", ge=0, le=5)
    max_order_y: int = parameter(4, "highest order along the slit that is tried", ge=1, le=8)
    clip: float = parameter(4.0, "points with larger residuals are rejected", unit="sigma", gt=1)

    def run(self, arc: Frame, slit: TraceSet, wave: WaveSolution) -> WaveSolution:
        """Return `wave` as a map: on its reference row it stays, elsewhere it follows the lines.

        The displacement of each line relative to itself is modelled, so that errors of single wavelengths and of blends
        do not bend the map. Too few rows or lines: unchanged, with the caveat ``wave.untilted``.
        """
        low, high = slit_rows(arc, slit.traces[0].lower, slit.traces[0].upper)
        size = max((high - low) / self.blocks, float(self.min_rows))
        blocks = blocks_of(low, high, round(size))
        if len(blocks) < 3:
            return _untilted(wave, f"{high - low} rows are too few")
        lines = wave.lines
        width = wave.fwhm(np.array([0.0, arc.shape[1] - 1.0]))
        shape = shape_between(float(width[0]), float(width[1]), wave.box, arc.shape[1])
        seen = followed(arc, blocks, lines.x, lines.intensity, shape, lines.used)
        steady = seen.ok.sum(axis=0) >= 0.6 * len(blocks)
        if steady.sum() < 3:
            return _untilted(wave, f"{int(steady.sum())} lines could be followed")
        ny, nx = arc.shape
        shift = fit_displacement(
            lines.x[lines.used],
            seen.y,
            seen.x,
            seen.error,
            seen.ok & steady[None, :],
            domain_x=(0.0, nx - 1.0),
            domain_y=(0.0, ny - 1.0),
            y_ref=wave.y_ref,
            most=(self.max_order_x, self.max_order_y),
            clip=self.clip,
        )
        poly = bent(wave.poly.coef[:, 0], shift, arc.shape)
        poly = replace(poly, cov=_row_covariance(wave, poly))
        return replace(wave, poly=poly, map_rms_px=_map_rms(wave, seen, shift))


def _row_covariance(wave: WaveSolution, poly: Poly2) -> FloatArray | None:
    """Return the covariance of the reference row's coefficients, placed among those of the map.

    The displacement, from a thousand points, adds next to nothing to it.
    """
    if wave.poly.cov is None:
        return None
    index = np.arange(wave.poly.coef.shape[0]) * poly.coef.shape[1]
    cov = np.zeros((poly.coef.size, poly.coef.size))
    cov[np.ix_(index, index)] = wave.poly.cov
    return cov


def _map_rms(wave: WaveSolution, seen: Followed, shift: Displacement) -> float:
    """Return the rms [pixel] of all points that were kept: each line's residual on the reference row plus the point's.

    A point counts relative to its line's own mean, for windows of single lines centre blends otherwise than joint fits.
    """
    used = wave.lines.used
    x = wave.lines.x[used]
    off = np.where(shift.kept, seen.x - x - shift(x[None, :], seen.y[:, None]), np.nan)
    rows = shift.kept.any(axis=0)
    own = off[:, rows] - np.nanmean(off[:, rows], axis=0) + wave.lines.residual[used][rows]
    return float(np.sqrt(np.nanmean(own**2)))


def _untilted(wave: WaveSolution, why: str) -> WaveSolution:
    text = f"The lines' tilt along the slit was not measured: {why}."
    return replace(wave, caveats=merged(wave.caveats, (Caveat("wave.untilted", text),)))
