"""What a fitted scene tells: spectra with their errors, slices, profile, refraction, how well all of it fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.maths.hexagons import neighbours_of
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.scene import Body, Placed, Scene, Slices
from nightpipe.steps.spaxels.chromatic import Elements, Likelihood
from nightpipe.steps.spaxels.forced import at_places, modes_of, solved
from nightpipe.steps.spaxels.played import Played
from nightpipe.steps.spaxels.stage import REFERENCE, Priors, galaxy_of

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

NEAR = 2.0
"""FWHM about the target within which the fit is judged."""


def scene_from(
    played: Played, spectra: SpaxelSpectra, method: str, place: Placed, slices: int, caveats: tuple[Caveat, ...]
) -> Scene:
    """Return the scene that a fit ended with."""
    theta, scale, stage = played.fit.theta, played.pixels.scale, played.stage
    flux, covariance = _spectrum(played, 0)
    out = at_places(played.forced, 0)
    modes = modes_of(played.forced, stage, theta, played.fit.covariance, played.pixels, played.use, out)
    elements = played.elements(slices)
    like = Likelihood(stage, elements, played.priors)
    gains = like.gains(theta)
    factors, residual = like.solve(gains)
    shown = Likelihood(stage, replace(played, use=played.use | ~played.allowed).elements(slices), played.priors)
    seen = _slices(like, shown, theta, gains, factors)
    fwhm = float(np.exp(theta.value[theta.at("ln_fwhm")]))
    near, structure = _judged(distance_of(played), residual, elements, spectra, NEAR * fwhm)
    middle = (scale.wave > 5500) & (scale.wave < 6500)
    error = np.sqrt(np.diag(covariance) + (modes**2).sum(axis=0))
    radius = _profile(played, elements, gains, factors)
    linear = int((elements.weight.sum(axis=1) > 0).sum()) * len(gains)
    rise = np.interp([4000.0, 9000.0], stage.air.wave, stage.air.lift)
    used = np.bincount(played.pixels.spaxel[played.use], None, played.pixels.count) > 0
    return Scene(
        method=method,
        target=replace(_body(theta, 0, "target", galaxy=False), flux=flux, error=error),
        others=_others(played),
        place=place,
        wave=scale.wave,
        fwhm_line=scale.fwhm,
        sky=at_places(played.forced, 1) @ played.forced.coef,
        names=theta.names,
        values=theta.value,
        covariance=played.fit.covariance,
        flux_covariance=covariance,
        modes=modes,
        reference=REFERENCE,
        fwhm=fwhm,
        rho=float(theta.value[theta.at("rho")]),
        airmass=stage.air.airmass,
        parallactic=stage.air.parallactic,
        lift=float(rise[0] - rise[1]),
        refraction_chi2=_refraction_chi2(seen),
        chi2=float((residual**2).sum()),
        dof=int((elements.weight > 0).sum()) - linear - len(theta.names),
        chi2_near=near,
        structure=structure,
        snr=float(np.median(flux[middle] / error[middle])),
        used=used,
        coverage=coverage(played),
        rejected=int((~played.use).sum()),
        slices=seen,
        radius=radius[0],
        profile=radius[1],
        profile_error=radius[2],
        profile_model=radius[3],
        caveats=caveats,
    )


def distance_of(played: Played) -> FloatArray:
    """Return how far each lenslet (n,) is from the target [arcsec] at the reference wavelength."""
    theta, stage = played.fit.theta, played.stage
    return np.hypot(stage.east - theta.value[theta.at("east0")], stage.north - theta.value[theta.at("north0")])


def _spectrum(played: Played, number: int) -> tuple[FloatArray, FloatArray]:
    """Return flux (k,) [electron/Angstrom] of a spectrum on the common scale, and its covariance from counts."""
    matrix = at_places(played.forced, number)
    covariance = matrix @ solved(played.forced.factor, matrix.T)
    return matrix @ played.forced.coef, (covariance + covariance.T) / 2.0


def _body(theta: Priors, number: int, name: str, *, galaxy: bool) -> Body:
    east, north = (float(theta.value[theta.at(f"{axis}{number}")]) for axis in ("east", "north"))
    return Body(name, east, north, *(galaxy_of(theta, number) if galaxy else ()))


def _others(played: Played) -> tuple[Body, ...]:
    found = []
    for number, galaxy in enumerate(played.stage.galaxies, start=1):
        name = "host" if galaxy else f"star {number}"
        flux, covariance = _spectrum(played, number + 1)
        body = _body(played.fit.theta, number, name, galaxy=galaxy)
        found.append(replace(body, flux=flux, error=np.sqrt(np.diag(covariance))))
    return tuple(found)


def _slices(like: Likelihood, shown: Likelihood, theta: Priors, gains: list[FloatArray], factors: FloatArray) -> Slices:
    """Return the scene in slices, with the target placed in each by itself; `shown` holds lenslets left out as well."""
    elements = shown.elements
    parts = [gain * factors[:, k, None] for k, gain in enumerate(shown.gains(theta))]
    seen = elements.weight > 0
    blank = np.where(seen, 0.0, np.nan)
    light = np.where(like.elements.weight > 0, gains[0], 0.0)
    wave = (like.elements.wave * light).sum(axis=1) / np.maximum(light.sum(axis=1), 1e-300)
    place, error = _placed_by_slices(like, theta, gains, factors)
    expected = _expected(like, theta, wave)
    where = expected + place
    return Slices(
        wave=wave,
        data=elements.data + blank,
        error=np.where(seen, 1.0 / np.where(seen, shown.root, 1.0), np.nan),
        sky=parts[1] + blank,
        target=parts[0] + blank,
        others=np.sum(parts[2:], axis=0) + blank,
        east=where[:, 0],
        north=where[:, 1],
        place_error=error,
        expected=expected,
    )


def _expected(like: Likelihood, theta: Priors, wave: FloatArray) -> FloatArray:
    up = np.interp(wave, like.stage.air.wave, like.stage.air.lift)
    turn = np.radians(like.stage.air.parallactic)
    along, across, east, north = (theta.value[theta.at(name)] for name in ("along", "across", "east0", "north0"))
    return np.column_stack(
        [east + up * (along * np.sin(turn) + across * np.cos(turn)),
         north + up * (along * np.cos(turn) - across * np.sin(turn))]
    )  # fmt: skip


def _placed_by_slices(
    like: Likelihood, theta: Priors, gains: list[FloatArray], factors: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return by how much the target of each slice is off (b, 2) [arcsec], and the error: one linear step, all factors
    free.
    """
    moved, step = [], 0.02
    for name in ("east0", "north0"):
        value = theta.value.copy()
        value[theta.at(name)] += step
        other = like.gains(replace(theta, value=value), gains, name)[0]
        moved.append((other - gains[0]) / step * factors[:, 0, None])
    design = np.stack([*moved, *gains], axis=2) * like.root[:, :, None]
    normal = np.einsum("bnc,bnd->bcd", design, design)
    scale = np.sqrt(np.maximum(np.einsum("bcc->bc", normal), 1e-300))
    normal = normal / scale[:, :, None] / scale[:, None, :] + 1e-10 * np.eye(design.shape[2])
    right = np.einsum("bnc,bn->bc", design, like.root * like.elements.data) / scale
    found = np.linalg.solve(normal, right[:, :, None])[:, :, 0] / scale
    error = np.sqrt(np.einsum("bcc->bc", np.linalg.inv(normal))) / scale
    return found[:, :2], error[:, :2]


def _refraction_chi2(seen: Slices) -> float:
    """Return chi2 per degree of freedom of the slices' places about the refraction fitted: four numbers were free."""
    off = np.column_stack([seen.east, seen.north]) - seen.expected
    known = np.isfinite(seen.place_error) & (seen.place_error > 0) & (seen.place_error < 1.5)
    count = int(known.sum())
    if count < 6:
        return 0.0
    return float(((off[known] / seen.place_error[known]) ** 2).sum() / (count - 4))


def _judged(
    distance: FloatArray, residual: FloatArray, elements: Elements, spectra: SpaxelSpectra, radius: float
) -> tuple[float, float]:
    """Return chi2 per element near the target, and the correlation of neighbouring lenslets' residuals there."""
    near = distance < radius
    seen = elements.weight[:, near] > 0
    chi2 = float((residual[:, near] ** 2).sum() / max(int(seen.sum()), 1))
    white = residual.sum(axis=0) / np.sqrt(np.maximum((elements.weight > 0).sum(axis=0), 1))
    around = neighbours_of(spectra.q, spectra.r)
    index = np.flatnonzero(near)
    pairs = [(k, j) for k in index for j in around[k] if j > k and near[j]]
    if len(pairs) < 6:
        return chi2, 0.0
    a, b = np.array(pairs).T
    return chi2, float(np.mean(white[a] * white[b]) / max(float(np.mean(white[index] ** 2)), 1e-12))


def _profile(
    played: Played, elements: Elements, gains: list[FloatArray], factors: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return radii [arcsec] and, in rings about the target, its light per arcsec2 and unit flux: seen, error, model."""
    rest = elements.data - np.einsum("bnc,bc->bn", np.stack(gains[1:], axis=2), factors[:, 1:])
    light = elements.light[0] * factors[:, :1] * played.stage.hexagon.area
    weight = elements.weight * light
    distance = np.broadcast_to(distance_of(played), rest.shape)
    rings = np.digitize(distance, np.arange(0.0, 10.01, 0.4)).ravel()
    total = np.maximum(np.bincount(rings, (weight * light).ravel(), 27), 1e-300)[1:26]
    seen, model, radius = (
        np.bincount(rings, part.ravel(), 27)[1:26] / total
        for part in (weight * rest, weight * gains[0] * factors[:, :1], weight * light * distance)
    )
    known = total > 1e-200
    return radius[known], seen[known], 1.0 / np.sqrt(total[known]), model[known]


def coverage(played: Played) -> FloatArray:
    """Return which part (k,) of the target's light in the field fell on used pixels, at each place of the scale."""
    pixels = played.pixels
    share = np.where(pixels.step > 0, played.forced.score.gain[0] / pixels.step, 0.0)
    place = np.rint(pixels.place).astype(np.int64)
    size = pixels.scale.wave.size
    seen = np.bincount(place[played.use], share[played.use], size)
    seen = (
        np.where(np.isin(np.arange(size), (0, size - 1)), 2.0, 1.0) * seen
    )  # half of the outermost bins lies beyond the scale
    every = np.arange(0, size, 8)
    n = pixels.count
    wave = np.repeat(pixels.scale.wave[every], n)
    whole = played.stage.shares(played.fit.theta, 0, np.tile(np.arange(n), every.size), wave).reshape(-1, n).sum(axis=1)
    return np.asarray(seen / np.maximum(np.interp(np.arange(size), every, whole), 1e-12))
