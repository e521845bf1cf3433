"""The parameters of a scene that are not linear: one likelihood for all slices of wavelength, spectra solved within."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.steps.spaxels.pixels import Pixels
from nightpipe.steps.spaxels.stage import Priors, Stage

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Elements:
    """Sums over slices of wavelength (b, n): `data` and its weight (inverse variance, 0: nothing there), the mean
    `wave`, and the `light` (c, b, n) that spectra of share one would give: target, sky, others.
    """

    data: FloatArray
    weight: FloatArray
    wave: FloatArray
    light: FloatArray


@dataclass(frozen=True)
class Fit:
    """Where the likelihood peaks: parameters, their covariance (p, p), and per slice the factors (b, c) of spectra."""

    theta: Priors
    covariance: FloatArray
    factors: FloatArray
    chi2: float
    converged: bool


def elements_of(pixels: Pixels, lights: FloatArray, use: Bools, slices: int) -> Elements:
    """Return the pixels summed in slices of wavelength; `lights` (c, m) is what each spectrum at share one gives."""
    last = pixels.scale.wave.size - 1
    band = np.minimum((pixels.place / last * slices).astype(np.int64), slices - 1)
    n = pixels.count
    index, size = (band * n + pixels.spaxel)[use], slices * n

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(index, values[use], size), dtype=np.float64).reshape(slices, n)

    seen = total(np.ones(len(pixels)))
    var = total(pixels.var)
    bright = np.maximum(np.abs(lights[0]), 1e-12)
    wave = total(bright * pixels.wave) / np.maximum(total(bright), 1e-300)
    usual = np.bincount(band, pixels.wave, slices) / np.maximum(np.bincount(band, None, slices), 1)
    enough = seen > 0.3 * np.median(seen[seen > 0])
    return Elements(
        total(pixels.flux),
        np.where(enough & (var > 0), 1.0 / np.where(var > 0, var, 1.0), 0.0),
        np.where(seen > 0, wave, usual[:, None]),
        np.array([total(light) for light in lights]),
    )


class Likelihood:
    """Residuals of all elements and priors as a function of the parameters, with linear factors solved per slice."""

    def __init__(self, stage: Stage, elements: Elements, priors: Priors) -> None:
        self.stage, self.elements, self.priors = stage, elements, priors
        self.bands, self.count = elements.data.shape
        self.spaxel = np.tile(np.arange(self.count), self.bands)
        self.root = np.sqrt(elements.weight)

    def gains(self, theta: Priors, known: list[FloatArray] | None = None, name: str = "") -> list[FloatArray]:
        """Return what target, sky and others give each element (b, n); only those that parameter `name` moves anew."""
        return [
            known[number] if known is not None and not self.stage.moves(name, number) else self._gain(theta, number)
            for number in range(len(self.elements.light))
        ]

    def _gain(self, theta: Priors, number: int) -> FloatArray:
        if number == 1:
            factor = self.stage.sky_factor(theta, np.arange(self.count))
            return np.asarray(self.elements.light[1] * factor)
        share = self.stage.shares(theta, max(number - 1, 0), self.spaxel, self.elements.wave.ravel())
        return np.asarray(self.elements.light[number] * share.reshape(self.bands, self.count))

    def slopes(self, theta: Priors) -> list[dict[str, FloatArray]]:
        """Return how each spectrum's gains (b, n) change with the parameters; those of the sky and of galaxies are not
        among them.
        """
        found: list[dict[str, FloatArray]] = []
        for number, light in enumerate(self.elements.light):
            body = max(number - 1, 0)
            if number == 1 or (body and self.stage.galaxies[body - 1]):
                found.append({})
                continue
            parts = self.stage.slopes(theta, body, self.spaxel, self.elements.wave.ravel())
            found.append({name: light * part.reshape(light.shape) for name, part in parts.items()})
        return found

    def moved(
        self, theta: Priors, gains: list[FloatArray], slopes: list[dict[str, FloatArray]], name: str, step: float
    ) -> list[FloatArray]:
        """Return the gains with `name` moved by `step`, as it is in `theta`: along slopes where they are known."""
        found = list(gains)
        for number, slope in enumerate(slopes):
            if self.stage.moves(name, number):
                found[number] = gains[number] + step * slope[name] if name in slope else self._gain(theta, number)
        return found

    def solve(self, gains: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Return the factors (b, c) of least squares and the residuals (b, n) in sigma."""
        design = np.stack(gains, axis=2) * self.root[:, :, None]
        normal = np.einsum("bnc,bnd->bcd", design, design)
        right = np.einsum("bnc,bn->bc", design, self.root * self.elements.data)
        normal += np.einsum("bcc->bc", normal)[:, :, None] * np.eye(len(gains)) * 1e-9 + np.eye(len(gains)) * 1e-30
        factors = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
        residual = self.root * self.elements.data - np.einsum("bnc,bc->bn", design, factors)
        return factors, residual

    def residuals(self, theta: Priors, gains: list[FloatArray]) -> FloatArray:
        """Return residuals of elements and priors in one row."""
        away = (theta.value - self.priors.value) / self.priors.error
        return np.concatenate([self.solve(gains)[1].ravel(), away])


def fit(stage: Stage, elements: Elements, priors: Priors, start: Priors, turns: int = 12, settled: float = 0.05) -> Fit:
    """Return the fit by Levenberg and Marquardt's method with the linear factors solved within (Golub & Pereyra 1973).

    It ends where a turn gains less than `settled` in chi2. Derivatives are differences over a hundredth of a prior's
    error, the light of points taken along its slope.
    """
    like = Likelihood(stage, elements, priors)
    theta, damping, converged = start, 1e-3, False
    gains = like.gains(theta)
    residual = like.residuals(theta, gains)
    chi2 = float(residual @ residual)
    normal = np.eye(theta.value.size)
    for _ in range(turns):
        jacobian = _jacobian(like, theta, gains, residual)
        normal, slope = jacobian.T @ jacobian, jacobian.T @ residual
        better = False
        for _ in range(6):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -slope)
            trial = replace(theta, value=theta.value + np.clip(step, -3 * priors.error, 3 * priors.error))
            new_gains = like.gains(trial)
            new = like.residuals(trial, new_gains)
            if (value := float(new @ new)) < chi2:
                better, gain = True, chi2 - value
                theta, gains, residual, chi2, damping = trial, new_gains, new, value, max(damping * 0.1, 1e-7)
                break
            damping *= 10.0
        converged = not better or gain < settled
        if converged:
            break
    factors, residual = like.solve(gains)
    covariance = np.asarray(np.linalg.inv(normal), dtype=np.float64)
    return Fit(theta, covariance, factors, float(residual.ravel() @ residual.ravel()), converged)


def _jacobian(like: Likelihood, theta: Priors, gains: list[FloatArray], residual: FloatArray) -> FloatArray:
    columns, slopes = [], like.slopes(theta)
    for k, name in enumerate(theta.names):
        step = 0.01 * min(like.priors.error[k], 1.0)
        value = theta.value.copy()
        value[k] += step
        moved = replace(theta, value=value)
        columns.append((like.residuals(moved, like.moved(moved, gains, slopes, name, step)) - residual) / step)
    return np.array(columns).T
