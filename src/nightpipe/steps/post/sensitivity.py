"""The response of telescope, instrument and detector from standards, repeated ones compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import BadFrameError, NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.response import Curve, fit_curve
from nightpipe.model.exposure import Exposure
from nightpipe.model.references import Extinction, Standard
from nightpipe.model.spectrum import Response, Spectrum
from nightpipe.steps.post.air import effective_airmass, extinction_caveats
from nightpipe.steps.post.points import ARRAYS, THROUGH, UNSURE, Points, measure

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

GRID = 5.0
"""Sampling [Angstrom] of the fitted response."""
HAZY = 0.15
"""Error given to points in telluric bands where nothing else reaches the end of the range."""
LOST = 0.5
"""Error of the logarithm with which a response is as good as none."""
STIFF = 8.0
"""No piece of the spline is narrower than so many line widths: narrower features are the star's."""
LEAST = 8
"""Fewer clear points than this are no response."""


STRETCH = 4
"""So many neighbouring points that the fit leaves out are no outliers: it does not hold there, nor beyond."""


@dataclass(frozen=True)
class Compared:
    """One exposure beside the best: `ratio` of their responses (1: alike) at `wave`, its median, its spread."""

    points: Points
    wave: FloatArray
    ratio: FloatArray
    level: float
    spread: float


class Sensitivity(Step):
    """Derive the response above the atmosphere from the exposures of one or more standards.

    Each is compared with its table in bands; the exposure with the highest response is the reference, for light lost
    at the slit can only lower it. Others join after a grey shift if their shape agrees. A cubic spline, its stiffness
    chosen by cross-validation and its knots crowded at a filter's edge, goes through the points; it is never continued
    beyond them. Lines of the star are left out, but where the instrument blurs them so much that the table tells what
    is left of them. Points in telluric bands bear the error of the bands' correction, or without one are left out.
    """

    version: ClassVar[int] = 5

    pieces: int = parameter(0, "polynomial pieces of the spline, 0: chosen by cross-validation", ge=0, le=60)
    clip: float = parameter(4.0, "points farther from the fit are left out", unit="sigma", gt=1.0)
    floor: float = parameter(0.01, "relative error added to each point: tables, flats, lines", ge=0.0, lt=1.0)
    shape_tolerance: float = parameter(0.03, "rms over wavelength to which exposures must agree to be joined", gt=0.0)
    warn_ratio: float = parameter(0.1, "relative difference of exposures above which a caveat tells", gt=0.0)
    least: float = parameter(0.01, "where the response is below this share of its peak there is none", ge=0.0, lt=1.0)
    max_saturated: float = parameter(0.02, "share of saturated bins above which an exposure is not preferred", ge=0.0)

    def run(
        self, spectra: tuple[Spectrum, ...], standards: tuple[Standard, ...], extinction: Extinction | None
    ) -> Response:
        """Return the response; `spectra` and `standards` go together one by one.

        Raises BadFrameError where the exposures are of different setups, NoSolutionError where too few points are left.
        """
        _one_setup(spectra)
        measured = tuple(
            _sensitive(measure(one, star, extinction), self.least) for one, star in zip(spectra, standards, strict=True)
        )
        measured = tuple(points for points in measured if points.clear.sum() >= LEAST)
        if not measured:
            wanted = f"{LEAST} points of a standard outside lines and bands"
            raise NoSolutionError(wanted, "fewer", "use a standard whose table covers the spectrum")
        best = self._best(measured)
        compared = tuple(_compared(points, best) for points in measured)
        joined = tuple(one for one in compared if one.points is best or one.spread <= self.shape_tolerance)
        pooled = _pooled(joined)
        curve, keep = self._fit(pooled)
        found = merged(*(points.caveats for points in measured), self._told(compared, joined, best))
        caveats = merged(found, extinction_caveats(extinction), _edge(pooled, keep), self._scatter(curve))
        return _response(curve, pooled, keep, compared, spectra, caveats)

    def _best(self, measured: tuple[Points, ...]) -> Points:
        """Return the exposure that lost least light, unless saturated, over the wavelengths that all have."""
        low = max(points.wave[points.clear].min() for points in measured)
        high = min(points.wave[points.clear].max() for points in measured)
        fair = tuple(points for points in measured if points.saturated <= self.max_saturated) or measured
        return max(fair, key=lambda points: _level(points, low, high))

    def _fit(self, pooled: Points) -> tuple[Curve, Bools]:
        corrected = pooled.telluric & (pooled.hidden < THROUGH)
        keep = pooled.clear | corrected | _beyond(pooled)
        unsure = np.where(corrected, np.hypot(self.floor, UNSURE * pooled.hidden), HAZY)
        error = np.hypot(pooled.error, np.where(pooled.clear, self.floor, unsure))
        wave, value = pooled.wave[keep], pooled.value[keep]
        most = max(int((wave.max() - wave.min()) / (STIFF * pooled.fwhm)), 3)
        return fit_curve(wave, value, error[keep], pieces=self.pieces, most=most, clip=self.clip), keep

    def _told(self, compared: tuple[Compared, ...], joined: tuple[Compared, ...], best: Points) -> tuple[Caveat, ...]:
        caveats = []
        for one in compared:
            far = abs(one.level - 1.0) > self.warn_ratio or one.spread > self.shape_tolerance
            if one.points is best or not far:
                continue
            kind = "repeated" if one.points.star == best.star else "disagree"
            use = "used for the shape" if any(one is other for other in joined) else "not used"
            low, high = float(np.min(one.ratio)), float(np.max(one.ratio))
            text = (
                f"{best.name} has {low:.2f} to {high:.2f} times the counts of {one.points.name}, depending on"
                f" wavelength; the former was taken, the latter {use}"
            )
            caveats.append(Caveat(f"standard.{kind}", text))
        if best.saturated > self.max_saturated:
            text = f"{best.name}: {100 * best.saturated:.0f} per cent of the bins are saturated"
            caveats.append(Caveat("standard.saturated", text))
        return tuple(caveats)

    def _scatter(self, curve: Curve) -> tuple[Caveat, ...]:
        if curve.scatter <= 5 * max(self.floor, 0.01):
            return ()
        return (Caveat("response.scatter", f"points scatter by {100 * curve.scatter:.0f} per cent about the response"),)


def _one_setup(spectra: tuple[Spectrum, ...]) -> None:
    kinds = {
        (one.exposure.instrument, one.exposure.setup.arm, one.exposure.setup.disperser)
        for one in spectra
        if one.exposure
    }
    if len(kinds) > 1:
        found = ", ".join(" ".join(kind) for kind in sorted(kinds))
        raise BadFrameError("standards of one setup", found, "derive one response for each setup")


def _sensitive(points: Points, least: float) -> Points:
    """Return the points around the peak of the response, as far as it stays above `least` of it."""
    wave, value = points.wave[points.clear], points.value[points.clear]
    if not wave.size:
        return points
    weak, peak = value < value.max() + np.log(max(least, 1e-12)), wave[np.argmax(value)]
    low = np.max(wave[weak & (wave < peak)], initial=-np.inf)
    high = np.min(wave[weak & (wave > peak)], initial=np.inf)
    return points.only((points.wave > low) & (points.wave < high))


def _level(points: Points, low: float, high: float) -> float:
    inside = points.clear & (points.wave >= low) & (points.wave <= high)
    return float(np.median(points.value[inside if inside.any() else points.clear]))


def _compared(points: Points, best: Points) -> Compared:
    """Return how many times more counts the best exposure has, relative to what its star would give."""
    ours, theirs = best.clear & (best.error < 0.1), points.clear & (points.error < 0.1)
    low = max(best.wave[ours].min(), points.wave[theirs].min())
    high = min(best.wave[ours].max(), points.wave[theirs].max())
    wave = points.wave[theirs & (points.wave >= low) & (points.wave <= high)]
    if len(wave) < 3:
        return Compared(points, wave, np.ones(len(wave)), 1.0, np.inf)
    difference = np.interp(wave, best.wave[ours], best.value[ours]) - np.interp(wave, points.wave, points.value)
    ratio = np.exp(_running_median(difference))
    spread = 0.0 if points is best else 1.4826 * float(np.median(np.abs(np.log(ratio / np.median(ratio)))))
    return Compared(points, wave, ratio, float(np.median(ratio)), spread)


def _running_median(values: FloatArray, size: int = 5) -> FloatArray:
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(values, size=min(size, len(values)), mode="nearest"))


def _pooled(joined: tuple[Compared, ...]) -> Points:
    """Return the points of all joined exposures, each raised to the level of the best, in order of wavelength."""
    first = joined[0].points
    parts = [(one.points, np.log(one.level)) for one in joined]
    wave = np.concatenate([points.wave for points, _ in parts])
    order = np.argsort(wave, kind="stable")
    value = np.concatenate([points.value + shift for points, shift in parts])
    rest: dict[str, Any] = {
        name: np.concatenate([getattr(points, name) for points, _ in parts])[order] for name in ARRAYS[2:]
    }
    return replace(first, wave=wave[order], value=value[order], **rest)


def _beyond(pooled: Points) -> Bools:
    """Return the telluric points beyond the outermost clear ones: better than nothing there, with a large error."""
    clear = pooled.wave[pooled.clear]
    return pooled.telluric & (pooled.wave > clear.max())


def _edge(pooled: Points, keep: Bools) -> tuple[Caveat, ...]:
    hazy, last = keep & ~pooled.clear & (pooled.hidden >= THROUGH), float(pooled.wave[pooled.clear].max())
    if not hazy.any():
        return ()
    text = f"beyond {last:.0f} Angstrom the response rests on telluric bands alone"
    return (Caveat("response.telluric", text),)


def _response(
    curve: Curve,
    pooled: Points,
    keep: Bools,
    compared: tuple[Compared, ...],
    spectra: tuple[Spectrum, ...],
    caveats: tuple[Caveat, ...],
) -> Response:
    kept = np.flatnonzero(keep)
    on_curve = held(curve.used)
    used = np.zeros(len(pooled.wave), dtype=bool)
    used[kept[on_curve]] = True
    fitted = pooled.wave[used]
    wave = np.append(np.arange(fitted.min(), fitted.max(), GRID), fitted.max())
    wave = wave[known(curve.sigma(wave))]
    low, high = float(wave[0]), float(wave[-1])
    used &= (pooled.wave >= low) & (pooled.wave <= high)
    ended = _ended(pooled.wave[kept], float(fitted.min()), float(fitted.max()))
    caveats = merged(caveats, ended, cut_ends((float(fitted.min()), low), (high, float(fitted.max()))))
    exposures = [one.exposure for one in spectra if one.exposure is not None]
    return Response(
        wave=wave,
        log_response=curve(wave),
        error=curve.sigma(wave),
        range=(low, high),
        point_wave=pooled.wave,
        point_value=pooled.value,
        point_used=used,
        standards=tuple(one.points.name for one in compared),
        ratios=tuple(1.0 / one.level for one in compared),
        setup=exposures[0].setup.label() if exposures else "",
        mjd=_middle(exposures),
        caveats=caveats,
        airmass=float(np.mean([effective_airmass(one)[0] for one in exposures])) if exposures else 0.0,
    )


def held(used: Bools) -> Bools:
    """Return the used points of the stretch about the middle one in which the fit holds (see `STRETCH`)."""
    places = np.flatnonzero(used)
    breaks = np.flatnonzero(np.diff(places) > STRETCH)
    bounds = np.concatenate([[0], breaks + 1, [len(places)]])
    part = int(np.searchsorted(bounds, len(places) // 2, side="right")) - 1
    found = np.zeros(len(used), dtype=bool)
    found[places[bounds[part] : bounds[part + 1]]] = True
    return found


def known(error: FloatArray) -> slice:
    """Return the part of a curve that is left when its ends are cut where its `error` (n,) says nothing is known.

    Beyond the last points that hold it a curve may run anywhere. Only the outer tenths are looked at: within, a gap
    ends nothing.
    """
    tenth, lost = max(len(error) // 10, 1), error >= LOST
    before, after = np.flatnonzero(lost[:tenth]), np.flatnonzero(lost[-tenth:])
    first = int(before[-1]) + 1 if len(before) else 0
    return slice(first, len(error) - tenth + int(after[0]) if len(after) else len(error))


def cut_ends(*ends: tuple[float, float]) -> tuple[Caveat, ...]:
    """Return a caveat of the ends (from, to) [Angstrom] that were cut where the curve is lost."""
    cut = [f"{low:.0f} to {high:.0f}" for low, high in ends if high > low]
    if not cut:
        return ()
    text = f"no response from {' and from '.join(cut)} Angstrom: too little of the standard is left there to tell it"
    return (Caveat("response.lost", text),)


def _ended(wave: FloatArray, low: float, high: float) -> tuple[Caveat, ...]:
    """Return a caveat where the response ends because the points beyond do not lie on it."""
    beyond = [f"{wave[0]:.0f} to {low:.0f}"] if np.sum(wave < low) >= STRETCH else []
    beyond += [f"{high:.0f} to {wave[-1]:.0f}"] if np.sum(wave > high) >= STRETCH else []
    if not beyond:
        return ()
    text = f"no response from {' and from '.join(beyond)} Angstrom: the standard's points there do not lie on a curve"
    return (Caveat("response.ends", text),)


def _middle(exposures: list[Exposure]) -> float:
    return float(np.mean([one.mjd for one in exposures])) if exposures else 0.0
