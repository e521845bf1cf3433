"""The search for a wavelength scale: a line list as a comb, laid on an arc by correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from nightpipe.maths.correlate import Alignment, align
from nightpipe.maths.lines import FWHM_PER_SIGMA

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Comb:
    """A line list as the search sees it: `wave` increasing [Angstrom], `strength` with each species scaled alike.

    `kind` numbers the species, `index` points back into the list.
    """

    wave: FloatArray
    strength: FloatArray
    kind: NDArray[np.intp]
    index: NDArray[np.intp]


@dataclass(frozen=True)
class Guess:
    """What is known beforehand: wavelength at the middle and Angstrom per pixel, each with how far off it may be.

    `tolerance` is in Angstrom, `stretch` a fraction of the dispersion. `bend` and `twist` bound the quadratic and the
    cubic term, as fractions of half the length of the spectrum.
    """

    centre: float
    dispersion: float
    tolerance: float
    stretch: float = 0.03
    bend: float = 0.05
    twist: float = 0.015


def comb(wave: FloatArray, intensity: FloatArray, species: tuple[str, ...], limits: tuple[float, float]) -> Comb:
    """Scale every species to its strongest line within `limits`, since lamps mix them in unknown proportion."""
    inside = np.flatnonzero((wave > limits[0]) & (wave < limits[1]) & (intensity > 0))
    _, kind = np.unique(np.asarray(species)[inside], return_inverse=True)
    strength = intensity[inside].astype(np.float64)
    for k in range(int(kind.max(initial=-1)) + 1):
        strength[kind == k] /= strength[kind == k].max()
    return Comb(wave[inside], strength, kind.astype(np.intp), inside.astype(np.intp))


def synthetic(grid: FloatArray, lines: Comb, fwhm: FloatArray | float) -> FloatArray:
    """Return the lines as Gaussians of unit peak times strength on a uniform `grid`; `fwhm` in Angstrom."""
    from scipy.ndimage import gaussian_filter1d

    step = grid[1] - grid[0]
    place = (lines.wave - grid[0]) / step
    inside = (place > 0) & (place < len(grid) - 2)
    cell, part = place[inside].astype(int), place[inside] % 1.0
    comb_ = np.bincount(cell, lines.strength[inside] * (1 - part), len(grid))
    comb_ += np.bincount(cell + 1, lines.strength[inside] * part, len(grid))
    sigma = float(fwhm) / FWHM_PER_SIGMA / step
    return np.asarray(gaussian_filter1d(comb_, sigma) * np.sqrt(2 * np.pi) * sigma)


def compressed(flux: FloatArray, lines: int) -> FloatArray:
    """Return ``log(1 + flux / level)`` with the level at the height of the `lines`-th peak.

    Line intensities of lists and of lamps agree within factors of several only; ranks and logarithms survive that.
    """
    heights = _heights(flux)
    level = heights[min(lines, len(heights) - 1)] if len(heights) else 0.0
    return np.log1p(np.maximum(flux, 0.0) / max(level, 1e-6 * float(np.max(flux, initial=0.0)), 1e-30))


def _heights(flux: FloatArray) -> FloatArray:
    at = np.flatnonzero((flux[1:-1] >= flux[:-2]) & (flux[1:-1] > flux[2:])) + 1
    return np.sort(flux[at])[::-1]


def search(
    flux: FloatArray, lines: Comb, guess: Guess, *, fwhm: float, keep: int = 16, strong: int = 40
) -> list[FloatArray]:
    """Return candidate Chebyshev coefficients of wavelength over the pixels of `flux` (n,), floor removed, best first.

    Shift, stretch, bend and twist are searched on a grid as fine as the blurred line width [pixel].
    """
    from scipy.ndimage import gaussian_filter1d

    n, half = len(flux), 0.5 * (len(flux) - 1)
    blur = max(1.5 * fwhm, n / (240.0 if guess.stretch < 0.06 else 200.0))
    every = max(1, int(blur / 2.1))
    signal = compressed(gaussian_filter1d(flux, blur / FWHM_PER_SIGMA), strong)[::every]
    reach = half * (1 + guess.stretch + guess.bend + guess.twist) * guess.dispersion + guess.tolerance
    step = guess.dispersion * every
    grid = np.arange(guess.centre - reach, guess.centre + reach, step)
    share = strong * max(reach / (half * guess.dispersion), 1.0)
    template = compressed(synthetic(grid, lines, blur * guess.dispersion), int(1.3 * share))
    trials = _trials(guess, blur / half)
    found = align(
        signal,
        template,
        scale=half / every,
        centre=reach / step,
        reach=guess.tolerance / step,
        trials=trials,
        keep=keep,
    )
    return [_coefficients(one, grid[0], step, half * guess.dispersion) for one in found]


def _trials(guess: Guess, step: float) -> FloatArray:
    def around(limit: float, spacing: float) -> FloatArray:
        count = int(np.ceil(limit / spacing))
        return np.linspace(-limit, limit, 2 * count + 1)

    grids = around(guess.stretch, 0.85 * step), around(guess.bend, 0.85 * step), around(guess.twist, 2.0 * step)
    return np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, 3)


def _coefficients(one: Alignment, origin: float, step: float, half: float) -> FloatArray:
    power = [origin + step * one.shift, half * (1 + one.stretch), half * one.bend, half * one.twist]
    return np.asarray(chebyshev.poly2cheb(power))
