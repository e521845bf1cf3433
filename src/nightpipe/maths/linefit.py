"""The wavelength scale of one row: blend-aware centres, rejection, and the order that predicts left-out lines best."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from nightpipe.base.errors import NoSolutionError
from nightpipe.maths.blends import Fitted, Group, amplitudes, fit_jointly, grouped
from nightpipe.maths.combs import Comb
from nightpipe.maths.linematch import Match
from nightpipe.maths.lines import LineShape

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
SOFT = 2.0
"""A line so many scatters off its place counts half."""
GROUP = 5
"""So many neighbouring lines may err together: a lamp's blends have the same unknown strengths in common."""


@dataclass(frozen=True)
class Limits:
    """What a line must satisfy to count, and how high the order may go.

    `significance` of its area; `blending` the greatest allowed error of its centre (noise, shape mismatch, unknown
    intensities in an unresolved blend) in line widths; `floor` [pixel] the error that no centre goes below; `clip` in
    standard deviations of the left-out residual.
    """

    significance: float = 8.0
    blending: float = 0.03
    floor: float = 0.02
    clip: float = 3.5
    max_order: int = 7


@dataclass(frozen=True)
class Scale:
    """A fitted scale: Chebyshev `coef` and `cov` of wavelength over pixels 0 ... n - 1 and the lines behind it.

    Per line: `x`, `x_error` [pixel] (all sources together), `wave`, `area`, `index` of the strongest member in the
    comb, `good` (could be used), `used` (was), `residual` measured minus fitted [pixel]. `loo` is the rms of the
    residuals of used lines, each predicted without itself; `loo_by_order` holds (order, value) of the orders tried.
    """

    coef: FloatArray
    cov: FloatArray
    n: int
    x: FloatArray
    x_error: FloatArray
    wave: FloatArray
    area: FloatArray
    index: NDArray[np.intp]
    good: Bools
    used: Bools
    residual: FloatArray
    rms: float
    loo: float
    order: int
    loo_by_order: tuple[tuple[int, float], ...]


def fit_scale(
    flux: FloatArray,
    error: FloatArray,
    match: Match,
    lines: Comb,
    shape: LineShape,
    limits: Limits,
    *,
    barred: Bools | None = None,
    passes: int = 2,
) -> Scale:
    """Measure all lines of the list that the arc shows, where `match` puts them, and fit the scale; repeat.

    From pass to pass the predicted places get better. Lines that touch a pixel of `barred` (n,) are measured but not
    used. Raises `NoSolutionError` when hardly a line is seen. (To scale the species by the arc itself was tried: the
    response of the instrument then moves the centres of mixed blends.)
    """
    for number in range(passes):
        groups, fitted = _measured(flux, error, match, lines, shape, 0.35 if number == 0 else 0.15)
        if len(groups) < 3:
            raise NoSolutionError("at least 3 lines of the lamp in the arc", str(len(groups)), "check the lamps")
        clean = _clear(fitted.x, shape, barred)
        scale = _solved(groups, fitted, match, shape, limits, clean)
        match = replace(match, coef=scale.coef)
    return scale


def _measured(
    flux: FloatArray, error: FloatArray, match: Match, lines: Comb, shape: LineShape, pull: float
) -> tuple[list[Group], Fitted]:
    """Return the groups of list lines that the arc shows and their jointly fitted centres."""
    from scipy.ndimage import maximum_filter1d

    n = len(flux)
    middle = 0.5 * (n - 1)
    fwhm = float(shape.fwhm_at([middle])[0])
    groups = grouped(lines.wave, lines.strength, 0.5 * fwhm * match.ends()[2])
    place = match.pixel(np.array([group.wave for group in groups]))
    inside = (place > fwhm) & (place < n - 1 - fwhm)
    groups, place = [g for g, ok in zip(groups, inside, strict=True) if ok], place[inside]
    peak = maximum_filter1d(flux, 2 * int(np.ceil(0.8 * fwhm)) + 1)
    weight = 1.0 / (error**2 + (0.02 * peak) ** 2)
    area = amplitudes(flux, weight, place, shape)
    shown = _shown(place, area, error, shape, fwhm) & _plausible(groups, place, fwhm)
    start = Fitted(
        place[shown], np.ones(shown.sum()), area[shown], np.ones(shown.sum()), np.ones(shown.sum(), dtype=bool)
    )
    return [g for g, ok in zip(groups, shown, strict=True) if ok], fit_jointly(flux, error, start, shape, pull=pull)


def _shown(place: FloatArray, area: FloatArray, error: FloatArray, shape: LineShape, fwhm: float) -> Bools:
    """Return which lines stand out of the noise and are no mere ripple on a neighbour two widths away."""
    peak = area * shape(np.zeros(len(place)), place)
    noise = np.interp(place, np.arange(len(error)), np.where(np.isfinite(error), error, 1e30))
    near = np.abs(place[:, None] - place[None, :]) < 2.5 * fwhm
    around = np.max(np.where(near, peak[None, :], 0.0), axis=1, initial=0.0)
    return np.asarray((peak > 4.0 * noise) & (peak > 0.02 * around))


def _plausible(groups: list[Group], place: FloatArray, fwhm: float, ratio: float = 0.005) -> Bools:
    """Return which lines the list does not make hopeless beside a neighbour within a line width and a half.

    Without this, small errors of place and shape of bright lines turn up as faint lines on their flanks.
    """
    strength = np.array([group.strength for group in groups])
    near = np.abs(place[:, None] - place[None, :]) < 1.5 * fwhm
    return np.asarray(strength > ratio * np.max(np.where(near, strength[None, :], 0.0), axis=1, initial=0.0))


def _clear(x: FloatArray, shape: LineShape, barred: Bools | None) -> Bools:
    """Return which lines have no barred pixel within 0.8 line widths."""
    if barred is None or not barred.any():
        return np.ones(len(x), dtype=bool)
    at = np.flatnonzero(barred)
    return np.asarray(np.min(np.abs(x[:, None] - at[None, :]), axis=1) > 0.8 * shape.fwhm_at(x))


def _solved(groups: list[Group], fitted: Fitted, match: Match, shape: LineShape, limits: Limits, clean: Bools) -> Scale:
    wave = np.array([group.wave for group in groups])
    dispersion = match.wave(fitted.x + 0.5) - match.wave(fitted.x - 0.5)
    doubt = np.array([group.wave_error for group in groups]) / dispersion
    sigma = np.sqrt(fitted.x_error**2 + doubt**2 + limits.floor**2)
    strong = fitted.area > limits.significance * fitted.area_error
    good = (
        fitted.ok & clean & strong & (sigma < np.maximum(limits.blending * shape.fwhm_at(fitted.x), 1.5 * limits.floor))
    )
    good &= np.abs(match.pixel(wave) - fitted.x) < shape.fwhm_at(fitted.x)
    reach = 0.5 * shape.fwhm_at(fitted.x)
    order, used, table = best_order(fitted.x, wave, sigma, dispersion, match.n, good, limits, reach)
    *_, left_out = _fit(fitted.x, wave, sigma, dispersion, match.n, order, used)
    coef, cov, residual = _robust(fitted.x, wave, sigma, dispersion, match.n, order, used)
    return Scale(
        coef=coef,
        cov=cov,
        n=match.n,
        x=fitted.x,
        x_error=sigma,
        wave=wave,
        area=fitted.area,
        index=np.array([group.members[0] for group in groups], dtype=np.intp),
        good=good,
        used=used,
        residual=-residual,
        rms=float(np.sqrt(np.mean(residual[used] ** 2))) if used.any() else np.inf,
        loo=float(np.sqrt(np.mean(left_out**2))) if used.any() else np.inf,
        order=order,
        loo_by_order=table,
    )


def best_order(
    x: FloatArray,
    wave: FloatArray,
    sigma: FloatArray,
    dispersion: FloatArray,
    n: int,
    good: Bools,
    limits: Limits,
    reach: FloatArray,
) -> tuple[int, Bools, tuple[tuple[int, float], ...]]:
    """Return the order, the lines kept, and (order, leave-one-out rms [pixel]) for all orders tried.

    The order is the lowest whose leave-one-out error is within three per cent of the least, or 2 / lines where they are
    few; the worst line beyond `clip` goes, one at a time, and the order is chosen afresh. (One standard error, the rule
    of Breiman et al. 1984, is too patient: good lines are rejected for an order that is too low.) A line that the
    others do not predict to within `reach` [pixel] goes too: its identity is not sure. Residuals are judged as
    e / sqrt(1 - h), so that the leverage of the
    outermost lines does not count against them.
    """
    used = good.copy()
    if used.sum() < 4:
        raise NoSolutionError("at least 4 clean lines of the lamp", str(int(used.sum())), "a deeper arc, or more lamps")
    while True:
        table = _table(x, wave, sigma, dispersion, n, used, limits.max_order)
        if not table:
            return 1, used, ()
        least = min(value for _, value in table)
        order = next(o for o, value in table if value <= (1.0 + max(0.03, 2.0 / used.sum())) * least)
        _, _, residual, left_out = _fit(x, wave, sigma, dispersion, n, order, used)
        expected = np.hypot(sigma[used], _scatter(residual[used], sigma[used]))
        score = np.sqrt(np.abs(left_out * residual[used])) / expected
        score = np.maximum(score, limits.clip * np.abs(left_out) / reach[used])
        if score.max() < limits.clip or used.sum() <= order + 3:
            return order, used, table
        used[np.flatnonzero(used)[score.argmax()]] = False


def _scatter(residual: FloatArray, sigma: FloatArray) -> float:
    """Return the robust scatter of the better half of the lines: what the scale itself leaves unexplained."""
    best = sigma <= np.median(sigma)
    return 1.4826 * float(np.median(np.abs(residual[best])))


def _table(
    x: FloatArray, wave: FloatArray, sigma: FloatArray, dispersion: FloatArray, n: int, used: Bools, most: int
) -> tuple[tuple[int, float], ...]:
    rows = []
    for order in range(1, most + 1):
        if used.sum() < 2 * order + 2:
            break
        coef, _, _, left_out = _fit(x, wave, sigma, dispersion, n, order, used)
        if not _grows(coef, n):
            continue
        rows.append((order, float(np.sqrt(np.mean(left_out**2)))))
    return tuple(rows)


def _grows(coef: FloatArray, n: int) -> bool:
    """Return whether the scale grows over the whole row: an order that turns back beyond the lines is no candidate."""
    u = np.linspace(-1.0, 1.0, max(n // 8, 50))
    return bool(np.all(np.diff(chebyshev.chebval(u, coef)) > 0))


def _fit(
    x: FloatArray, wave: FloatArray, sigma: FloatArray, dispersion: FloatArray, n: int, order: int, used: Bools
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return coefficients, covariance, residuals of all lines and left-out residuals of the used ones [pixel].

    The left-out residual is e / (1 - h), h the line's leverage (Allen 1974). The covariance is scaled so that
    chi-square per degree of freedom is one, upwards only where fewer than five are left.
    """
    basis = chebyshev.chebvander(2.0 * x / (n - 1) - 1.0, order)
    weight = 1.0 / (sigma * dispersion)
    design = basis[used] * weight[used, None]
    q, r = np.linalg.qr(design)
    coef = np.linalg.solve(r, q.T @ (wave[used] * weight[used]))
    residual = (wave - basis @ coef) / dispersion
    leverage = np.minimum(np.sum(q**2, axis=1), 0.999)
    left_out = residual[used] / (1.0 - leverage)
    dof = int(used.sum()) - order - 1
    spread = float(np.sum((residual[used] / sigma[used]) ** 2)) / max(dof, 1)
    spread = spread if dof >= 5 else max(spread, 1.0)
    inverse = np.linalg.inv(r)
    return coef, inverse @ inverse.T * spread, residual, left_out


def _robust(
    x: FloatArray, wave: FloatArray, sigma: FloatArray, dispersion: FloatArray, n: int, order: int, used: Bools
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return coefficients, covariance and residuals of all lines [pixel]; lines that hardly agree hardly count.

    Most lines are good to a tenth of their error, some blends are off by all of it, neighbours together: with weights
    after Cauchy at `SOFT` of the scatter that is seen, the many good ones rule. The covariance is Huber's for such
    weights (1981, eq. 7.6.5), times what lines that err together make of it (`_together`). Few lines: a plain fit.
    """
    coef, cov, residual, _ = _fit(x, wave, sigma, dispersion, n, order, used)
    count, terms = int(used.sum()), order + 1
    if count < terms + 8:
        return coef, cov, residual
    basis = chebyshev.chebvander(2.0 * x / (n - 1) - 1.0, order)
    error = (sigma * dispersion)[used]
    design, data = basis[used] / error[:, None], wave[used] / error
    for _ in range(30):
        rest = data - design @ coef
        scale = max(1.4826 * float(np.median(np.abs(rest))) * np.sqrt(count / (count - terms)), 0.05)
        weight = 1.0 / (1.0 + (rest / scale / SOFT) ** 2)
        root = np.sqrt(weight)
        coef = np.linalg.lstsq(design * root[:, None], data * root, rcond=None)[0]
    pull = (data - design @ coef) / scale
    weight = 1.0 / (1.0 + (pull / SOFT) ** 2)
    slope = (1.0 - (pull / SOFT) ** 2) * weight**2
    score, mean = scale * weight * pull, float(np.mean(slope))
    few = 1.0 + terms / count * float(np.var(slope)) / mean**2
    plain = np.linalg.inv(design.T @ design)
    cov = plain * few**2 * float(np.sum(score**2)) / (count - terms) / mean**2
    cov = cov * _together(design[np.argsort(x[used])], score[np.argsort(x[used])], mean, cov)
    return coef, cov, (wave - basis @ coef) / dispersion


def _together(design: FloatArray, score: FloatArray, mean: float, cov: FloatArray) -> float:
    """Return by how much neighbours that err together raise the variance, at least 1 (Kish 1965: the design effect).

    `design` and `score`, in order of wavelength, are summed in groups of `GROUP` neighbours before they are squared
    (Liang and Zeger 1986), each group as the fit without it would leave it.
    """
    terms = design.shape[1]
    bread = np.linalg.inv(design.T @ design * mean)
    meat = np.zeros((terms, terms))
    for part in np.array_split(np.arange(len(score)), max(len(score) // GROUP, terms + 2)):
        leverage = design[part] @ bread @ design[part].T * mean
        alone = np.linalg.solve(np.eye(len(part)) - 0.9 * leverage, score[part])
        pull = design[part].T @ alone
        meat += np.outer(pull, pull)
    return max(float(np.trace(np.linalg.solve(cov, bread @ meat @ bread))) / terms, 1.0)
