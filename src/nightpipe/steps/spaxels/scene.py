"""One chromatic likelihood for all that a field of lenslets saw: the target, the sky, a host, neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.scene import Body, Placed, Scene
from nightpipe.steps.spaxels.chromatic import Fit, fit
from nightpipe.steps.spaxels.forced import force, gains_of
from nightpipe.steps.spaxels.outcome import scene_from
from nightpipe.steps.spaxels.pixels import Pixels, model_variance, pixels_of, scale_of
from nightpipe.steps.spaxels.played import Played
from nightpipe.steps.spaxels.stage import Air, Priors, Stage, air_of, priors_of, stage_of
from nightpipe.steps.spaxels.white import brightest_left, odd_lenslets

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


class FitScene(Step):
    """Fit position, seeing, refraction, target, sky and what else shines to all lenslets' native pixels at once."""

    version: ClassVar[int] = 4
    low: float = parameter(3700.0, "first wavelength", unit="Angstrom", ge=3300, le=6000)
    high: float = parameter(9300.0, "last wavelength", unit="Angstrom", ge=6500, le=10500)
    slices: int = parameter(18, "slices of wavelength in which the shape is fitted", ge=4, le=60)
    passes: int = parameter(3, "how often shape and spectra are fitted in turn", ge=1, le=10)
    clip: float = parameter(6.0, "pixels further from the model are rejected", unit="sigma", ge=3)
    near: float = parameter(5.0, "radius about the target within which no lenslet is left out", unit="arcsec", gt=1)
    host: bool = parameter(default=False, help="add a galaxy with its own spectrum")
    neighbours: int = parameter(2, "stars beside the target that are fitted with it, at most", ge=0, le=6)
    visible: float = parameter(8.0, "significance above which a neighbour is one", unit="sigma", ge=4)
    mismatch: float = parameter(0.01, "share of a bright target's light that no shape of seeing fits", ge=0, lt=0.2)
    temperature_card: str = parameter("OUT_AIR", "header card of the air's temperature [C]")
    humidity_card: str = parameter("OUT_HUM", "header card of the relative humidity [%]")

    def run(
        self,
        spectra: SpaxelSpectra,
        place: Placed,
        leave: tuple[int, ...] = (),
        start: Scene | None = None,
    ) -> Scene:
        """Return the scene about `place`; lenslets numbered in `leave` are left out, `start` is a fit of it before.

        Raises
        ------
        BadFrameError
            There are no usable spectra.
        NoSolutionError
            The fit went nowhere.
        """
        air = self._air(spectra)
        out = np.zeros(len(spectra), dtype=bool)
        out[list(leave)] = True
        pixels = pixels_of(spectra, scale_of(spectra, self.low, self.high), out)
        raw = _raw_variance(spectra, pixels, out)
        stage = stage_of(spectra, air)
        played = self._begun(pixels, raw, stage, place, start)
        played = self._with_others(played, place)
        for _ in range(self.passes - 1):
            played = self._shape(self._spectra(played), settled=1.0)
        played = self._shape(self._spectra(played))
        if not np.isfinite(played.fit.theta.value).all() or not np.isfinite(played.fit.covariance).all():
            raise NoSolutionError("the scene of an exposure", "parameters that are no numbers", "another place")
        method = "masked" if leave else "scene" if self.host else "psf"
        caveats = merged(spectra.caveats, place.caveats, air.caveats, _doubts(played))
        scene = scene_from(played, spectra, method, place, self.slices, caveats)
        return replace(scene, mismatch=self.mismatch)

    def _air(self, spectra: SpaxelSpectra) -> Air:
        temperature = _card(spectra, self.temperature_card, -40.0, 50.0, 10.0)
        humidity = _card(spectra, self.humidity_card, 0.0, 100.0, 30.0)
        return air_of(spectra, temperature, humidity)

    def _begun(self, pixels: Pixels, raw: FloatArray, stage: Stage, place: Placed, start: Scene | None) -> Played:
        """Return the target alone with sky, its lenslets and those that see nothing else."""
        priors = priors_of(place, stage.air, (), ())
        theta = _started(priors, start)
        use = np.ones(len(pixels), dtype=bool)
        forced = force(pixels, gains_of(stage, theta, pixels), use)
        nothing = Fit(theta, np.diag(priors.error**2), np.zeros((0, 2)), 0.0, converged=False)
        played = Played(pixels, raw, use, use, stage, priors, nothing, forced)
        near = np.hypot(stage.east - place.east, stage.north - place.north) < self.near
        for _ in range(3):
            odd = odd_lenslets(played.pixels, played.forced) & ~near
            played = self._spectra(replace(played, allowed=~odd[pixels.spaxel]), near)
        return self._shape(played, settled=1.0) if start is None else played

    def _with_others(self, played: Played, place: Placed) -> Played:
        """Return the scene with a host and neighbours, where they were asked for and are seen."""
        bodies: list[Body] = []
        if self.host:
            bodies.append(_host_near(played))
            played = self._joined(played, place, bodies, galaxy=True)
        for _ in range(self.neighbours):
            found = brightest_left(played.pixels, played.forced, played.stage, played.fit.theta, self.visible)
            if found is None:
                break
            bodies.append(Body(f"star {len(bodies) + 1}", *found))
            played = self._joined(played, place, bodies, galaxy=False)
        return played

    def _joined(self, played: Played, place: Placed, bodies: list[Body], *, galaxy: bool) -> Played:
        stage = played.stage.with_body(galaxy=galaxy)
        priors = priors_of(place, stage.air, stage.galaxies, tuple(bodies))
        value = priors.value.copy()
        for k, name in enumerate(priors.names):
            if name in played.fit.theta.names:
                value[k] = played.fit.theta.value[played.fit.theta.at(name)]
        theta = replace(priors, value=value)
        fresh = replace(played, stage=stage, priors=priors, fit=replace(played.fit, theta=theta))
        return self._shape(self._spectra(replace(fresh, allowed=np.ones_like(played.use))), turns=4, settled=1.0)

    def _spectra(self, played: Played, near: Bools | None = None) -> Played:
        """Return the scene with its spectra, variances and rejections renewed, the shape held.

        Before the shape was ever fitted, no pixel of lenslets `near` the target (n,) is rejected.
        """
        gains = gains_of(played.stage, played.fit.theta, played.pixels)
        forced = force(played.pixels, gains, played.use)
        model = forced.model
        pixels = replace(played.pixels, var=model_variance(played.pixels, played.raw, model, played.use))
        away = np.abs(pixels.flux - model)
        slack = 0.05 * np.abs(model - forced.parts[1]) + 0.03 * np.abs(forced.parts[1])
        keep = away < self.clip * np.sqrt(pixels.var) + slack
        if near is not None:
            keep |= near[pixels.spaxel]
        keep &= played.allowed
        return replace(played, pixels=pixels, use=keep, forced=force(pixels, gains, keep))

    def _shape(self, played: Played, *, turns: int = 12, settled: float = 0.05) -> Played:
        """Return the scene with its shape renewed, the spectra held but for a factor in each slice.

        Only the last one must settle: each renewal of the spectra moves chi2 by more than those before could gain.
        """
        elements = played.elements(self.slices)
        found = fit(played.stage, elements, played.priors, played.fit.theta, turns, settled)
        return replace(played, fit=found)


def _started(priors: Priors, start: Scene | None) -> Priors:
    if start is None:
        return priors
    value = priors.value.copy()
    for k, name in enumerate(priors.names):
        if name in start.names and not name.endswith(tuple("123456789")):
            value[k] = start.values[start.names.index(name)]
    return replace(priors, value=value)


def _host_near(played: Played) -> Body:
    """Return where a host may be: at what is left about the target, within 10 arcsec of it."""
    theta = played.fit.theta
    east, north = theta.value[theta.at("east0")], theta.value[theta.at("north0")]
    found = brightest_left(played.pixels, played.forced, played.stage, theta, 3.0, (float(east), float(north), 10.0))
    return Body("host", *(found or (float(east) + 0.3, float(north) + 0.3)))


def _raw_variance(spectra: SpaxelSpectra, pixels: Pixels, out: Bools) -> FloatArray:
    """Return the variances of the pixels as extracted."""
    inside = (spectra.wave >= pixels.scale.wave[0]) & (spectra.wave <= pixels.scale.wave[-1])
    return np.asarray(spectra.var[spectra.good & inside & ~out[:, None]], dtype=np.float64)


def _card(spectra: SpaxelSpectra, name: str, low: float, high: float, usual: float) -> float:
    """Return a card's number where it can be true, else what is usual: weather moves refraction by a few per cent."""
    value = spectra.header.get(name)
    return float(value) if isinstance(value, (int, float)) and low < value < high else usual


def _doubts(played: Played) -> tuple[Caveat, ...]:
    theta = played.fit.theta
    found = (
        [] if played.fit.converged else [Caveat("scene.unsettled", "the fit of the scene had not settled at its end")]
    )
    like = np.abs(theta.value - played.priors.value) / played.priors.error
    found += [
        Caveat("scene.refraction", f"refraction {name} the way up is not what the air predicts")
        for name in ("along", "across")
        if like[theta.at(name)] > 5.0 and played.stage.air.known
    ]
    return tuple(found)
