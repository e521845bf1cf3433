"""Flexure: between arc and exposure the spectrum moves on the detector; the night sky's lines tell how far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.step import Step, parameter
from nightpipe.maths.lines import LineShape, shape_between
from nightpipe.maths.poly import Poly1
from nightpipe.maths.robust import mad_std
from nightpipe.maths.skyfield import Field, Points, fit_field
from nightpipe.maths.skyshift import Shift, Template, Window, about, coarse_shift, fit_windows, slit_width, windows
from nightpipe.model.frame import Frame
from nightpipe.model.references import LineList
from nightpipe.model.traces import TraceSet
from nightpipe.model.warp import Warp
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.spectra.rows import Row, collapsed, slit_rows
from nightpipe.steps.spectra.slitlines import blocks_of

FloatArray = NDArray[np.float64]


class Flexure(Step):
    """Shift the wavelength scale by what the night-sky lines of the exposure say, as a smooth field over the slit.

    Where the sky's lines are wider or narrower than the arc's, the slit was another one: the scale takes their width.
    """

    version: ClassVar[int] = 3
    bin_rows: int = parameter(40, "rows of one bin along the slit, objects left out", unit="pixel", ge=3)
    order_x: int = parameter(1, "highest order of the shift along the dispersion", ge=0, le=2)
    order_y: int = parameter(2, "highest order of the shift along the slit", ge=0, le=4)
    max_shift: float = parameter(6.0, "largest shift that is searched", unit="pixel", gt=0)
    min_snr: float = parameter(6.0, "significance that a sky line needs in a bin", ge=3)
    max_doubt: float = parameter(
        0.15, "blends whose centre is less certain than this are not used, nor is a fit", unit="pixel", gt=0
    )
    stretch: float = parameter(
        0.1, "what the ends of the dispersion usually move against the middle", unit="pixel", gt=0
    )
    withhold: tuple[float, ...] = parameter(
        (), "sky lines (vacuum) kept out of the fit and recorded beside it", unit="Angstrom"
    )

    def run(self, frame: Frame, wave: WaveSolution, slit: TraceSet, lines: LineList) -> WaveSolution:
        """Return `wave` with the exposure's warp; unwarped, with the caveat ``flexure.none``, where sky is too faint.

        Every sky line is compared with a template of the sky at the arc's line width, blends and all, in bins along the
        slit. The field of shifts is no more complex than the points warrant; its covariance says how well it is known.
        """
        low, high = slit_rows(frame, slit.traces[0].lower, slit.traces[0].upper)
        scene = _Scene(frame, wave, lines, empty_rows(frame, low, high))
        start = scene.start(low, high, self.max_shift)
        wave = scene.widened(low, high, start)
        scene = replace(scene, wave=wave)
        blocks = blocks_of(low, high, self.bin_rows)
        found = [scene.bin(block, start, self.min_snr) for block in blocks]
        points = _points(found, wave, self.withhold, self.max_doubt)
        if not _enough(points):
            return _none(wave, "no night-sky line is bright enough")
        ny, nx = frame.shape
        orders, stretch = (self.order_x, self.order_y), self._stretch(wave)
        field = fit_field(points, (0.0, nx - 1.0), (0.0, ny - 1.0), orders, stretch)
        if abs(field.shift.coef[0, 0]) > self.max_shift:
            return _none(wave, f"a shift of {field.shift.coef[0, 0]:.1f} pixel is not credible")
        sure = float(np.squeeze(field.shift.sigma((nx - 1) / 2.0, (ny - 1) / 2.0)))
        if sure > self.max_doubt:
            return _none(wave, f"the sky's lines tell the shift to {sure:.2f} pixel only")
        used = tuple(sorted({float(w) for w in scene.labels(found, points)}))
        withheld = scene.withheld(blocks, start, self.withhold, field) if self.withhold else None
        return wave.warped(Warp(field.shift, lines=used, chi2_dof=field.chi2_dof, withheld=withheld))

    def _stretch(self, wave: WaveSolution) -> float:
        """Return the usual stretch [pixel]: a scale without an arc may be out by as much as it is shifted."""
        nominal = "wave.nominal" in {caveat.code for caveat in wave.caveats}
        return self.max_shift if nominal else self.stretch


def empty_rows(frame: Frame, low: int, high: int) -> NDArray[np.bool_]:
    """Return which rows (ny,) of the slit hold no bright object: those near the median brightness along the slit."""
    level = np.median(frame.data, axis=1).astype(np.float64)
    inside = np.zeros(len(level), dtype=bool)
    inside[low:high] = True
    middle, spread = float(np.median(level[inside])), float(mad_std(level[inside]))
    empty = inside & (level < middle + 5.0 * max(spread, 1e-6))
    return empty if empty.sum() > 0.3 * inside.sum() else inside


@dataclass(frozen=True)
class Measurement:
    """One window in one bin."""

    window: Window
    x: float
    y: float
    result: Shift


@dataclass(frozen=True)
class _Scene:
    """One exposure, as the measurements need it."""

    frame: Frame
    wave: WaveSolution
    lines: LineList
    empty: NDArray[np.bool_]

    @property
    def shape(self) -> LineShape:
        n = self.frame.shape[1]
        width = self.wave.fwhm(np.array([0.0, n - 1.0]))
        return shape_between(float(width[0]), float(width[1]), self.wave.box, n)

    def template(self, y: float, rows: float = 0.0) -> Template:
        """Return the sky lines where the unwarped scale puts them on the mean of `rows` rows about `y`.

        Curved lines lie elsewhere on the mean of the rows than on the mean row: two rows stand for all (Gauss's rule).
        """
        x = np.arange(self.frame.shape[1], dtype=np.float64)
        beside = 0.5 * rows / np.sqrt(3.0)
        scale = 0.5 * (self.wave.poly(x, y - beside) + self.wave.poly(x, y + beside))
        place = np.interp(self.lines.wave, scale, x, left=-1e6, right=1e6)
        return Template(self.lines.wave, self.lines.intensity, place, self.shape)

    def row(self, block: tuple[int, int]) -> tuple[Row, float] | None:
        """Return the typical row of a bin, objects left out, and its y; None when hardly a row is left."""
        rows = np.flatnonzero(self.empty[block[0] : block[1]]) + block[0]
        if len(rows) < max(3, 0.25 * (block[1] - block[0])):
            return None
        part = self.frame.but(data=self.frame.data[rows], var=self.frame.var[rows], mask=self.frame.mask[rows])
        return collapsed(part, 0, len(rows)), float(rows.mean())

    def middle(self, low: int, high: int) -> tuple[Row, float] | None:
        """Return the typical row about the slit's middle, and its y."""
        middle = (low + high) // 2
        reach = min(60, max((high - low) // 3, 2))
        return self.row((max(low, middle - reach), min(high, middle + reach)))

    def widened(self, low: int, high: int, start: float) -> WaveSolution:
        """Return the scale with the line width that the exposure's own slit gives, where that is not the arc's."""
        typical = self.middle(low, high)
        if typical is None:
            return self.wave
        row, y = typical
        factor = slit_width(row.flux, row.error, self.template(y), start)
        if factor == 1.0:
            return self.wave
        n = self.frame.shape[1]
        shape = replace(self.shape, box=factor * self.wave.box)
        width = shape.fwhm_at(np.array([0.0, n - 1.0]))
        coef = np.array([0.5 * (width[0] + width[1]), 0.5 * (width[1] - width[0])])
        return replace(self.wave, box=shape.box, fwhm=Poly1(coef, (0.0, n - 1.0)))

    def start(self, low: int, high: int, most: float) -> float:
        """Return the shift of the whole slit, roughly."""
        typical = self.middle(low, high)
        if typical is None:
            return 0.0
        row, y = typical
        template = self.template(y)
        strong = windows(template, len(row.flux), most=12)
        fits = fit_windows(row.flux, row.error, template, strong)
        good = [f.shift for f in fits if f is not None and f.snr > 8 and abs(f.shift) < 1.0]
        if len(good) >= 3 and float(mad_std(good)) < 0.3:
            return float(np.median(good))
        return coarse_shift(row.flux, row.error, template, most)

    def bin(self, block: tuple[int, int], start: float, least: float) -> list[Measurement]:
        """Return the windows of one bin in which sky is seen."""
        typical = self.row(block)
        if typical is None:
            return []
        row, y = typical
        template = self.template(y, block[1] - block[0])
        wanted = windows(template, len(row.flux))
        return [
            Measurement(window, 0.5 * (window.low + window.high - 1) + one.shift, y, one)
            for window, one in zip(wanted, self._fits(row, template, wanted, start), strict=True)
            if one is not None and one.snr > least and one.error < 0.5
        ]

    def _fits(self, row: Row, template: Template, wanted: list[Window], start: float) -> list[Shift | None]:
        """Return the shifts of the windows; None where one is not all usable, or shows nothing."""
        move = round(start)
        moved = [replace(window, low=window.low + move, high=window.high + move) for window in wanted]
        held = [w.low >= 0 and w.high <= len(row.flux) and bool(row.usable[w.low : w.high].all()) for w in moved]
        there = [window for window, ok in zip(moved, held, strict=True) if ok]
        fits = iter(fit_windows(row.flux, row.error, template, there, start))
        return [next(fits) if ok else None for ok in held]

    def labels(self, found: list[list[Measurement]], points: Points) -> list[float]:
        """Return the wavelengths of the lines that entered the fit."""
        kept = set(zip(points.x.tolist(), points.y.tolist(), strict=True))
        return [m.window.wave for bin_ in found for m in bin_ if (m.x, m.y) in kept]

    def withheld(
        self, blocks: list[tuple[int, int]], start: float, wanted: tuple[float, ...], field: Field
    ) -> dict[str, float]:
        """Return offset and sigma [Angstrom] of each withheld line in each bin, after the correction."""
        out: dict[str, float] = {}
        for block in blocks:
            typical = self.row(block)
            if typical is None:
                continue
            row, y = typical
            template = self.template(y, block[1] - block[0])
            for line in wanted:
                window = about(template, line, len(row.flux))
                one = self._fits(row, template, [window], start)[0] if window is not None else None
                if window is None or one is None or one.snr < 5.0:
                    continue
                x = 0.5 * (window.low + window.high - 1) + one.shift
                dispersion = float(self.wave.dispersion(np.array([x]), y)[0])
                key = f"{window.wave:.2f}@{y:.1f}"
                out[key] = (one.shift - float(np.squeeze(field.shift(x, y)))) * dispersion
                model = float(np.squeeze(field.shift.sigma(x, y)))
                out[f"{key} sigma"] = float(np.sqrt(one.error**2 + one.doubt**2 + model**2)) * dispersion
        return out


def _points(
    found: list[list[Measurement]], wave: WaveSolution, withhold: tuple[float, ...], max_doubt: float
) -> Points:
    """Return the points that may enter the fit; a line's doubt is its blend's and that of the wavelength scale."""
    every = [m for bin_ in found for m in bin_ if m.result.doubt < max_doubt]
    every = [m for m in every if all(abs(m.window.wave - w) > _reach(wave, m) for w in withhold)]
    names = sorted({m.window.wave for m in every})
    doubt = np.zeros(len(names))
    for k, name in enumerate(names):
        of = [m for m in every if m.window.wave == name]
        x, y = float(np.mean([m.x for m in of])), wave.y_ref
        scale = float(np.squeeze(wave.poly.sigma(x, y))) / float(wave.dispersion(np.array([x]), y)[0])
        doubt[k] = np.hypot(float(np.median([m.result.doubt for m in of])), scale)
    return Points(
        x=np.array([m.x for m in every]),
        y=np.array([m.y for m in every]),
        shift=np.array([m.result.shift for m in every]),
        error=np.array([m.result.error for m in every]),
        line=np.array([names.index(m.window.wave) for m in every], dtype=np.intp),
        doubt=doubt,
    )


def _reach(wave: WaveSolution, m: Measurement) -> float:
    """Return how near [Angstrom] a line must be to a withheld one to count as it: its own window."""
    return 0.5 * (m.window.high - m.window.low) * float(wave.dispersion(np.array([m.x]), m.y)[0])


def _enough(points: Points) -> bool:
    """Return whether two lines at least are measured well enough to check each other."""
    certain = points.error < 0.3
    return len(np.unique(points.line[certain])) >= 2 and int(certain.sum()) >= 4


def _none(wave: WaveSolution, why: str) -> WaveSolution:
    text = f"The flexure was not measured, {why}: wavelengths are the arc's."
    return replace(wave.warped(None), caveats=merged(wave.caveats, (Caveat("flexure.none", text),)))
