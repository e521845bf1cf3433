"""Absorption by the air's oxygen and water: measured in a spectrum, and taken out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.maths.rebin import widths
from nightpipe.maths.telluric import Column, OpticalDepth
from nightpipe.model.atmosphere import AirState
from nightpipe.model.flags import Flag
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.post.air import effective_airmass
from nightpipe.steps.post.airmodel import PIVOT, Air, Band, Model, windows

FloatArray = NDArray[np.float64]

START = np.array([0.0, np.log(3.0), 0.0, 0.0, 0.0, 0.0])
"""Log of oxygen, of water [mm], of the lines' relative width, shift [pixel], slope [pixel/1000 A], log of the A band's
relative width: the first guess."""
SEEN = 0.99
"""Nobody needs to know of bands that hide less than this lets through."""
STEPS = np.array([0.02, 0.03, 0.02, 0.05, 0.05, 0.02])
MOST = np.array([0.3, 0.7, 0.15, 0.5, 0.3, 0.1])
"""Natural steps of the numbers, and how far one turn may go."""
TURNS = 12
POOR = 3.0
"""What is left in a band, over its errors, that nobody should miss."""
FIXED = 1e-6
"""Error of what is not free."""
TOLD, TELLING = 0.7, 0.9
"""A spectrum tells a number itself where its error is so much less than the site's, and than that of all that is known
beforehand: two exposures of one standard leave each other 0.71."""


@dataclass(frozen=True)
class Prior:
    """What is known of the six numbers beforehand: mean and standard deviation (6,)."""

    mean: FloatArray
    sigma: FloatArray
    source: str


class FitAir(Step):
    """Measure oxygen, water, line width and shift in a spectrum's own telluric bands.

    The transmission is monochromatic, for the airmass of the exposure, then blurred to the spectrum's resolution; in
    each band it multiplies a smooth continuum (or a template times one) that is solved for along the way. Six numbers
    with priors are fitted by Gauss-Newton; where a spectrum says nothing, the priors speak. Standards of the night, or
    other exposures, give the priors of a target: interpolated in time, the less certain the longer ago. The method is
    that of molecfit (Smette et al. 2015, A&A 576, A77) on a fixed profile of the atmosphere.
    """

    version: ClassVar[int] = 3

    oxygen_sigma: float = parameter(0.15, "how far oxygen may differ from the site's mean, relative", gt=0.0, le=1.0)
    water: float = parameter(3.0, "precipitable water where nothing is known", unit="mm", gt=0.0)
    water_sigma: float = parameter(1.0, "uncertainty of its natural logarithm", gt=0.0)
    water_drift: float = parameter(0.15, "by how much water may change in an hour, relative", ge=0.0)
    lsf_sigma: float = parameter(0.2, "how far lines may be broader than the spectrum says, relative", ge=0.0)
    broad_sigma: float = parameter(0.2, "how much broader than others lines of the A band may be, relative", ge=0.0)
    shift_sigma: float = parameter(0.25, "how far wavelengths may be off: a star beside the slit's middle, flexure",
                                   unit="line width", ge=0.0)  # fmt: skip
    slope_sigma: float = parameter(0.3, "by how much that may change in 1000 Angstrom: far lines are few",
                                   unit="pixel", ge=0.0)  # fmt: skip
    stretch: float = parameter(150.0, "the continuum bends once in so much", unit="Angstrom", gt=10.0)
    floor: float = parameter(0.004, "relative error of each pixel for a continuum that is no polynomial", ge=0.0)
    model_error: float = parameter(0.03, "what the table of lines may be wrong by, relative to the absorption", ge=0.0)
    clip: float = parameter(5.0, "pixels farther from the model are left out", unit="sigma", gt=2.0)

    def run(
        self,
        spectrum: Spectrum,
        depth: OpticalDepth,
        known: tuple[AirState, ...] = (),
        template: FloatArray | None = None,
    ) -> AirState:
        """Return the state of the air; `template` (n,) is the star's own spectrum at this resolution, where known."""
        airmass, caveats = effective_airmass(spectrum.exposure)
        site, prior = self._prior(spectrum, ()), self._prior(spectrum, known)
        model = Model(windows(spectrum, depth, template, self.floor, self.stretch))
        pixel = _pixel(spectrum)
        if not model.parts:
            return _state(spectrum, airmass, prior, prior.mean, prior.sigma, (False, False), (0.0, 0.0), caveats)
        best, told, model, worst = self._fitted(model, prior, airmass, pixel)
        left = model.residuals(_air(best, airmass, pixel))
        chi = float(
            np.sqrt(np.sum(left**2) / max(len(left) - len(best) - sum(w.basis.shape[1] for w in model.parts), 1))
        )
        snr = float(np.median(np.concatenate([np.abs(w.flux) / w.err for w in model.parts])))
        told /= max(chi, 1.0) ** 2
        errors = _errors_of(told, prior)
        free = (errors < TELLING * prior.sigma) & (_errors_of(told, site) < TOLD * site.sigma)
        found = _state(spectrum, airmass, prior, best, errors, (bool(free[0]), bool(free[1])), (chi, snr), caveats)
        return replace(found, worst=worst)

    def _prior(self, spectrum: Spectrum, known: tuple[AirState, ...]) -> Prior:
        mean = START.copy()
        mean[1] = np.log(self.water)
        shift = self.shift_sigma * _line(spectrum)
        widths_known = (self.lsf_sigma, shift, self.slope_sigma, self.broad_sigma)
        sigma = np.array([self.oxygen_sigma, self.water_sigma, *widths_known])
        exposure = spectrum.exposure
        told = [one for one in known if any(one.free) and exposure is not None and one.source != exposure.name]
        if not told or exposure is None:
            return Prior(mean, sigma, "the site's mean")
        hours = np.array([abs(state.mjd - exposure.mjd) * 24.0 for state in told])
        for k, name, drift in ((0, "oxygen", 0.02), (1, "water", self.water_drift)):
            values = np.array([getattr(state, name) for state in told if state.free[k]])
            if len(values):
                gaps = np.array([gap for gap, state in zip(hours, told, strict=True) if state.free[k]])
                mean[k], sigma[k] = _interpolated(values, gaps, drift, (mean[k], sigma[k]))
        return Prior(mean, sigma, ", ".join(dict.fromkeys(state.source for state in told)))

    def _fitted(
        self, model: Model, prior: Prior, airmass: float, pixel: float
    ) -> tuple[FloatArray, FloatArray, Model, tuple[float, float]]:
        """Return the six numbers, the spectrum's own information (6, 6) on them, the last model, the worst band."""
        best = _most_probable(model, prior, airmass, pixel, prior.mean)
        model = model.unsure(_air(best, airmass, pixel), self.model_error)
        best = _most_probable(model, prior, airmass, pixel, best)
        model = whole = model.humble(_air(best, airmass, pixel))
        best = _most_probable(model, prior, airmass, pixel, best)
        left = model.residuals(_air(best, airmass, pixel))
        scale = max(1.0, float(1.4826 * np.median(np.abs(left))))
        keep = np.abs(left) < self.clip * scale
        if not keep.all() and keep.mean() >= 0.5:
            model = model.without(keep)
            best = _most_probable(model, prior, airmass, pixel, best)
        worst = whole.worst(_air(best, airmass, pixel))
        of_data = _jacobian(_Distance(model, prior, airmass, pixel), best)[: -len(best)]
        return best, np.asarray(of_data.T @ of_data, dtype=np.float64), model, worst


class CorrectTelluric(Step):
    """Divide by the transmission of the air's oxygen and water at the spectrum's own resolution.

    The raw flux stays known: ``flux * transmission``. The error of the transmission, from that of the columns, the line
    width and the shift, is added to the flux's; it is common to a whole band. Where too little light comes through the
    bins stay flagged.
    """

    version: ClassVar[int] = 4

    least: float = parameter(0.2, "where less comes through, the bins stay flagged", gt=0.0, lt=1.0)
    model_error: float = parameter(0.05, "relative error of the model's absorption, beside that of the fit", ge=0.0)

    def run(self, spectrum: Spectrum, depth: OpticalDepth, state: AirState) -> Spectrum:
        """Return the corrected spectrum; bins beyond the table keep their flux and their flag."""
        transmission, error, inside = self._transmission(spectrum, depth, state)
        through = np.maximum(transmission, 0.01)
        flux = spectrum.flux / through
        var = (spectrum.var + (flux * error) ** 2) / through**2
        mask = np.where(inside & (transmission >= self.least), spectrum.mask & ~np.uint32(Flag.TELLURIC), spectrum.mask)
        mask |= np.where(transmission < self.least, np.uint32(Flag.TELLURIC), np.uint32(0))
        return spectrum.but(
            flux=flux,
            var=var,
            boxcar=None if spectrum.boxcar is None else spectrum.boxcar / through,
            boxcar_var=None if spectrum.boxcar_var is None else spectrum.boxcar_var / through**2,
            mask=mask.astype(np.uint32),
            transmission=through,
            transmission_error=error,
            meta=spectrum.meta | _facts(state),
            caveats=(*state.caveats, *_caveats(depth, state, spectrum.wave[through < SEEN])),
        )

    def _transmission(
        self, spectrum: Spectrum, depth: OpticalDepth, state: AirState
    ) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        wave, width = spectrum.wave, widths(spectrum.wave)
        fwhm = np.where(np.isfinite(spectrum.fwhm) & (spectrum.fwhm > 0), spectrum.fwhm, 2.0 * width)
        pixel = _pixel(spectrum)
        values = _vector(state, pixel)
        inside = (wave > depth.wave[0] + 3 * fwhm) & (wave < depth.wave[-1] - 3 * fwhm)
        ones, zeros = np.ones(len(wave)), np.zeros(len(wave))
        if not inside.any():
            return ones, zeros, inside

        band = Band(depth, wave[inside], fwhm[inside])

        def at(vector: FloatArray) -> FloatArray:
            found = band(_air(vector, state.airmass, pixel))
            return np.asarray(np.where(found > 0, found, 1.0))

        best = at(values)
        errors = _errors(state, pixel)
        variance = (self.model_error * (1.0 - best)) ** 2
        for k in range(len(values)):
            moved = values.copy()
            moved[k] += errors[k]
            variance = variance + (at(moved) - best) ** 2
        transmission, error = ones.copy(), zeros.copy()
        transmission[inside], error[inside] = best, np.sqrt(variance)
        return transmission, error, inside & ~_uncovered(wave)


def _uncovered(wave: FloatArray) -> NDArray[np.bool_]:
    """Return where bands lie that the model of oxygen and water does not hold."""
    return np.asarray((wave > 10000.0) & (wave < 10700.0))


@dataclass(frozen=True)
class _Distance:
    """How far a vector (6,) leaves the data and the prior, in sigma."""

    model: Model
    prior: Prior
    airmass: float
    pixel: float

    @property
    def sigma(self) -> FloatArray:
        """Return the prior's errors; what is fixed has a tiny one."""
        return np.maximum(self.prior.sigma, FIXED)

    def __call__(self, vector: FloatArray) -> FloatArray:
        left = self.model.residuals(_air(vector, self.airmass, self.pixel))
        return np.concatenate([left, (vector - self.prior.mean) / self.sigma])


def _most_probable(model: Model, prior: Prior, airmass: float, pixel: float, begin: FloatArray) -> FloatArray:
    """Return the most probable vector (6,) by Gauss and Newton, steps halved while they do not help."""
    left = _Distance(model, prior, airmass, pixel)
    best, now = begin.copy(), left(begin)
    for _ in range(TURNS):
        step = -np.linalg.lstsq(_jacobian(left, best, now), now, rcond=None)[0]
        best, now, moved = _damped(left, best, now, np.clip(step, -MOST, MOST))
        if np.all(np.abs(moved) < 0.05 * np.minimum(left.sigma, STEPS)):
            break
    return best


def _jacobian(left: _Distance, best: FloatArray, now: FloatArray | None = None) -> FloatArray:
    at = left(best) if now is None else now
    columns = []
    for k in range(len(best)):
        moved = best.copy()
        moved[k] += STEPS[k] / 4
        columns.append((left(moved) - at) / (STEPS[k] / 4))
    return np.stack(columns, axis=1)


def _damped(
    left: _Distance, best: FloatArray, now: FloatArray, step: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    for share in (1.0, 0.5, 0.25, 0.1):
        tried = best + share * step
        found = left(tried)
        if found @ found <= now @ now * (1 + 1e-12):
            return tried, found, share * step
    return best, now, np.zeros_like(step)


def _air(vector: FloatArray, airmass: float, pixel: float) -> Air:
    column = Column(airmass * np.exp(vector[0]), airmass * np.exp(vector[1]))
    width, broad = float(np.exp(vector[2])), float(np.exp(vector[5]))
    return Air(column, width, float(vector[3] * pixel), float(vector[4] * pixel), broad)


def _pixel(spectrum: Spectrum) -> float:
    """Return the width of a pixel [Angstrom] near 7600 A."""
    at = int(np.clip(np.searchsorted(spectrum.wave, PIVOT), 1, len(spectrum.wave) - 1))
    return float(spectrum.wave[at] - spectrum.wave[at - 1])


def _line(spectrum: Spectrum) -> float:
    """Return the width of a line [pixel] near 7600 A."""
    at = int(np.clip(np.searchsorted(spectrum.wave, PIVOT), 0, len(spectrum.wave) - 1))
    width = float(spectrum.fwhm[at])
    return width / _pixel(spectrum) if np.isfinite(width) and width > 0 else 2.0


def _interpolated(
    values: FloatArray, hours: FloatArray, drift: float, broad: tuple[float, float]
) -> tuple[float, float]:
    """Return mean and sigma of a logarithm from states (n, 2: value, error), each less certain with time."""
    sigma = np.hypot(values[:, 1] / values[:, 0], drift * np.maximum(hours, 0.1))
    weight = np.append(1.0 / sigma**2, 1.0 / broad[1] ** 2)
    logs = np.append(np.log(values[:, 0]), broad[0])
    # states of one night share what the air did: the mean is no more certain than the best of them
    return float(np.average(logs, weights=weight)), float(min(sigma.min(), broad[1]))


def _errors_of(told: FloatArray, prior: Prior) -> FloatArray:
    """Return the errors (6,) where a spectrum tells `told` (6, 6) and a prior the rest."""
    known = np.diag(1.0 / np.maximum(prior.sigma, FIXED) ** 2)
    return np.sqrt(np.diag(np.linalg.inv(told + known)))


def _state(
    spectrum: Spectrum,
    airmass: float,
    prior: Prior,
    best: FloatArray,
    errors: FloatArray,
    free: tuple[bool, bool],
    quality: tuple[float, float],
    caveats: tuple[Caveat, ...],
) -> AirState:
    pixel = _pixel(spectrum)
    exposure = spectrum.exposure
    return AirState(
        mjd=exposure.mjd if exposure is not None else 0.0,
        airmass=airmass,
        oxygen=(float(np.exp(best[0])), float(np.exp(best[0]) * errors[0])),
        water=(float(np.exp(best[1])), float(np.exp(best[1]) * errors[1])),
        lsf=(float(np.exp(best[2])), float(np.exp(best[2]) * errors[2])),
        shift=(float(best[3] * pixel), float(errors[3] * pixel)),
        slope=(float(best[4] * pixel), float(errors[4] * pixel)),
        broad=(float(np.exp(best[5])), float(np.exp(best[5]) * errors[5])),
        free=free,
        chi=quality[0],
        snr=quality[1],
        source=exposure.name if any(free) and exposure is not None else prior.source,
        caveats=caveats,
    )


def _vector(state: AirState, pixel: float) -> FloatArray:
    return np.array(
        [
            np.log(state.oxygen[0]),
            np.log(state.water[0]),
            np.log(state.lsf[0]),
            state.shift[0] / pixel,
            state.slope[0] / pixel,
            np.log(state.broad[0]),
        ],
        dtype=np.float64,
    )


def _errors(state: AirState, pixel: float) -> FloatArray:
    relative = [pair[1] / pair[0] for pair in (state.oxygen, state.water, state.lsf)]
    broad = state.broad[1] / state.broad[0]
    return np.array([*relative, state.shift[1] / pixel, state.slope[1] / pixel, broad], dtype=np.float64)


def _facts(state: AirState) -> dict[str, Any]:
    return {
        "air_oxygen": state.oxygen[0],
        "air_water": state.water[0],
        "air_water_error": state.water[1],
        "air_lsf": state.lsf[0],
        "air_shift": state.shift[0],
        "air_chi": state.chi,
        "air_source": state.source,
    }


def _caveats(depth: OpticalDepth, state: AirState, seen: FloatArray) -> tuple[Caveat, ...]:
    """Return what to know of the bands at wavelengths `seen` [Angstrom]: none of it concerns a spectrum without any."""
    if not len(seen):
        return ()
    found = []
    if not depth.exact and seen.min() < depth.rough:
        text = (
            "telluric bands from the package's coarse table: `nightpipe data get telluric` brings the lines themselves"
        )
        found.append(Caveat("telluric.coarse", text))
    if seen.max() >= depth.rough:
        text = "beyond 1.2 um the telluric bands are those of one model atmosphere, scaled: the depth of each is rough"
        found.append(Caveat("telluric.infrared", text))
    if not any(state.free):
        text = f"the spectrum itself does not tell the air's water and oxygen: taken from {state.source}"
        found.append(Caveat("telluric.prior", text))
    left, wave = state.worst
    if left > POOR:
        text = f"what is left in the telluric band about {wave:.0f} Angstrom is {left:.1f} times its errors"
        found.append(Caveat("telluric.poor", text))
    return tuple(found)
