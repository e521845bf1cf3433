"""Which line is which: candidate wavelength scales improved by soft matching, and judged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from nightpipe.maths.combs import Comb, synthetic
from nightpipe.maths.lines import Peaks, strongest

FloatArray = NDArray[np.float64]
SCHEDULE = ((3, 2.5), (3, 1.7), (3, 1.15), (4, 0.8), (4, 0.52), (4, 0.35))
"""Order of the fit and width of "near" in line widths, from coarse to fine."""


@dataclass(frozen=True)
class Match:
    """A candidate scale: Chebyshev `coef` of wavelength over pixels 0 ... n - 1, and how credible it is.

    `log_odds` (natural) compares "these lines" with "lines at random places"; `matched` of `offered` strong detected
    lines have a partner; `log10_chance` is the decimal logarithm of the probability to do as well by chance in all the
    trials that were made.
    """

    coef: FloatArray
    n: int
    log_odds: float = -np.inf
    matched: int = 0
    offered: int = 0
    log10_chance: float = 0.0

    def wave(self, x: FloatArray) -> FloatArray:
        """Return the wavelength [Angstrom] at pixel `x`."""
        return np.asarray(chebyshev.chebval(2.0 * x / (self.n - 1) - 1.0, self.coef))

    def pixel(self, wave: FloatArray) -> FloatArray:
        """Return the pixel of `wave`; beyond where the scale grows from the middle on, +-infinity."""
        x, scale = self._growing()
        return np.interp(wave, scale, x, left=-np.inf, right=np.inf)

    def _growing(self) -> tuple[FloatArray, FloatArray]:
        """Return pixels and wavelengths over the row and a little more, held where an extrapolation turns back."""
        x = np.arange(-0.1 * self.n, 1.1 * self.n, max(self.n / 4000.0, 0.25))
        scale, middle = self.wave(x), len(x) // 2
        scale[middle:] = np.maximum.accumulate(scale[middle:])
        scale[:middle] = np.minimum.accumulate(scale[:middle][::-1])[::-1]
        return x, scale

    def ends(self) -> tuple[float, float, float]:
        """Return the least and the greatest wavelength on the row, and the mean dispersion of its middle third."""
        x, scale = self._growing()
        inside = scale[(x >= -5.0) & (x <= self.n + 4.0)]
        third = self.wave(np.array([self.n / 3.0, 2.0 * self.n / 3.0]))
        return float(inside[0]), float(inside[-1]), float(third[1] - third[0]) / (self.n / 3.0)


def best_match(
    candidates: list[FloatArray], peaks: Peaks, lines: Comb, *, n: int, fwhm: float, strong: int = 60, keep: int = 4
) -> list[Match]:
    """Return the most credible distinct scales, best first.

    All `candidates` (Chebyshev coefficients) are improved coarsely on the `strong` strongest peaks; the `keep` best of
    them that differ are finished on all `peaks`, which reach further to the ends of the row.
    """
    few = strongest(peaks, strong)
    rough = [_improved(Match(coef, n), few, lines, fwhm, SCHEDULE[:4], 2) for coef in candidates]
    rough = [judged(match, few, lines, 2.0 * fwhm) for match in rough]
    chosen = _different(rough, few, fwhm)[:keep]
    fine = [_improved(match, peaks, lines, fwhm, SCHEDULE[2:], 4) for match in chosen]
    return _different([judged(match, peaks, lines, fwhm) for match in fine], peaks, fwhm)


def _different(matches: list[Match], peaks: Peaks, fwhm: float) -> list[Match]:
    """Return the matches by falling odds, without those that put most of the peaks where a better one does."""
    chosen: list[Match] = []
    for match in sorted(matches, key=lambda m: -m.log_odds):
        place = match.wave(peaks.x)
        away = [float(np.mean(np.abs(other.pixel(place) - peaks.x) > 1.5 * fwhm)) for other in chosen]
        if np.isfinite(match.log_odds) and (not away or min(away) > 0.3):
            chosen.append(match)
    return chosen


def _improved(
    match: Match, peaks: Peaks, lines: Comb, fwhm: float, schedule: tuple[tuple[int, float], ...], passes: int
) -> Match:
    """Improve a candidate by soft matching with a "near" that shrinks.

    Expectation and maximisation as in coherent point drift (Myronenko and Song 2010): each detected peak belongs in
    part to each peak of the synthetic arc, by distance and by likeness of intensity, or to none; the scale is fitted to
    the expected partners.
    """
    for order, width in schedule:
        if not _monotonic(match, peaks):
            return match
        teeth = predicted_peaks(match, lines, fwhm, len(peaks))
        for _ in range(passes):
            share = responsibilities(match, peaks, teeth, max(width * fwhm, 0.4))
            match = replace(match, coef=_expected_fit(match, peaks, teeth.wave, share, order))
    return match


@dataclass(frozen=True)
class Teeth:
    """Peaks of the synthetic arc: `wave`, `strength`, and the `kind` (species) of the line that dominates each."""

    wave: FloatArray
    strength: FloatArray
    kind: NDArray[np.intp]


def predicted_peaks(match: Match, lines: Comb, fwhm: float, count: int) -> Teeth:
    """Return the strongest peaks of the synthetic arc: blends as the instrument sees them."""
    low, high, dispersion = match.ends()
    spare = 3.0 * fwhm * dispersion
    low, high = max(low, lines.wave[0] - spare), min(high, lines.wave[-1] + spare)
    grid = np.arange(low, max(high, low + spare), dispersion * max(fwhm, 2.0) / 8.0)
    arc = synthetic(grid, lines, fwhm * dispersion)
    at = np.flatnonzero((arc[1:-1] >= arc[:-2]) & (arc[1:-1] > arc[2:])) + 1
    at = np.sort(at[np.argsort(-arc[at])[: int(1.4 * count) + 5]])
    distance = (lines.wave[None, :] - grid[at][:, None]) / (0.6 * fwhm * dispersion)
    owner = np.argmax(lines.strength[None, :] * np.exp(-(distance**2)), axis=1)
    return Teeth(grid[at], arc[at], lines.kind[owner])


def responsibilities(match: Match, peaks: Peaks, teeth: Teeth, width: float, likeness: float = 1.5) -> FloatArray:
    """Return the probability that peak i is tooth j, (peaks, teeth); rows sum to less than one: the rest is "none".

    `width` [pixel] is the Gaussian error of position, `likeness` that of the natural logarithm of intensity, after the
    species' median ratios are taken away.
    """
    odds = _pair_odds(match, peaks, teeth, width, likeness)
    none = _strays(peaks.height)
    yes = (1.0 - none)[:, None] * odds
    return np.asarray(yes / (none + yes.sum(axis=1))[:, None])


def _strays(height: FloatArray) -> FloatArray:
    """Return the prior probability that a peak has no partner: 0.04 for the strongest to 0.4 for the faintest."""
    rank = np.argsort(np.argsort(-height)) / max(len(height) - 1, 1)
    return np.asarray(0.04 + 0.36 * rank)


def _pair_odds(match: Match, peaks: Peaks, teeth: Teeth, width: float, likeness: float) -> FloatArray:
    """Return density of peak i at tooth j over that of peaks of its intensity at random places."""
    distance = peaks.x[:, None] - match.pixel(teeth.wave)[None, :]
    ratio = _ratios(distance, peaks, teeth, 3.0 * width)
    like = np.exp(-0.5 * (ratio / likeness) ** 2) + 1e-3
    near = np.exp(-0.5 * (distance / width) ** 2) / (np.sqrt(2 * np.pi) * width)
    return np.asarray(match.n * near * like / like.sum(axis=1)[:, None])


def _ratios(distance: FloatArray, peaks: Peaks, teeth: Teeth, within: float) -> FloatArray:
    """Return log intensity of peak i over tooth j, less the median of the likely pairs of the same species."""
    ratio = np.log(np.maximum(peaks.height, 1e-30))[:, None] - np.log(np.maximum(teeth.strength, 1e-30))[None, :]
    near = np.abs(distance) < within
    overall = float(np.median(ratio[near])) if near.any() else float(np.median(ratio))
    for kind in np.unique(teeth.kind):
        of = near & (teeth.kind == kind)[None, :]
        found = ratio[of]
        offset = (np.sum(found) + 2.0 * overall) / (len(found) + 2.0) if len(found) < 5 else np.median(found)
        ratio[:, teeth.kind == kind] -= offset
    return np.asarray(ratio)


def _expected_fit(match: Match, peaks: Peaks, wave: FloatArray, share: FloatArray, order: int) -> FloatArray:
    """Fit wavelength over x to the expected partners, with a weak pull of the high orders towards what they were."""
    weight = share.sum(axis=1)
    target = (share @ wave) / np.maximum(weight, 1e-12)
    u = 2.0 * peaks.x / (match.n - 1) - 1.0
    old = np.zeros(order + 1)
    old[: min(len(match.coef), order + 1)] = match.coef[: order + 1]
    half = 0.5 * float(np.ptp(match.wave(np.array([0.0, match.n - 1.0]))))
    loose = half * np.array([10.0, 1.0, 0.1, 0.03, *([0.006] * 10)])[: order + 1]
    dispersion = 2.0 * half / match.n
    root = np.sqrt(weight)
    rows = np.concatenate([chebyshev.chebvander(u, order) * root[:, None] / dispersion, np.diag(1.0 / loose) * 2.0])
    data = np.concatenate([(target - chebyshev.chebval(u, old)) * root / dispersion, np.zeros(order + 1)])
    return np.asarray(old + np.linalg.lstsq(rows, data, rcond=None)[0])


def _monotonic(match: Match, peaks: Peaks) -> bool:
    """Return whether wavelength grows wherever peaks are; beyond, an extrapolation may do as it likes."""
    ends = float(peaks.x.min()) - 0.02 * match.n, float(peaks.x.max()) + 0.02 * match.n
    middle = match.wave(np.array([match.n / 3.0, 2.0 * match.n / 3.0]))
    return bool(np.all(np.diff(match.wave(np.linspace(*ends, 60))) > 0) and middle[1] > middle[0])


def judged(match: Match, peaks: Peaks, lines: Comb, fwhm: float, trials: float = 1e6) -> Match:
    """Return the match with its log odds and chance: do peaks fall on lines more often than at random?

    The log odds sum over detected peaks, and over as many predicted ones, the ratio of the densities of "a line of
    this kind near here, or a stray" to "anywhere". The chance is the binomial tail of the detected peaks that have a
    mutual nearest partner, less the freedom of the fit, times the number of `trials`.
    """
    if not _monotonic(match, peaks):
        return replace(match, log_odds=-np.inf)
    teeth = predicted_peaks(match, lines, fwhm, len(peaks))
    sigma = max(0.15 * fwhm, 0.3)
    odds = _pair_odds(match, peaks, teeth, sigma, 1.5)
    none = _strays(peaks.height)
    forth = float(np.sum(np.log(none + (1.0 - none) * odds.sum(axis=1))))
    at = match.pixel(teeth.wave)
    inside = (at > 0) & (at < match.n - 1)
    back = _backward_odds(peaks, at[inside], teeth.strength[inside], sigma, match.n)
    i, _ = partners(peaks.x, at, 2.5 * sigma)
    chance = 1.0 - np.exp(-5.0 * sigma * len(at) / match.n)
    freedom = len(match.coef)
    tail = _log10_tail(len(i) - freedom, max(len(peaks) - freedom, 1), float(chance))
    chance10 = tail + float(np.log10(trials))
    return replace(match, log_odds=forth + back, matched=len(i), offered=len(peaks), log10_chance=chance10)


def _backward_odds(peaks: Peaks, at: FloatArray, strength: FloatArray, sigma: float, n: int) -> float:
    """Return the log odds of the predicted peaks, many of which may be absent: lamps and lists differ."""
    if not len(at):
        return 0.0
    near = np.exp(-0.5 * ((at[:, None] - peaks.x[None, :]) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
    none = 0.15 + 0.5 * np.argsort(np.argsort(-strength)) / len(strength)
    return float(np.sum(np.log(none + (1.0 - none) * n * near.sum(axis=1) / max(len(peaks), 1))))


def partners(x: FloatArray, y: FloatArray, within: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return indices into `x` and `y` of mutual nearest neighbours not further apart than `within`."""
    if not len(x) or not len(y):
        empty = np.zeros(0, dtype=np.intp)
        return empty, empty
    distance = np.abs(x[:, None] - y[None, :])
    nearest_y, nearest_x = distance.argmin(axis=1), distance.argmin(axis=0)
    i = np.flatnonzero((nearest_x[nearest_y] == np.arange(len(x))) & (distance.min(axis=1) < within))
    return i, nearest_y[i]


def _log10_tail(k: int, n: int, p: float) -> float:
    """Return the decimal logarithm of the probability of at least `k` successes in `n`."""
    from scipy.special import bdtrc

    return float(np.log10(max(float(bdtrc(max(k, 0) - 1, n, min(p, 0.999))), 1e-300))) if k > 0 else 0.0
