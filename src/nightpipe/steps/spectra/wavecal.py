"""Wavelengths from an arc: which line is which, and the scale on a reference row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import BadFrameError, NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.combs import Comb, Guess, comb, search
from nightpipe.maths.linefit import Limits, Scale, fit_scale
from nightpipe.maths.linematch import Match, best_match
from nightpipe.maths.lines import LineShape, Peaks, detect, floor, gaussian_shape, measure_shape, strongest
from nightpipe.maths.poly import Poly1, Poly2
from nightpipe.model.disperser import Disperser
from nightpipe.model.frame import Frame
from nightpipe.model.references import LineList
from nightpipe.model.traces import TraceSet
from nightpipe.model.wave import LineTable, WaveSolution
from nightpipe.steps.spectra.rows import Row, collapsed, slit_rows

FloatArray = NDArray[np.float64]


class Identify(Step):
    """Identify the lines of an arc without a human and fit wavelength along the reference row."""

    version: ClassVar[int] = 2
    rows: int = parameter(10, "rows on either side of the slit's middle that are combined", unit="pixel", ge=0)
    threshold: float = parameter(8.0, "significance that a line must have to be detected", ge=3)
    strongest: int = parameter(60, "so many of the strongest lines decide which line is which", ge=10)
    blending: float = parameter(
        0.03, "greatest error of a centre, blends included, to be used", unit="line width", gt=0
    )
    clip: float = parameter(3.5, "lines with larger left-out residuals are rejected", unit="sigma", gt=1)
    max_order: int = parameter(7, "highest order along the dispersion that is tried", ge=1, le=12)
    min_lines: int = parameter(5, "fewer lines than this are no solution", ge=3)
    margin: float = parameter(8.0, "log odds by which the solution must beat chance and any other solution", ge=0)
    centre: float = parameter(
        0.0, "wavelength at the middle, if not the description's (0: the description's)", unit="Angstrom", ge=0
    )
    dispersion: float = parameter(
        0.0, "dispersion, if not the description's (0: the description's)", unit="Angstrom/pixel", ge=0
    )

    def run(self, arc: Frame, slit: TraceSet, lines: LineList) -> WaveSolution:
        """Return the scale of `arc` on the middle row of the first slit, constant along the slit.

        Predicted dispersion and line list are laid on the arc by correlation over shift, stretch, bend and twist; the
        candidates are improved by soft matching and judged against chance; then all blends are fitted jointly and the
        order is the one that predicts left-out lines best.

        Raises
        ------
        BadFrameError
            No lines (dead lamp), or nearly all of them saturated.
        NoSolutionError
            No disperser is known, or no solution is credible.
        """
        disperser = self._disperser(arc)
        trace = slit.traces[0]
        y_ref = float(trace.centre(np.array([(arc.shape[1] - 1) / 2.0]))[0])
        low, high = slit_rows(arc, trace.lower, trace.upper)
        row = collapsed(arc, max(low, round(y_ref) - self.rows), min(high, round(y_ref) + self.rows + 1))
        measured = measured_row(row, disperser.fwhm / disperser.dispersion, self.threshold)
        _check_lamp(measured, self.min_lines)
        match = self._matched(measured, lines, disperser)
        limits = Limits(blending=self.blending, clip=self.clip, max_order=self.max_order)
        shown = comb(lines.wave, lines.intensity, lines.species, self._seen(match, disperser))
        scale = fit_scale(measured.flux, measured.error, match, shown, measured.shape, limits, barred=row.saturated)
        _check_scale(scale, match, measured.fwhm, self.min_lines)
        return _solution(arc, lines, shown, measured, scale, y_ref)

    def _disperser(self, arc: Frame) -> Disperser:
        from dataclasses import replace

        if arc.disperser is None:
            raise NoSolutionError("a disperser that the instrument description knows", "none", "retype the frame")
        found = arc.disperser
        found = replace(found, centre=self.centre) if self.centre else found
        return replace(found, dispersion=self.dispersion) if self.dispersion else found

    def _seen(self, match: Match, disperser: Disperser) -> tuple[float, float]:
        """Return the wavelengths between which lines may show: on the row, and within twice the useful range."""
        low, high, _ = match.ends()
        spare = 0.5 * (disperser.range[1] - disperser.range[0])
        return max(low, disperser.range[0] - spare), min(high, disperser.range[1] + spare)

    def _matched(self, measured: Measured, lines: LineList, disperser: Disperser) -> Match:
        n, fwhm = len(measured.flux), measured.fwhm
        guess = Guess(
            disperser.centre,
            disperser.dispersion,
            disperser.centre_tolerance,
            max(disperser.dispersion_tolerance, 0.015),
        )
        teeth = _plausible(lines, disperser, n)
        peaks = strongest(measured.peaks, int(2.2 * self.strongest))
        candidates = search(measured.flux, teeth, guess, fwhm=fwhm)
        found = best_match(candidates, peaks, teeth, n=n, fwhm=fwhm, strong=self.strongest)
        _check_match(found, self.margin, disperser)
        return found[0]


@dataclass(frozen=True)
class Measured:
    """A row without its floor, with the detected lines and the line shape."""

    flux: FloatArray
    error: FloatArray
    peaks: Peaks
    shape: LineShape
    saturated: int

    @property
    def fwhm(self) -> float:
        """Return the line width [pixel] in the middle."""
        return float(self.shape.fwhm_at([(len(self.flux) - 1) / 2.0])[0])


def measured_row(row: Row, fwhm: float, threshold: float) -> Measured:
    """Take the floor away, find the lines and measure their shape; `fwhm` [pixel] is where to begin.

    A saturated line is fitted with errors of a tenth of its height: good enough to name it, too poor to be used.
    """
    n = len(row.flux)
    error = np.where(row.saturated, 0.1 * np.abs(row.flux), row.error)
    fwhm = float(np.clip(fwhm, 1.5, n / 20.0))
    shape = gaussian_shape(fwhm, (0.0, n - 1.0))
    for _ in range(2):
        flux = row.flux - floor(row.flux, max(60.0, 20.0 * fwhm))
        peaks = detect(flux, error, shape, threshold=threshold)
        shape = measure_shape(flux, error, peaks, guess=fwhm, usable=row.usable)
        fwhm = float(np.clip(shape.fwhm_at([n / 2.0])[0], 1.3, n / 20.0))
    peaks = detect(flux, error, shape, threshold=threshold)
    at = np.clip(np.round(peaks.x).astype(int), 0, n - 1)
    burnt = int(np.sum(row.saturated[at])) + _edges(row.saturated)
    return Measured(flux, error, peaks, shape, burnt)


def _edges(saturated: NDArray[np.bool_]) -> int:
    """Return the number of separate saturated stretches."""
    return int(np.sum(np.diff(np.concatenate([[False], saturated]).astype(int)) == 1))


def _plausible(lines: LineList, disperser: Disperser, n: int) -> Comb:
    """Return the lines within the useful range, widened a little, and within what the guess can reach."""
    reach = 0.55 * n * disperser.dispersion * (1 + disperser.dispersion_tolerance) + disperser.centre_tolerance
    spare = 0.05 * (disperser.range[1] - disperser.range[0])
    low = max(disperser.range[0] - spare, disperser.centre - reach)
    high = min(disperser.range[1] + spare, disperser.centre + reach)
    return comb(lines.wave, lines.intensity, lines.species, (low, high))


def _check_lamp(measured: Measured, least: int) -> None:
    if len(measured.peaks) >= least:
        return
    if measured.saturated > len(measured.peaks):
        raise BadFrameError(
            f"an arc with at least {least} unsaturated lines",
            f"{measured.saturated} saturated stretches, {len(measured.peaks)} lines",
            "a shorter arc exposure",
        )
    raise BadFrameError(
        f"an arc with at least {least} lines", f"{len(measured.peaks)}: dead lamp, or closed shutter", "another arc"
    )


def _check_match(found: list[Match], margin: float, disperser: Disperser) -> None:
    where = f"{disperser.name}, about {disperser.centre:.0f} Angstrom at {disperser.dispersion:.3f} Angstrom/pixel"
    remedy = "check lamps, grism and direction of dispersion, or set Identify.centre and Identify.dispersion"
    if not found or not _credible(found[0], margin):
        best = f"the best fits {found[0].matched} of {found[0].offered} lines" if found else "no candidate"
        raise NoSolutionError(f"a credible wavelength scale for {where}", best, remedy)
    if len(found) > 1 and found[0].log_odds - found[1].log_odds < margin:
        both = " and ".join(f"{m.wave(np.array([m.n / 2.0]))[0]:.0f}" for m in found[:2])
        raise NoSolutionError(f"one wavelength scale for {where}", f"two as good, middle at {both} Angstrom", remedy)


def _credible(match: Match, margin: float) -> bool:
    """Return whether chance is ruled out: by places alone, or nearly so and by places and intensities together."""
    if match.log_odds < margin:
        return False
    return match.log10_chance < -1.0 or (match.log10_chance < 1.0 and match.log_odds > 5.0 * margin)


def _check_scale(scale: Scale, match: Match, fwhm: float, least: int) -> None:
    used = int(scale.used.sum())
    if used < max(least, scale.order + 2):
        raise NoSolutionError(
            f"a wavelength scale from at least {least} lines",
            f"{used} clean ones",
            "a deeper arc, or one with more lamps",
        )
    if scale.loo > 0.25 * fwhm:
        raise NoSolutionError(
            f"a wavelength scale that predicts its lines to a quarter of their width, {0.25 * fwhm:.2f} pixel",
            f"{scale.loo:.2f} pixel rms of {used} lines",
            "a deeper arc, or one with more lamps",
        )
    if not np.all(np.diff(_row_poly(scale, match.n)(np.linspace(0, match.n - 1, 200))) > 0):
        raise NoSolutionError(
            "a wavelength that grows along the row", "a fit that turns back", "lower Identify.max_order"
        )


def _row_poly(scale: Scale, n: int) -> Poly1:
    return Poly1(scale.coef, (0.0, n - 1.0), scale.cov)


def _solution(arc: Frame, lines: LineList, shown: Comb, measured: Measured, scale: Scale, y_ref: float) -> WaveSolution:
    ny, nx = arc.shape
    domain_x, domain_y = (0.0, nx - 1.0), (0.0, ny - 1.0)
    width = measured.shape.fwhm_at(np.array([0.0, nx - 1.0]))
    used = scale.used
    exposure = arc.exposure
    return WaveSolution(
        poly=Poly2(scale.coef[:, None], domain_x, domain_y, scale.cov),
        shape=(ny, nx),
        lines=_table(scale, lines, shown, measured),
        fwhm=Poly1(np.array([width.mean(), 0.5 * (width[1] - width[0])]), domain_x),
        y_ref=y_ref,
        order=scale.order,
        dof=int(used.sum()) - scale.order - 1,
        rms_px=scale.rms,
        loo_px=scale.loo,
        map_rms_px=float("nan"),
        range=(float(scale.wave[used].min()), float(scale.wave[used].max())),
        coverage=float(np.ptp(scale.x[used]) / (nx - 1)),
        lamps=exposure.lamps if exposure is not None else (),
        source=exposure.name if exposure is not None else "arc",
        mjd=exposure.mjd if exposure is not None else 0.0,
        caveats=merged(arc.caveats, _caveats(scale, measured, nx)),
        box=measured.shape.box,
    )


def _table(scale: Scale, lines: LineList, shown: Comb, measured: Measured) -> LineTable:
    """Return the lines that were identified, those that the fit left out among them, in order of wavelength."""
    near = np.abs(scale.residual) < 0.5 * measured.shape.fwhm_at(scale.x)
    keep = np.flatnonzero(scale.used | (near & (scale.x_error < 0.4 * measured.fwhm)))
    keep = keep[np.argsort(scale.wave[keep])]
    return LineTable(
        x=scale.x[keep],
        x_err=scale.x_error[keep],
        wave=scale.wave[keep],
        species=tuple(lines.species[shown.index[scale.index[k]]] for k in keep),
        residual=scale.residual[keep],
        used=scale.used[keep],
        intensity=scale.area[keep],
    )


def _caveats(scale: Scale, measured: Measured, nx: int) -> tuple[Caveat, ...]:
    found: list[Caveat] = []
    x = scale.x[scale.used]
    if np.ptp(x) < 0.75 * nx:
        ends = f"{scale.wave[scale.used].min():.0f} to {scale.wave[scale.used].max():.0f} Angstrom"
        found.append(
            Caveat(
                "wave.extrapolated", f"Lines cover {100 * np.ptp(x) / nx:.0f}% of the row; beyond {ends} it is a guess."
            )
        )
    if len(x) < 2 * (scale.order + 1) + 3:
        found.append(Caveat("wave.few", f"The wavelength scale of order {scale.order} rests on {len(x)} lines only."))
    if scale.loo > 0.1 * measured.fwhm:
        found.append(Caveat("wave.poor", f"Left-out lines are missed by {scale.loo:.2f} pixel rms."))
    if measured.saturated:
        found.append(Caveat("wave.saturated", f"{measured.saturated} saturated lines of the arc were not used."))
    return tuple(found)
