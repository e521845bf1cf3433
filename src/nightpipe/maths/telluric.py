"""Transmission of the air in the bands of oxygen and water, at an instrument's resolution.

Optical depths are monochromatic, so they add up along the line of sight and grow in proportion to airmass and column;
only then comes the line-spread function. A band with saturated lines has no such simple law at low resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

AIR_COLUMN = 2.148e25
"""Molecules of air per cm2 above sea level: 1013.25 hPa over the mean molecule's weight (28.964 u at 9.80665 m/s2)."""
OXYGEN_SHARE = 0.2095
"""Share of oxygen in dry air by number (US Standard Atmosphere 1976)."""
WATER_COLUMN = 3.3427e21
"""Molecules per cm2 in one millimetre of precipitable water."""
AIR_SCALE, WATER_SCALE = 8000.0, 2000.0
"""Scale heights [m] of air and of its water vapour."""
UPPER = np.array([10500.0, 14000.0, 19000.0, 26000.0])
"""Heights [m] of the layers that are added above a table that ends too low."""
LORENTZ = 0.050
"""Half width [1/cm] of oxygen's lines at one atmosphere of air, in the A and B bands (HITRAN: 0.04 to 0.06)."""
PLACES, GROUPS = 10, (4, 3, 2, 1)
"""Places inside a bin, and how many of them, sorted, make one value of the optical depth."""
TABLE_KELVIN = 296.0
"""Temperature of the tables: that of HITRAN's strengths, in every layer, for the shares of high rotation do not fall
with height."""
WARMER = 13.0
"""The air above is so much warmer [K] than the standard atmosphere: found with one star above Palomar in August."""
ROTATION = (
    (15902.4, 1.3549, 15600.0, 16050.0),
    (14525.7, 1.3731, 14250.0, 14620.0),
    (13120.9, 1.3913, 12800.0, 13200.0),
)
"""Origin, rotational constant of the upper state, first and last wavenumber [1/cm] of the bands of oxygen: gamma, B, A
(Babcock & Herzberg 1948, ApJ 108, 167)."""
GROUND = 1.4377
"""Rotational constant [1/cm] of oxygen's ground state."""
SECOND = 1.438777
"""Planck's constant times the speed of light over Boltzmann's [cm K]."""
OXYGEN_BANDS = ((6270.0, 6340.0), (6855.0, 6990.0), (7585.0, 7740.0))
UNIT = 1e-26
"""Unit of `CrossSections` [cm2]."""
SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
REACH = 4.0
"""The line-spread function is followed to so many sigma."""
WIDER = 1.15
"""Widths that differ by no more are mixed from two."""


@dataclass(frozen=True)
class CrossSections:
    """Absorption cross-sections by layer of air, monochromatic.

    `wave` (n,) vacuum [Angstrom], evenly spaced; `height` (m,) [m] of the layers above the sea; `oxygen` and `water`
    (m, n) float32 [1e-26 cm2 per molecule]. Lines of oxygen high up are narrower than the bins: `inside` (m, k, b)
    float32 holds k places inside each of the bins `split` (b,), whose mean is that of `oxygen`.
    """

    wave: FloatArray
    height: FloatArray
    oxygen: NDArray[np.float32]
    water: NDArray[np.float32]
    inside: NDArray[np.float32]
    split: NDArray[np.int64]
    source: str


@dataclass(frozen=True)
class OpticalDepth:
    """Optical depths of the air above a site at airmass 1: of its oxygen, and of one millimetre of water.

    `wave` (n,) are the vacuum wavelengths [Angstrom] of evenly spaced bins. `oxygen` and `water` (k, n) hold k values
    for each bin, taken by the shares `weight` (k,) of the bin (a single row: one value): a k-distribution (Lacis &
    Oinas 1991, J. Geophys. Res. 96, 9027). The mean transmission of a bin is ``sum_k weight[k] exp(-depth[k])`` for
    each molecule, and the product of both. `exact` tells bins that resolve the lines from broad ones; redder than
    `rough` [Angstrom] they hold one model atmosphere's bands, scaled.
    """

    wave: FloatArray
    weight: FloatArray
    oxygen: NDArray[np.floating]
    water: NDArray[np.floating]
    exact: bool
    source: str
    rough: float = float("inf")

    @property
    def step(self) -> float:
        """Return the width [Angstrom] of the bins."""
        return float(self.wave[1] - self.wave[0])


def layer_shares(height: FloatArray, site: float, scale: float) -> FloatArray:
    """Return the share of a column above `site` [m] that lies in each layer (m,), of exponential scale height [m].

    A layer reaches half-way to its neighbours, the lowest down to the site and the highest to the end of the air.
    """
    middle = 0.5 * (height[1:] + height[:-1])
    low = np.maximum(np.concatenate([[-np.inf], middle]), site)
    high = np.maximum(np.concatenate([middle, [np.inf]]), site)
    return np.asarray(np.exp(-(low - site) / scale) - np.exp(-(high - site) / scale))


def with_upper_air(height: FloatArray, oxygen: FloatArray) -> FloatArray:
    """Return cross-sections (len(UPPER), n) of layers above the highest of `oxygen` (m, n), a third of the gas.

    Lines narrow with pressure: their wings fall in proportion to it, their cores rise as it falls. Between the highest
    layer and the one three below, each wavelength shows its own power of the pressure, -1 to 1; it is carried on. To
    take all of that air at the highest layer's pressure makes the A band of O2 a tenth too strong.
    """
    tiny = 1e-12
    fall = (height[-1] - height[-4]) / AIR_SCALE
    power = np.clip(np.log(np.maximum(oxygen[-4], tiny) / np.maximum(oxygen[-1], tiny)) / fall, -1.0, 1.0)
    return np.array([oxygen[-1] * np.exp(-power * (above - height[-1]) / AIR_SCALE) for above in UPPER])


def resolved(wave: FloatArray, mean: FloatArray, height: float) -> FloatArray:
    """Return (k, n) cross-sections at k places inside each bin, from the bins' `mean` (n,) in one layer.

    The lines of oxygen at `height` [m] are narrower than the bins of the table, and an average over a bin absorbs more
    than what it is made of. Each line that stands out gets a Voigt profile, whose Doppler width is that of oxygen at
    the layer's temperature and whose Lorentz width is the pressure's; its place follows from the bins on either side.
    The profile shares out what the bins hold, so their means stay.
    """
    from scipy.special import wofz

    step = wave[1] - wave[0]
    places = (np.arange(PLACES) + 0.5) / PLACES - 0.5
    inside = np.repeat(mean[None], PLACES, axis=0)
    peak = 1 + np.flatnonzero(
        (mean[1:-1] > mean[:-2]) & (mean[1:-1] > mean[2:]) & (mean[1:-1] > 2 * _floor(mean)[1:-1])
    )
    peak = peak[(peak > 2) & (peak < len(mean) - 3)]
    lorentz = LORENTZ * np.exp(-height / AIR_SCALE) * wave[peak] ** 2 * 1e-8
    doppler = wave[peak] * np.sqrt(2 * 1.380649e-23 * _temperature(height) / 5.3134e-26) / 2.99792458e8
    left, right = np.sqrt(mean[peak - 1]), np.sqrt(mean[peak + 1])
    offset = step * (right - left) / (right + left)  # far from the centre a line falls with the square
    for near in (-1, 0, 1):
        z = (((near + places[:, None]) * step - offset) + 1j * lorentz) / doppler
        profile = wofz(z).real
        inside[:, peak + near] = mean[peak + near] * profile / profile.mean(axis=0)
    return inside


def _floor(mean: FloatArray) -> FloatArray:
    from scipy.ndimage import minimum_filter1d

    return np.asarray(minimum_filter1d(mean, 5))


def _temperature(height: float) -> float:
    """Return the temperature [K] at `height` [m] (US Standard Atmosphere 1976, to 30 km)."""
    return float(max(288.15 - 6.5e-3 * height, 216.65))


def rotation(wave: FloatArray) -> FloatArray:
    """Return the energy [1/cm] of the state from which oxygen absorbs at each wavelength; NaN outside its bands.

    In a band ``nu = nu0 + (B' + B'') m + (B' - B'') m^2``, and the energy is ``B'' m (m - 1)``: m = J + 1 towards the
    blue, -J towards the red. Blueward of the head, where lines turn back, it is that of the head.
    """
    nu, energy = 1e8 / wave, np.full(len(wave), np.nan)
    for origin, upper, low, high in ROTATION:
        inside = (nu > low) & (nu < high)
        d, s = upper - GROUND, upper + GROUND
        m = (-s + np.sqrt(np.maximum(s * s + 4 * d * (nu[inside] - origin), 0.0))) / (2 * d)
        energy[inside] = GROUND * m * (m - 1)
    return np.minimum(energy, 1250.0)


def cooled(wave: FloatArray, height: float) -> FloatArray:
    """Return the factor (n,) of oxygen's strength in the layer at `height` [m], which is colder than the table.

    A state of energy E holds the share ``exp(-E c2 / T) / Q`` of the molecules, Q in proportion to T. Without it lines
    of high rotation are too strong: the head of the A band was over-corrected by up to 15%.
    """
    kelvin = _temperature(height) + WARMER
    energy = rotation(wave)
    share = np.exp(-SECOND * energy * (1.0 / kelvin - 1.0 / TABLE_KELVIN)) * TABLE_KELVIN / kelvin
    return np.asarray(np.where(np.isfinite(energy), share, 1.0))


def depth_above(sections: CrossSections, site: float) -> OpticalDepth:
    """Return the optical depths at airmass 1 above a site at `site` [m]."""
    column = UNIT * OXYGEN_SHARE * AIR_COLUMN * np.exp(-site / AIR_SCALE)
    oxygen = layer_shares(sections.height, site, AIR_SCALE) * column
    water = layer_shares(sections.height, site, WATER_SCALE) * UNIT * WATER_COLUMN
    strength = np.array([cooled(sections.wave, height) for height in sections.height])
    mean = np.einsum("m,mn,mn->n", oxygen, sections.oxygen, strength)
    split = np.einsum("m,mkb,mb->kb", oxygen, sections.inside, strength[:, sections.split])
    split = np.sort(split, axis=0)
    groups = np.split(split, np.cumsum(GROUPS)[:-1])
    depth = np.repeat(mean[None], len(GROUPS), axis=0)
    depth[:, sections.split] = [group.mean(axis=0) for group in groups]
    return OpticalDepth(
        wave=sections.wave,
        weight=np.array(GROUPS) / PLACES,
        oxygen=depth,
        water=(water @ sections.water)[None, :].astype(np.float64),
        exact=True,
        source=sections.source,
    )


def k_distribution(depth: OpticalDepth, width: float, weight: FloatArray) -> OpticalDepth:
    """Return the depths of a monochromatic table sorted within bins of `width` [Angstrom]: a few values a bin.

    Each of the k values stands for the share `weight` of a bin, and gives the mean transmission of that share exactly
    at the columns that are most observed.
    """
    size = round(width / depth.step)
    bins = len(depth.wave) // size
    bounds = np.round(np.concatenate([[0.0], np.cumsum(weight)]) * size).astype(int)

    def sorted_in_bins(values: FloatArray, typical: float) -> FloatArray:
        inside = np.sort(values[: bins * size].reshape(bins, size), axis=1)
        parts = [inside[:, low:high] for low, high in pairwise(bounds)]
        return np.array([-np.log(np.mean(np.exp(-typical * part), axis=1)) / typical for part in parts])

    wave = depth.wave[: bins * size].reshape(bins, size).mean(axis=1)
    share = np.diff(bounds) / size
    return OpticalDepth(
        wave,
        share,
        sorted_in_bins(depth.weight @ depth.oxygen, 1.4),
        sorted_in_bins(depth.water[0], 6.0),
        False,
        depth.source,
    )


@dataclass(frozen=True)
class Column:
    """How much air: of oxygen relative to the site's, of water in millimetres, both times airmass."""

    oxygen: float
    water: float


def fine_transmission(depth: OpticalDepth, column: Column) -> FloatArray:
    """Return the transmission (n,) on the bins of `depth`."""
    return mean_transmission(depth.weight, depth.oxygen, column.oxygen) * mean_transmission(
        depth.weight, depth.water, column.water
    )


def mean_transmission(weight: FloatArray, depth: NDArray[np.floating], column: float) -> FloatArray:
    """Return the mean transmission (n,) of a `column` of one gas, its bins' optical depths (k, n), or (1, n)."""
    optical = column * depth
    return np.asarray(np.exp(-optical[0]) if len(optical) == 1 else weight @ np.exp(-optical))


def thinned(depth: OpticalDepth, low: float, high: float) -> OpticalDepth:
    """Return the part of the table between two wavelengths [Angstrom]; values that are alike become a single row.

    Depths become float32, with which a fit takes exponentials four times faster, good to 1e-7.
    """
    keep = slice(*np.searchsorted(depth.wave, [low, high]))
    parts = [_single(table[:, keep]).astype(np.float32) for table in (depth.oxygen, depth.water)]
    return replace(depth, wave=depth.wave[keep], oxygen=parts[0], water=parts[1])


def _single(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return values[:1] if len(values) > 1 and np.array_equal(values[0], values[-1]) else values


def blurred(values: FloatArray, grid: FloatArray, wave: FloatArray, fwhm: FloatArray) -> FloatArray:
    """Return what a Gaussian line-spread function makes of `values` (m,) on the even `grid` [Angstrom], at `wave` (n,).

    `fwhm` (n,) [Angstrom] is that of a line as it appears, pixel included. Where it changes along the spectrum the
    values are blurred to a few widths and mixed in between, which is exact to the second order. Bins of the grid should
    be finer than a twentieth of the lines; what lies beyond the grid repeats its last value.
    """
    nodes = width_nodes(float(fwhm.min()), float(fwhm.max()))
    return mixed(blurred_to(values, float(grid[1] - grid[0]), nodes), grid, wave, nodes, fwhm)


@lru_cache(maxsize=64)
def width_nodes(low: float, high: float) -> FloatArray:
    """Return the widths [Angstrom] from which those between `low` and `high` are mixed."""
    count = 1 + int(np.ceil(np.log(high / low) / np.log(WIDER)))
    if count == 1:
        return np.array([np.sqrt(low * high)])
    return np.geomspace(low, high, count)


def blurred_to(values: FloatArray, step: float, nodes: FloatArray) -> list[FloatArray]:
    """Return `values` on a grid of `step` [Angstrom], blurred to each of the widths `nodes` [Angstrom]."""
    from scipy.ndimage import gaussian_filter1d

    return [
        np.asarray(gaussian_filter1d(values, width / SIGMA / step, mode="nearest", truncate=REACH)) for width in nodes
    ]


def mixed(
    versions: list[FloatArray], grid: FloatArray, wave: FloatArray, nodes: FloatArray, fwhm: FloatArray
) -> FloatArray:
    """Return the values at `wave` (n,) for the widths `fwhm` (n,), from `versions` on `grid` for the widths `nodes`."""
    stack = np.array([np.interp(wave, grid, version) for version in versions])
    if len(nodes) == 1:
        return stack[0]
    place = np.interp(fwhm, nodes, np.arange(len(nodes), dtype=np.float64))
    below = np.minimum(place.astype(int), len(nodes) - 2)
    share, column = place - below, np.arange(len(wave))
    return np.asarray((1.0 - share) * stack[below, column] + share * stack[below + 1, column])
