"""The bands of the air in one spectrum: windows around them, the continuum within, and what the model says there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.rebin import widths
from nightpipe.maths.telluric import Column, OpticalDepth, blurred_to, mean_transmission, mixed, thinned, width_nodes
from nightpipe.model.spectrum import Spectrum

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
Gas = Callable[[float], FloatArray]
"""Transmission of a column of one gas on the bins of a table."""

PIVOT = 7600.0
"""Wavelength [Angstrom] at which a shift is told."""
BANDS: tuple[tuple[float, float], ...] = (
    (6860.0, 6970.0),
    (7150.0, 7350.0),
    (7590.0, 7725.0),
    (8100.0, 8370.0),
    (8925.0, 9850.0),
    (10000.0, 12000.0),
)
"""What is fitted: B, water, A, and water again."""
DEEPEST = (7500.0, 7800.0)
"""Where the width of the A band's lines counts."""
CLEAR = 0.98
"""Pixels that let more than this through lie beside the band; where fewer than `FEWEST` do, the clearest."""
FEWEST = 6
FINENESS = 24.0
"""Bins of the model per line-spread function: finer ones cost time and change nothing."""
KEPT = 6
"""How many of the last trials are remembered: the place where a fit stands, and each number moved from there."""


@dataclass(frozen=True)
class Window:
    """One band with continuum on both sides: pixels `keep` of the spectrum, model grid, continuum's basis (n, m)."""

    keep: NDArray[np.intp]
    wave: FloatArray
    fwhm: FloatArray
    flux: FloatArray
    err: FloatArray
    basis: FloatArray
    depth: OpticalDepth


@dataclass(frozen=True)
class Air:
    """The free numbers: columns (times airmass), width of the lines relative to the spectrum's, shift of wavelengths.

    `shift` [Angstrom] is that at 7600 A, `slope` its change per 1000 A. `broad` is the width of the lines in the A band
    relative to the other bands: it is by far the deepest, and the focus changes along a spectrum.
    """

    column: Column
    lsf: float
    shift: float
    slope: float
    broad: float = 1.0


def windows(
    spectrum: Spectrum, depth: OpticalDepth, template: FloatArray | None, floor: float, stretch: float
) -> tuple[Window, ...]:
    """Return the bands that the spectrum covers with enough good pixels beside them.

    The continuum is a polynomial with a term for each `stretch` [Angstrom], times `template` (n,) where there is one;
    `floor` is a relative error added to each pixel.
    """
    good = spectrum.good & (spectrum.err > 0)
    width = widths(spectrum.wave)
    fwhm = np.where(np.isfinite(spectrum.fwhm) & (spectrum.fwhm > 0), spectrum.fwhm, 2.0 * width)
    margin = max(100.0, 2.5 * float(np.median(fwhm)))
    level = np.ones(len(good)) if template is None else template
    err = np.hypot(spectrum.err, floor * np.abs(_smooth(spectrum.flux, good)))
    found = []
    for low, high in BANDS:
        keep = np.flatnonzero(good & (spectrum.wave > low - margin) & (spectrum.wave < high + margin) & (level > 0))
        if not _enough(spectrum.wave[keep], low, high):
            continue
        terms = int(np.clip((high - low + 2 * margin) / max(stretch, 6.0 * float(np.median(fwhm))), 2, 8)) + 1
        found.append(
            Window(
                keep,
                spectrum.wave[keep],
                fwhm[keep],
                spectrum.flux[keep],
                err[keep],
                _basis(spectrum.wave[keep], terms) * level[keep, None],
                _coarse(depth, spectrum.wave[keep], fwhm[keep]),
            )
        )
    return tuple(found)


def _enough(wave: FloatArray, low: float, high: float) -> bool:
    """Tell whether pixels lie inside the band and on both sides of it, or it is cut by the detector beyond half."""
    inside = (wave > low) & (wave < high)
    return bool(inside.sum() >= 5 and (wave < low).sum() >= 4 and ((wave > high).sum() >= 4 or np.ptp(wave) > 300.0))


def _smooth(flux: FloatArray, good: Bools) -> FloatArray:
    from scipy.ndimage import median_filter

    filled = np.interp(np.arange(len(flux)), np.flatnonzero(good), flux[good]) if good.any() else flux
    return np.asarray(median_filter(filled, size=min(31, len(flux)), mode="nearest"))


def _basis(wave: FloatArray, terms: int) -> FloatArray:
    low, high = wave[0], wave[-1]
    return np.asarray(np.polynomial.legendre.legvander((2 * wave - low - high) / (high - low), terms - 1))


def _coarse(depth: OpticalDepth, wave: FloatArray, fwhm: FloatArray) -> OpticalDepth:
    reach = 3.0 * float(fwhm.max()) + 20.0
    return thinned(depth, wave[0] - reach, wave[-1] + reach)


class Band:
    """Transmission of the air at pixels `wave` (n,) of a spectrum whose lines are `fwhm` (n,) wide [Angstrom].

    A fit tries one number after the other. What the others settle is kept for the next few calls: the exponentials of
    each gas while its column stays, and what is blurred while columns and widths stay.
    """

    def __init__(self, depth: OpticalDepth, wave: FloatArray, fwhm: FloatArray) -> None:
        self.wave, self.fwhm = wave, fwhm
        self.deepest = (wave > DEEPEST[0]) & (wave < DEEPEST[1])
        size = _size(depth, fwhm)
        self.grid = _binned(depth.wave, size)
        oxygen, water = (
            lru_cache(KEPT)(partial(mean_transmission, depth.weight, table)) for table in (depth.oxygen, depth.water)
        )
        fine = lru_cache(KEPT)(partial(_averaged, oxygen, water, size))
        self.versions = lru_cache(KEPT)(partial(_versions, fine, float(self.grid[1] - self.grid[0])))

    def __call__(self, air: Air) -> FloatArray:
        """Return the transmission (n,), for lines as broad and as shifted as `air` says."""
        width = self.fwhm * air.lsf * np.where(self.deepest, air.broad, 1.0)
        nodes, versions = self.versions(air.column, float(width.min()), float(width.max()))
        wave = self.wave - air.shift - air.slope * (self.wave - PIVOT) / 1000.0
        return mixed(versions, self.grid, wave, nodes, width)


def _averaged(oxygen: Gas, water: Gas, size: int, column: Column) -> FloatArray:
    """Return the transmission on bins as broad as the resolution allows."""
    return _binned(oxygen(column.oxygen) * water(column.water), size)


def _versions(
    fine: Callable[[Column], FloatArray], step: float, column: Column, low: float, high: float
) -> tuple[FloatArray, list[FloatArray]]:
    """Return the widths from which those between `low` and `high` are mixed, and the transmission blurred to each."""
    nodes = width_nodes(low, high)
    return nodes, blurred_to(fine(column), step, nodes)


def _size(depth: OpticalDepth, fwhm: FloatArray) -> int:
    return max(1, int(float(np.min(fwhm)) / FINENESS / depth.step))


def _binned(values: FloatArray, size: int) -> FloatArray:
    whole = len(values) // size * size
    return np.asarray(values[:whole].reshape(-1, size).mean(axis=1))


class Model:
    """Residuals of all windows, the continua solved for at each call (variable projection, Golub & Pereyra 1973)."""

    def __init__(self, parts: tuple[Window, ...], bands: tuple[Band, ...] = ()) -> None:
        self.parts = parts
        self._bands = bands or tuple(Band(w.depth, w.wave, w.fwhm) for w in parts)

    def transmission(self, air: Air) -> list[FloatArray]:
        """Return the transmission in each window."""
        return [band(air) for band in self._bands]

    def residuals(self, air: Air) -> FloatArray:
        """Return (data - model) / error of all windows, one after the other."""
        return np.concatenate([_left(w, t) for w, t in self._pairs(air)])

    def unsure(self, air: Air, share: float) -> Model:
        """Return the model with errors that hold what the table of lines may be wrong by: `share` of the absorption."""
        absorbed = [np.abs(w.flux / np.maximum(t, 0.05)) * (1.0 - t) for w, t in self._pairs(air)]
        parts = (replace(w, err=np.hypot(w.err, share * a)) for w, a in zip(self.parts, absorbed, strict=True))
        return Model(tuple(parts), self._bands)

    def humble(self, air: Air) -> Model:
        """Return the model with the errors of each window as large as what is left of the continuum beside its band.

        What is left there is nothing of the air's: fringes, or a supernova's own lines, which go on within the band.
        """
        parts = (replace(w, err=w.err * max(1.0, _beside(w, t))) for w, t in self._pairs(air))
        return Model(tuple(parts), self._bands)

    def worst(self, air: Air) -> tuple[float, float]:
        """Return what is left in the band that fits worst, in errors, and its wavelength [Angstrom]; (0, 0): none.

        Half of the band's pixels are off by more than two thirds of it: a cosmic ray is no bad fit.
        """
        found = [(0.0, 0.0)]
        for window, transmission in self._pairs(air):
            inside = transmission < CLEAR
            if inside.sum() >= FEWEST:
                off = np.median(np.abs(_left(window, transmission)[inside]))
                found.append((1.4826 * float(off), float(np.median(window.wave[inside]))))
        return max(found)

    def _pairs(self, air: Air) -> zip[tuple[Window, FloatArray]]:
        return zip(self.parts, self.transmission(air), strict=True)

    def without(self, keep: Bools) -> Model:
        """Return the model of the pixels that are kept, one flag each in the order of the residuals."""
        bounds = np.cumsum([len(w.keep) for w in self.parts])[:-1]
        pieces = np.split(keep, bounds)
        return Model(tuple(_cut(w, piece) for w, piece in zip(self.parts, pieces, strict=True)))


def _left(window: Window, transmission: FloatArray) -> FloatArray:
    design = window.basis * (transmission / window.err)[:, None]
    data = window.flux / window.err
    q, _ = np.linalg.qr(design)
    return np.asarray(data - q @ (q.T @ data))


def _beside(window: Window, transmission: FloatArray) -> float:
    """Return the root mean square of what is left beside a band, in errors: where it is clear, or clearest."""
    clear = transmission >= min(CLEAR, float(np.sort(transmission)[-min(FEWEST, len(transmission))]))
    spent = window.basis.shape[1] * clear.mean()  # of the continuum's terms, by these pixels
    return float(np.sqrt(np.sum(_left(window, transmission)[clear] ** 2) / max(clear.sum() - spent, 1.0)))


def _cut(window: Window, keep: Bools) -> Window:
    names = ("keep", "wave", "fwhm", "flux", "err", "basis")
    changes: dict[str, Any] = {name: getattr(window, name)[keep] for name in names}
    return replace(window, **changes)
