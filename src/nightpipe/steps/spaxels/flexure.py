"""Flexure of lenslet spectra in two dimensions: rows from the spectra's own light, columns from the sky's lines."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.maths.rigid import Rigid, fit_rigid
from nightpipe.maths.skyfield import Points
from nightpipe.model.frame import Frame
from nightpipe.model.references import LineList
from nightpipe.model.spaxels import SpaxelSet, SpaxelWaves
from nightpipe.model.warp import Warp
from nightpipe.steps.spaxels.extract import ExtractSpaxels
from nightpipe.steps.spaxels.skylines import coarse_columns, column_shifts, sky_of
from nightpipe.steps.spaxels.tracks import coarse_rows, leans, row_shifts

EXPECTED = (1.0, 1.0, 1e-3)
"""Within what flexure is expected [pixel, pixel, radian]: what is not measured is known no better."""
SOUND = 0.3
"""A line of less weight than this in the fit is out of line with the others."""


class FlexSpaxels(Step):
    """Measure how one exposure's spectra lie off the calibrations': along x, along y and turned, with errors."""

    version: ClassVar[int] = 4
    max_shift: float = parameter(2.0, "largest shift that is searched", unit="pixel", gt=0, le=3)
    min_snr: float = parameter(6.0, "significance that a feature of the sky needs in all lenslets", ge=3)
    max_error: float = parameter(0.1, "a shift that is known no better is not applied", unit="pixel", gt=0)
    max_chi2: float = parameter(5.0, "nor is one whose lines and rows disagree by more, per degree of freedom", gt=1)
    floor_x: float = parameter(0.005, "error that no feature's shift goes below", unit="pixel", gt=0)
    floor_y: float = parameter(0.001, "error that no tile's shift goes below", unit="pixel", gt=0)
    grain: float = parameter(0.008, "relative rms of the pixels' response that no flat corrects", ge=0, lt=0.2)

    def run(self, frame: Frame, spaxels: SpaxelSet, waves: SpaxelWaves, lines: LineList) -> Warp:
        """Return the exposure's shift; what failed its test is 0 and `accepted` False, with a caveat that says why.

        Rows: what the profiles leave over says how far they lie off, in tiles of the detector. Columns: every feature
        of the sky (`lines`) is fitted in all dark lenslets together, blends, kinds of lines and unlisted ones
        allowed for. Both join in one motion with covariance; lines that disagree with the rest lose their weight.
        """
        rows = row_shifts(frame, spaxels, self.grain, coarse_rows(frame, spaxels, self.max_shift), self.floor_y)
        level = float(np.average(rows.shift, weights=rows.error**-2)) if rows.x.size else 0.0
        moved = spaxels.warped(Warp.rigid(frame.shape, dy=level))
        spectra = ExtractSpaxels(spacing=100.0, rounds=1, grain=self.grain).run(frame, moved, waves)
        sky = sky_of(spectra, spaxels, waves, lines)
        columns, names = column_shifts(sky, coarse_columns(sky, self.max_shift), self.min_snr, self.floor_x)
        ny, nx = frame.shape
        centre = ((nx - 1) / 2.0, (ny - 1) / 2.0)
        rigid = fit_rigid(columns, rows, leans(rows, spaxels, frame.shape), centre, EXPECTED)
        return self._judged(rigid, rows, names, frame.shape)

    def _judged(self, rigid: Rigid, rows: Points, names: list[float], shape: tuple[int, int]) -> Warp:
        dx, dy, turn = (float(value) for value in rigid.values)
        used = tuple(name for name, weight in zip(names, rigid.line_weight, strict=True) if weight > SOUND)
        error = np.sqrt(np.diag(rigid.covariance))
        why = {
            "along the dispersion": self._doubtful(dx, float(error[0]), rigid.chi2_dof, len(used), 2, "lines"),
            "across it": self._doubtful(dy, float(error[1]), rigid.chi2_dof, rows.x.size, 4, "parts of the detector"),
        }
        fine = [not reason for reason in why.values()]
        caveats = tuple(
            Caveat(
                "flexure.spaxels", f"The flexure {axis} was not measured: {reason}; the calibrations' place was kept."
            )
            for axis, reason in why.items()
            if reason
        )
        return Warp.rigid(
            shape,
            dx=dx if fine[0] else 0.0,
            dy=dy if fine[1] else 0.0,
            turn=turn if all(fine) else 0.0,
            covariance=rigid.covariance,
            lines=used,
            chi2_dof=rigid.chi2_dof,
            accepted=all(fine),
            caveats=caveats,
        )

    def _doubtful(self, shift: float, error: float, chi2: float, count: int, least: int, what: str) -> str:
        """Return why a shift fails its test, or nothing."""
        if count < least:
            return f"{count} {what} were seen, {least} are needed"
        if error > self.max_error:
            return f"it is known to {error:.2f} pixel only"
        if abs(shift) > self.max_shift:
            return f"{shift:.1f} pixel are not credible"
        return f"its parts disagree (chi2 {chi2:.1f})" if chi2 > self.max_chi2 else ""
