"""Objects in the slit: found by significance, or placed where someone asks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import DataError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.poly import Poly1, fit1
from nightpipe.maths.slit import offsets
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import SkyModel, Source
from nightpipe.model.traces import Trace, TraceSet
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.spectra.collapse import Chunks, collapsed, residual
from nightpipe.steps.spectra.detect import Found, Rules, detect, empirical_scale, significance
from nightpipe.steps.spectra.slitgrid import middle, pixel_scale, slit_arcsec, slit_grid

Mask = NDArray[np.bool_]

SEEING = 1.2
"""Seeing [arcsec] that is assumed where nothing in the frame tells it."""

WING = 0.1
"""Share of a star's own light by which its wings may deviate from their mirror image."""
NARROWEST = 0.5
"""Share of the brightest object's width below which nothing can be an object: the air blurs all alike."""
SURE = 50.0
"""Significance from which the brightest object's width is a measure of the seeing."""


class FindSources(Step):
    """Find the objects in the slit by their significance, and trace them; a star, however bright, is one object."""

    version: ClassVar[int] = 2
    threshold: float = parameter(5.0, "significance that an object must have", unit="sigma", ge=2)
    max_sources: int = parameter(8, "objects kept, the most significant first", ge=1, le=50)
    brightest_only: bool = parameter(default=False, help="keep the most significant object only")
    add: tuple[float, ...] = parameter((), "positions to extract as well", unit="arcsec from the slit's centre")
    drop: tuple[float, ...] = parameter(
        (), "positions of found objects to leave out", unit="arcsec from the slit's centre"
    )
    tolerance: float = parameter(1.5, "how near a dropped or added position must be to an object", unit="arcsec", gt=0)
    max_tilt: float = parameter(6.0, "largest tilt of a trace against the slit, end to end", unit="pixel", ge=0)
    trace_order: int = parameter(4, "highest order of a trace's polynomial", ge=0, le=8)
    separation: float = parameter(1.2, "peaks closer than this are one object", unit="FWHM", gt=0.5)
    contrast: float = parameter(0.001, "share of a bright star's peak that ghosts and wings may have", ge=0, le=0.1)
    widest: float = parameter(8.0, "what is wider is unevenness of the sky, not an object", unit="arcsec", gt=1)
    chunks: int = parameter(12, "stretches of wavelength that are searched together", ge=1, le=100)

    def run(self, frame: Frame, sky: SkyModel, wave: WaveSolution, slit: TraceSet) -> tuple[Source, ...]:
        """Return the objects of all slits, the most significant first, named OBJ1, OBJ2 ..."""
        found = [source for trace in slit.traces for source in self._in_slit(frame, sky, wave, trace, slit.measured)]
        found = [source for source in found if not self._dropped(source)]
        found.sort(key=lambda source: -source.snr)
        found = [source for source in found if source is found[0] or _seen_through_air(source, found[0])]
        found = found[: 1 if self.brightest_only else self.max_sources]
        for place in self.add:
            forced = place_source(frame, sky, wave, slit, place, found[0] if found else None)
            found = [s for s in found if abs(s.y - forced.y) > 0.5 * s.fwhm] + [forced]
        return tuple(replace(source, name=f"OBJ{k + 1}") for k, source in enumerate(found))

    def _in_slit(self, frame: Frame, sky: SkyModel, wave: WaveSolution, trace: Trace, measured: bool) -> list[Source]:
        light = residual(frame, sky, slit_grid(wave, trace, frame.shape, margin=1.0).inside)
        columns = useful_columns(frame, wave)
        coarse = collapsed(light, columns, self.chunks)
        fine = collapsed(light, columns, fine_count(coarse, int(columns.sum())))
        rules = self._rules(pixel_scale(frame))
        found = detect(coarse, fine, slit_shape(trace, frame.shape[1], measured), rules)
        return [self._source(frame, trace, one) for one in found]

    def _rules(self, scale: float) -> Rules:
        steps = math.ceil(self.max_tilt / 1.5)
        tilts = sorted((1.5 * k for k in range(-steps, steps + 1)), key=abs)
        return Rules(
            self.threshold, filter_widths(scale), tuple(tilts), self.contrast, WING, self.separation,
            self.widest / scale, self.trace_order, self.max_sources,
        )  # fmt: skip

    def _source(self, frame: Frame, trace: Trace, one: Found) -> Source:
        y = float(one.course.centre(middle(frame)))
        caveats: tuple[Caveat, ...] = ()
        if one.course.how == "borrowed":
            text = "The object is too faint to be traced: its course is that of the slit or of a brighter object."
            caveats = (Caveat("trace.borrowed", text),)
        place = slit_arcsec(frame, trace, y)
        return Source("OBJ", y, place, one.snr, one.fwhm, object_trace(one.course.centre, one.fwhm), False, caveats)

    def _dropped(self, source: Source) -> bool:
        return any(abs(source.slit_arcsec - place) <= self.tolerance for place in self.drop)


def _seen_through_air(source: Source, brightest: Source) -> bool:
    """Tell whether an object is as wide as the seeing allows: what is far narrower is a bad row of the detector."""
    return source.fwhm >= NARROWEST * brightest.fwhm or brightest.snr < SURE


class PlaceSource(Step):
    """Put an extraction at a given position of the slit or of the sky, whether or not anything is seen there."""

    fwhm: float = parameter(
        0.0, "width of the object; 0: that of the reference object, else 1.2 arcsec", unit="arcsec", ge=0
    )
    ra: float | None = parameter(None, "right ascension of the place, if not given along the slit", unit="deg")
    dec: float | None = parameter(None, "declination of the place", unit="deg", ge=-90, le=90)
    position_angle: float | None = parameter(None, "direction in which rows count up, north through east", unit="deg")
    across: float = parameter(1.0, "further from the slit's middle than this a caveat says so", unit="arcsec", gt=0)

    def run(
        self,
        frame: Frame,
        sky: SkyModel,
        wave: WaveSolution,
        slit: TraceSet,
        slit_arcsec: float | None = None,
        reference: Source | None = None,
    ) -> Source:
        """Return a forced source at `slit_arcsec` from the slit's centre, with course and width of `reference`.

        Without `slit_arcsec` the place follows from the parameters `ra`, `dec`, `position_angle` and the exposure's
        pointing, which is taken for the slit's centre. Raises DataError where that is not enough, or outside the slit.
        """
        place, caveats = (slit_arcsec, ()) if slit_arcsec is not None else self._on_slit(frame)
        source = place_source(frame, sky, wave, slit, place, reference)
        source = replace(source, caveats=source.caveats + caveats)
        if self.fwhm == 0:
            return source
        width = self.fwhm / pixel_scale(frame)
        return replace(source, fwhm=width, trace=object_trace(source.trace.centre, width))

    def _on_slit(self, frame: Frame) -> tuple[float, tuple[Caveat, ...]]:
        pointing = frame.exposure
        if self.ra is None or self.dec is None or self.position_angle is None:
            raise DataError(
                "a place on the slit", "neither slit_arcsec nor ra, dec and position_angle", "give one of them"
            )
        if pointing is None or pointing.ra is None or pointing.dec is None:
            raise DataError("the pointing of the exposure", "none in the header", "give the position along the slit")
        along, across = offsets(self.ra, self.dec, pointing.ra, pointing.dec, self.position_angle)
        if abs(across) <= self.across:
            return along, ()
        return along, (
            Caveat("source.off_slit", f"The place lies {across:+.1f} arcsec beside the middle of the slit."),
        )


def place_source(
    frame: Frame, sky: SkyModel, wave: WaveSolution, slit: TraceSet, place: float, reference: Source | None
) -> Source:
    """Return a forced source with the course of `reference`, else of the slit, and its significance there.

    Raises DataError where the position lies outside the slit.
    """
    trace, x = slit.traces[0], middle(frame)
    y = float(trace.centre(x)) + place / pixel_scale(frame)
    low, high = float(trace.lower(x)), float(trace.upper(x))
    if not low <= y <= high:
        span = f"{slit_arcsec(frame, trace, low):.1f} to {slit_arcsec(frame, trace, high):.1f} arcsec"
        raise DataError(
            "a position within the slit", f"{place:.1f} arcsec, slit from {span}", "mind the sign: up is positive"
        )
    course = reference.trace.centre if reference else slit_shape(trace, frame.shape[1], slit.measured)
    course = course.shifted(y - float(course(x)))
    fwhm = reference.fwhm if reference else SEEING / pixel_scale(frame)
    caveats = () if reference else (Caveat("source.assumed", f"Width ({SEEING} arcsec) and course are assumed."),)
    snr = _significance(frame, sky, wave, trace, course, fwhm)
    return Source("OBJ", y, place, snr, fwhm, object_trace(course, fwhm), True, caveats)


def _significance(frame: Frame, sky: SkyModel, wave: WaveSolution, trace: Trace, course: Poly1, fwhm: float) -> float:
    light = residual(frame, sky, slit_grid(wave, trace, frame.shape, margin=1.0).inside)
    chunks = collapsed(light, useful_columns(frame, wave), 12)
    rules = Rules(5.0, (fwhm,), (0.0,), 0.0, 0.0, 1.0, np.inf, 0, 1)
    scale = empirical_scale(chunks, np.zeros(chunks.value.shape), course, rules)
    return significance(chunks, course, fwhm) / scale


def useful_columns(frame: Frame, wave: WaveSolution) -> Mask:
    """Return the columns whose wavelength is within the useful range of the disperser, else of the solution."""
    centre = wave.at(np.arange(frame.shape[1], dtype=np.float64), wave.y_ref)
    low, high = frame.disperser.range if frame.disperser is not None else wave.range
    columns = (centre >= low) & (centre <= high)
    return columns if columns.sum() >= 8 else np.ones(frame.shape[1], dtype=bool)


def slit_shape(trace: Trace, nx: int, measured: bool) -> Poly1:
    """Return the slit's course relative to its place at the middle column, on the domain of the whole frame."""
    domain = (0.0, nx - 1.0)
    if not measured:
        return Poly1(np.zeros(2), domain)
    columns = np.linspace(*domain, 64)
    centre = trace.centre(columns)
    shape = fit1(columns, centre, max(len(trace.centre.coef) - 1, 1), domain=domain)
    return Poly1(shape.shifted(-float(shape(0.5 * (nx - 1)))).coef, domain)


def filter_widths(scale: float) -> tuple[float, ...]:
    """Return the FWHM [pixel] of the matched filters: 0.6 to 4 arcsec, at least 1.5 pixels."""
    widths = np.maximum(np.geomspace(0.6, 4.0, 6) / scale, 1.5)
    return tuple(float(width) for width in np.unique(np.round(widths, 3)))


def fine_count(coarse: Chunks, columns: int) -> int:
    """Return how many chunks a trace may have: as many as keep the brightest row significant, 16 columns at least."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.isfinite(coarse.error), coarse.value / coarse.error, 0.0)
    best = float(np.median(ratio.max(axis=1)))
    wanted = len(coarse.x) * (max(best, 0.0) / 6.0) ** 2
    return int(np.clip(wanted, 4, max(columns // 16, 4)))


def object_trace(centre: Poly1, fwhm: float) -> Trace:
    """Return the strip of half a FWHM to both sides of the centre."""
    return Trace("object", "object", centre, centre.shifted(-0.5 * fwhm), centre.shifted(0.5 * fwhm))
