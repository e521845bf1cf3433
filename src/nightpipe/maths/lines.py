"""Emission lines in one dimension: their shape on pixels, the floor beneath them, detection and width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
FWHM_PER_SIGMA = 2.3548200450309493


@dataclass(frozen=True)
class LineShape:
    """The line-spread function: a Gaussian smeared by the slit's image, integrated over pixels.

    `sigma` [pixel] is the Gaussian's; it runs linearly from `sigma` - `slope` at the low end to `sigma` + `slope` at
    the high end of `domain`. `box` [pixel] is the full width of a box that stands for slit and pixel together.
    """

    sigma: float
    slope: float
    box: float
    domain: tuple[float, float]

    def sigma_at(self, x: ArrayLike) -> FloatArray:
        """Return the Gaussian's sigma [pixel] at `x`."""
        low, high = self.domain
        u = (2.0 * np.asarray(x, dtype=np.float64) - low - high) / max(high - low, 1.0)
        return np.maximum(self.sigma + self.slope * np.clip(u, -1.0, 1.0), 0.25)

    def fwhm_at(self, x: ArrayLike) -> FloatArray:
        """Return the full width at half maximum [pixel] at `x`."""
        return full_width(self.sigma_at(x), self.box)

    def __call__(self, distance: FloatArray, x: ArrayLike) -> FloatArray:
        """Return the unit-area profile at `distance` [pixel] from the centre of a line that lies at `x`."""
        return smeared(distance, self.sigma_at(x), self.box)

    def slope_at(self, distance: FloatArray, x: ArrayLike) -> FloatArray:
        """Return the derivative of the profile by the line's *centre*."""
        return smeared_slope(distance, self.sigma_at(x), self.box)


def smeared(distance: FloatArray, sigma: FloatArray, box: float = 1.0) -> FloatArray:
    """Return a Gaussian of `sigma` smeared by a box of width `box`, of unit area, at `distance` from its centre."""
    from scipy.special import ndtr

    half = 0.5 * box
    return np.asarray((ndtr((distance + half) / sigma) - ndtr((distance - half) / sigma)) / box)


def smeared_slope(distance: FloatArray, sigma: FloatArray, box: float = 1.0) -> FloatArray:
    """Return the derivative of `smeared` by the place of its centre."""
    half = 0.5 * box
    upper = np.exp(-0.5 * ((distance + half) / sigma) ** 2)
    lower = np.exp(-0.5 * ((distance - half) / sigma) ** 2)
    return np.asarray((lower - upper) / (sigma * box * np.sqrt(2.0 * np.pi)))


def full_width(sigma: ArrayLike, box: float) -> FloatArray:
    """Return the full width at half maximum of a Gaussian of `sigma` convolved with a box of width `box`.

    Interpolated in a table of width over sigma against box over sigma, good to 1e-6; far wider boxes keep their width.
    """
    sigma = np.atleast_1d(np.asarray(sigma, dtype=np.float64)).reshape(-1)
    ratio = box / sigma
    nodes, widths = _width_table()
    return np.where(ratio < nodes[-1], np.interp(ratio, nodes, widths), ratio) * sigma


@cache
def _width_table() -> tuple[FloatArray, FloatArray]:
    """Return box over sigma, and width over sigma found by bisection."""
    from scipy.special import ndtr

    box = np.linspace(0.0, 20.0, 4001)[1:]
    low, high = np.zeros_like(box), 0.5 * box + 3.0
    peak = ndtr(0.5 * box) - ndtr(-0.5 * box)
    for _ in range(50):
        middle = 0.5 * (low + high)
        above = ndtr(middle + 0.5 * box) - ndtr(middle - 0.5 * box) > 0.5 * peak
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.append(0.0, box), np.append(FWHM_PER_SIGMA, low + high)


def gaussian_shape(fwhm: float, domain: tuple[float, float]) -> LineShape:
    """Return a pixel-integrated Gaussian of `fwhm` [pixel], pixel included."""
    sigma = np.sqrt(max((fwhm / FWHM_PER_SIGMA) ** 2 - 1.0 / 12.0, 0.09))
    return LineShape(float(sigma), 0.0, 1.0, domain)


def shape_between(low: float, high: float, box: float, n: int) -> LineShape:
    """Return the shape with a box of width `box` whose FWHM [pixel] runs from `low` to `high` over `n` pixels."""
    first, last = _sigma_of(low, box), _sigma_of(high, box)
    return LineShape(0.5 * (first + last), 0.5 * (last - first), box, (0.0, n - 1.0))


def _sigma_of(fwhm: float, box: float) -> float:
    """Return the sigma of the Gaussian that with a box of width `box` makes a line of `fwhm`, at least 0.25 pixel."""
    low, high = 0.25, max(fwhm, 0.3)
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if full_width(middle, box)[0] < fwhm else (low, middle)
    return 0.5 * (low + high)


def floor(flux: ArrayLike, width: float) -> FloatArray:
    """Return the smooth level under the lines: a running low percentile over `width` pixels, smoothed.

    It follows lamps' continua and scattered light; lines must fill less than about two thirds of `width`.
    """
    from scipy.ndimage import gaussian_filter1d, percentile_filter

    size = 2 * int(max(width, 5.0) / 2) + 1
    low = percentile_filter(np.asarray(flux, dtype=np.float64), 20.0, size=size, mode="nearest")
    return np.asarray(gaussian_filter1d(low, size / 4.0, mode="nearest"), dtype=np.float64)


@dataclass(frozen=True)
class Peaks:
    """Detected lines: `x` [pixel], `height` above the floor, `snr` of the matched filter; increasing in x."""

    x: FloatArray
    height: FloatArray
    snr: FloatArray

    def __len__(self) -> int:
        return len(self.x)


def detect(flux: ArrayLike, error: ArrayLike, shape: LineShape, *, threshold: float = 8.0) -> Peaks:
    """Find lines by matched filter with the line shape.

    `flux` (n,) with the floor taken away, `error` (n,) one sigma. A line is a local maximum of the filtered flux whose
    filtered significance exceeds `threshold`. Sub-pixel positions by a parabola through the logarithm of the flux.
    """
    flux, error = np.asarray(flux, dtype=np.float64), np.asarray(error, dtype=np.float64)
    reach = int(np.ceil(1.5 * shape.fwhm_at([0.0])[0])) + 1
    kernel = shape(np.arange(-reach, reach + 1, dtype=np.float64), np.mean(shape.domain))
    kernel = kernel - kernel.mean()
    filtered = np.convolve(flux, kernel, mode="same")
    noise = np.sqrt(np.convolve(error**2, kernel**2, mode="same"))
    snr = filtered / np.maximum(noise, 1e-30)
    inner = (flux[1:-1] >= flux[:-2]) & (flux[1:-1] > flux[2:])
    near = np.maximum(np.maximum(snr[1:-1], snr[:-2]), snr[2:])
    at = np.flatnonzero(inner & (near > threshold)) + 1
    return Peaks(at + parabola(flux, at), flux[at], np.maximum(near[at - 1], 0.0))


def strongest(peaks: Peaks, count: int) -> Peaks:
    """Return the `count` most significant peaks, in order of position."""
    keep = np.sort(np.argsort(-peaks.snr)[:count])
    return Peaks(peaks.x[keep], peaks.height[keep], peaks.snr[keep])


def parabola(flux: FloatArray, at: NDArray[np.intp]) -> FloatArray:
    """Return the offset of the maximum of a parabola through the logarithms of three pixels, within half a pixel."""
    least = np.maximum(np.abs(flux[at]) * 1e-3, 1e-30)
    left, mid, right = (np.log(np.maximum(flux[at + d], least)) for d in (-1, 0, 1))
    curve = left - 2.0 * mid + right
    offset = np.where(curve < -1e-9, 0.5 * (left - right) / np.where(curve < -1e-9, curve, 1.0), 0.0)
    return np.clip(offset, -0.5, 0.5)


def isolated(x: FloatArray, height: FloatArray, reach: float, *, ratio: float = 0.03) -> NDArray[np.bool_]:
    """Return which lines have no neighbour within `reach` [pixel] that is stronger than `ratio` of them."""
    distance = np.abs(x[:, None] - x[None, :])
    near = (distance < reach) & (distance > 0) & (height[None, :] > ratio * height[:, None])
    return np.asarray(~near.any(axis=1))


def measure_shape(
    flux: FloatArray, error: FloatArray, peaks: Peaks, *, guess: float, usable: NDArray[np.bool_]
) -> LineShape:
    """Measure the line shape on strong, isolated lines.

    For each of a few box widths every line is fitted alone; the box with the least total chi-square (errors with a
    floor of two per cent of the peak, so that the brightest do not decide alone) is kept, and sigma is a robust
    straight line in x. `guess` is a rough FWHM [pixel]; `usable` (n,) marks pixels that are not saturated.
    """
    chosen = _strong(flux, peaks, guess, usable)
    domain = (0.0, float(len(flux) - 1))
    if len(chosen) < 3:
        return gaussian_shape(guess, domain)
    trials = [_shape_with_box(flux, error, peaks, chosen, guess, box) for box in _boxes(guess)]
    return min(trials, key=lambda trial: trial[0])[1]


def _boxes(guess: float) -> list[float]:
    return [1.0, *(b for b in (0.5 * guess, 0.75 * guess, 0.95 * guess) if b > 1.2)]


def _strong(flux: FloatArray, peaks: Peaks, guess: float, usable: NDArray[np.bool_]) -> NDArray[np.intp]:
    reach = int(np.ceil(2.0 * guess)) + 1
    inside = (peaks.x > reach) & (peaks.x < len(flux) - 1 - reach)
    clean = np.array([usable[max(int(x) - reach, 0) : int(x) + reach + 1].all() for x in peaks.x], dtype=bool)
    ok = isolated(peaks.x, peaks.height, 3.0 * guess) & inside & clean & (peaks.snr > 20)
    order = np.argsort(-peaks.snr * ok)
    return order[: min(30, int(ok.sum()))]


def _shape_with_box(
    flux: FloatArray, error: FloatArray, peaks: Peaks, chosen: NDArray[np.intp], guess: float, box: float
) -> tuple[float, LineShape]:
    domain = (0.0, float(len(flux) - 1))
    sigma, chi2 = _fit_alone(flux, error, peaks.x[chosen], peaks.height[chosen], guess, box)
    middle = float(np.median(sigma))
    u = (2.0 * peaks.x[chosen] - domain[1]) / max(domain[1], 1.0)
    slope = _robust_slope(u, sigma - middle) if len(chosen) >= 8 and np.ptp(u) > 0.8 else 0.0
    middle = float(np.median(sigma - slope * u))
    return float(np.median(chi2)), LineShape(middle, float(np.clip(slope, -0.3 * middle, 0.3 * middle)), box, domain)


def _robust_slope(u: FloatArray, value: FloatArray) -> float:
    """Return the median of the slopes of all pairs (Theil 1950, Sen 1968)."""
    i, j = np.triu_indices(len(u), 1)
    far = np.abs(u[i] - u[j]) > 0.1
    return float(np.median((value[i] - value[j])[far] / (u[i] - u[j])[far])) if far.any() else 0.0


def _fit_alone(
    flux: FloatArray, error: FloatArray, x: FloatArray, height: FloatArray, guess: float, box: float
) -> tuple[FloatArray, FloatArray]:
    """Return sigma [pixel] and chi-square per pixel of lines, each fitted alone with a box of given width.

    Damped Gauss-Newton on area, centre, log sigma and level, all lines at once.
    """
    reach = int(np.ceil(1.6 * guess)) + 1
    at = np.round(x).astype(int)[:, None] + np.arange(-reach, reach + 1)
    data = flux[at] / height[:, None]
    noise = np.hypot(error[at] / height[:, None], 0.02)
    first = np.log(max(guess / FWHM_PER_SIGMA * (0.9 if box < 1.2 else 0.6), 0.3))
    p = np.stack([np.full(len(x), guess), x, np.full(len(x), first), np.zeros(len(x))], axis=1)
    damping, (model, design) = np.full(len(x), 1e-2), _alone(at, p, box)
    chi2 = np.sum(((data - model) / noise) ** 2, axis=1)
    for _ in range(15):
        scaled = design / noise[:, :, None]
        normal = np.einsum("lpi,lpj->lij", scaled, scaled)
        normal += (damping[:, None] * np.einsum("lii->li", normal) + 1e-9)[:, :, None] * np.eye(4)
        step = np.linalg.solve(normal, np.einsum("lpi,lp->li", scaled, (data - model) / noise)[:, :, None])[:, :, 0]
        trial = p + np.clip(step, [-0.5 * guess, -0.5, -0.4, -0.2], [0.5 * guess, 0.5, 0.4, 0.2])
        new_model, new_design = _alone(at, trial, box)
        new = np.sum(((data - new_model) / noise) ** 2, axis=1)
        better = new < chi2
        p, model = np.where(better[:, None], trial, p), np.where(better[:, None], new_model, model)
        design, chi2 = np.where(better[:, None, None], new_design, design), np.where(better, new, chi2)
        damping = np.where(better, damping * 0.2, np.minimum(damping * 10.0, 1e6))
    return np.exp(p[:, 2]), chi2 / at.shape[1]


def _alone(at: NDArray[np.intp], p: FloatArray, box: float) -> tuple[FloatArray, FloatArray]:
    """Return model (lines, pixels) and its derivatives by area, centre, log sigma and level."""
    from scipy.special import ndtr

    sigma = np.clip(np.exp(p[:, 2]), 0.15, 50.0)[:, None]
    upper, lower = (at - p[:, 1:2] + 0.5 * box) / sigma, (at - p[:, 1:2] - 0.5 * box) / sigma
    profile = (ndtr(upper) - ndtr(lower)) / box
    high, low = (np.exp(-0.5 * z**2) / (np.sqrt(2.0 * np.pi) * box) for z in (upper, lower))
    area = p[:, 0:1]
    design = [profile, area * (low - high) / sigma, area * (low * lower - high * upper), np.ones_like(profile)]
    return area * profile + p[:, 3:4], np.stack(design, axis=2)
