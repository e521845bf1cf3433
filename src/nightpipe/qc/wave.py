"""How right are the wavelengths? Offsets of night-sky lines along the slit, against the scale as it stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.lines import shape_between
from nightpipe.maths.skyshift import Template, about, fit_window
from nightpipe.maths.typical import typical_row
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.frame import Frame
from nightpipe.model.references import LineList
from nightpipe.model.traces import TraceSet
from nightpipe.model.wave import WaveSolution

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SkyOffset:
    """One line in one stretch of the slit: `offset` measured minus true and its `sigma` [Angstrom].

    `sigma` holds noise, the doubt about a blend's centre and that of the scale itself; `row` is the stretch's middle.
    """

    line: float
    first: int
    last: int
    row: float
    offset: float
    sigma: float
    snr: float


def sky_offsets(
    frame: Frame, wave: WaveSolution, slit: TraceSet, lines: LineList, columns: int = 60, wanted: tuple[float, ...] = ()
) -> tuple[SkyOffset, ...]:
    """Return the offsets of sky lines, in stretches of at least `columns` pixels along the slit.

    `lines` is the list of sky lines; `wanted` [vacuum Angstrom] those to report, [O I] 5577 and 6300 by default. Blends
    are measured as `Flexure` does: both the data and the list at the instrument's line width. Lines that are not seen
    at five sigma, or fall off the frame, are left out.
    """
    wanted = wanted or (5578.887, 6302.046)
    rows = _empty_rows(frame, slit)
    parts = np.array_split(rows, max(len(rows) // max(columns, 1), 1)) if len(rows) else []
    found = [_offset(frame, wave, lines, part, line) for line in wanted for part in parts]
    return tuple(one for one in found if one is not None)


def _empty_rows(frame: Frame, slit: TraceSet) -> NDArray[np.intp]:
    """Return the rows of the slit that hold no bright object."""
    trace, x = slit.traces[0], np.linspace(0.0, frame.shape[1] - 1.0, 50)
    low = int(np.ceil(max(float(np.max(trace.lower(x))), 0.0)))
    high = int(np.floor(min(float(np.min(trace.upper(x))), frame.shape[0] - 1.0))) + 1
    level = np.median(frame.data[low:high], axis=1).astype(np.float64)
    spread = 1.4826 * float(np.median(np.abs(level - np.median(level))))
    return low + np.flatnonzero(level < np.median(level) + 5.0 * max(spread, 1e-6))


def _offset(frame: Frame, wave: WaveSolution, lines: LineList, rows: NDArray[np.intp], line: float) -> SkyOffset | None:
    if len(rows) < 3:
        return None
    n, y = frame.shape[1], float(rows.mean())
    bad = (frame.mask[rows] & np.uint32(UNUSABLE)) != 0
    flux, error, usable = typical_row(frame.data[rows], frame.var[rows], bad)
    template = _template(wave, lines, y, n)
    window = about(template, line, n)
    if window is None or not usable[window.low : window.high].all():
        return None
    fit = fit_window(flux, error, template, window)
    if fit is None or fit.snr < 5.0:
        return None
    x = np.array([0.5 * (window.low + window.high - 1) + fit.shift])
    dispersion = float(wave.dispersion(x, y)[0])
    warp = float(wave.warp.along.sigma(x, y)[0]) * dispersion if wave.warp is not None else 0.0
    noise = float(np.hypot(fit.error, fit.doubt)) * dispersion
    sigma = float(np.sqrt(noise**2 + warp**2 + float(wave.poly.sigma(x, y)[0]) ** 2))
    return SkyOffset(window.wave, int(rows[0]), int(rows[-1]), y, fit.shift * dispersion, sigma, fit.snr)


def _template(wave: WaveSolution, lines: LineList, y: float, n: int) -> Template:
    x = np.arange(n, dtype=np.float64)
    place = np.interp(lines.wave, np.maximum.accumulate(wave.at(x, y)), x, left=-1e6, right=1e6)
    width = wave.fwhm(np.array([0.0, n - 1.0]))
    return Template(lines.wave, lines.intensity, place, shape_between(float(width[0]), float(width[1]), wave.box, n))
