"""How far the sky's lines lie off their columns in all lenslets' spectra: feature by feature."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.blends import grouped
from nightpipe.maths.lines import FWHM_PER_SIGMA, gaussian_shape
from nightpipe.maths.manylines import CommonShift, Feature, common_shift, explained
from nightpipe.maths.skyfield import Points
from nightpipe.maths.skyshift import Template, Window, windows
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.references import LineList
from nightpipe.model.spaxels import Spaxel, SpaxelSet, SpaxelWaves

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]
THIN = 4
"""The first look takes one lenslet of so many."""
LEAST = 10
"""Lenslets without which a feature tells nothing."""
REACH = 1.15
"""Half width of a window in line widths: more lets in lines that no list has, less leaves no floor."""
WIDER = (0, 1, 3)
"""By so many pixels on either side a window may grow. Faint lines need it: where floor, line and what may stand just
outside share seven pixels, a shift is known three to five times worse than photons allow."""
USED = (3900.0, 9400.0)
BRIGHTEST = 5578.9
"""Vacuum wavelength [Angstrom] of [O I], which every sky shows, moonlit or not."""
MERGE = 4.0
"""Lines nearer than this [Angstrom], a fifth of a pixel, are one."""


@dataclass(frozen=True)
class Sky:
    """The spectra of lenslets that see hardly more than sky, and where lines should be in them."""

    spectra: SpaxelSpectra
    waves: SpaxelWaves
    lines: LineList
    use: Index
    row: FloatArray
    scale: FloatArray
    good: NDArray[np.bool_]

    def windows(self) -> list[Window]:
        """Return the features of the sky, as the lenslet in the middle of the detector should show them."""
        k = int(self.use[np.argmin(np.abs(self.row[self.use] - np.median(self.row[self.use])))])
        inside = (self.lines.wave > USED[0] - 200) & (self.lines.wave < USED[1] + 200)
        wave, strength = self.lines.wave[inside], self.lines.intensity[inside]
        place = self.waves.column(k, wave) - self.spectra.first[k]
        n = self.spectra.flux.shape[1]
        fwhm = float(np.polynomial.polynomial.polyval(0.0, self.waves.fwhm_px[k]))
        template = Template(wave, strength, place, gaussian_shape(fwhm, (0.0, n - 1.0)))
        return [w for w in windows(template, n, most=40, reach=REACH) if USED[0] < w.wave < USED[1]]

    def feature(self, window: Window, k: Index, start: float = 0.0) -> Feature:
        """Return one feature in the spectra of lenslets `k`, the window about its strongest line moved by `start`."""
        half = (window.high - window.low) // 2
        middle = self.waves.column(k, np.full(k.size, window.wave), self.row[k])
        at = np.rint(middle + start).astype(int)[:, None] + np.arange(-half, half + 1)
        element = at - self.spectra.first[k][:, None]
        held = (element >= 0) & (element < self.spectra.flux.shape[1])
        place = k[:, None], np.clip(element, 0, self.spectra.flux.shape[1] - 1)
        good = held & self.good[place]
        weight = np.where(good, 1.0 / np.where(good, self.spectra.var[place], 1.0), 0.0)
        complete = (good.sum(axis=1) >= 0.8 * at.shape[1])[:, None]
        wave, strength, kind = self._lines(window.wave, (half + 4.0) * self.step(window.wave))
        laws = self.waves.law(wave) / self.waves.scale
        columns = np.stack([self.waves.place(k, np.full(k.size, law), self.row[k]) for law in laws], axis=1)
        law = float(self.waves.law(window.wave)) / self.waves.scale
        fwhm = np.polynomial.polynomial.polyval(law, self.waves.fwhm_px[k].T)
        sigma = np.sqrt(np.maximum((fwhm / FWHM_PER_SIGMA) ** 2 - 1.0 / 12.0, 0.1))
        return Feature(
            self.spectra.flux[place].astype(np.float64), weight * complete, at.astype(np.float64), columns, strength,
            kind, sigma, self.scale[k],
        )  # fmt: skip

    def step(self, wave: float) -> float:
        """Return how many Angstrom a pixel covers about a wavelength."""
        low, high = self.waves.law(np.array([wave - 20.0, wave + 20.0]))
        return 40.0 / float(high - low)

    def _lines(self, wave: float, reach: float) -> tuple[FloatArray, FloatArray, Index]:
        """Return wavelengths, strengths and kinds of the lines about a feature, those of one kind merged."""
        near = np.abs(self.lines.wave - wave) < reach
        species = np.array(self.lines.species)[near]
        rows = []
        for number, name in enumerate(dict.fromkeys(species.tolist())):
            own = species == name
            groups = grouped(self.lines.wave[near][own], self.lines.intensity[near][own], MERGE)
            rows += [(group.wave, group.strength, number) for group in groups]
        total = sum(strength for _, strength, _ in rows)
        kept = [row for row in rows if row[1] > 1e-3 * total]
        return (
            np.array([row[0] for row in kept]),
            np.array([row[1] for row in kept]) / total,
            np.array([row[2] for row in kept], dtype=np.intp),
        )


def sky_of(spectra: SpaxelSpectra, spaxels: SpaxelSet, waves: SpaxelWaves, lines: LineList) -> Sky:
    """Choose the lenslets: those no brighter than the field's middle by more than its scatter, if a third is left."""
    n = len(spectra)
    good = spectra.good
    inside = good & (spectra.wave > 5000) & (spectra.wave < 9000)
    count = inside.sum(axis=1)
    scale = np.where(spaxels.brightness > 0.1, spaxels.brightness, 0.0)
    level = np.sum(np.where(inside, spectra.flux, 0.0), axis=1) / np.maximum(count, 1) / np.maximum(scale, 0.1)
    live = (spaxels.state != Spaxel.DEAD) & (scale > 0) & (count > 40)
    middle = float(np.median(level[live])) if live.any() else 0.0
    below = middle - float(np.percentile(level[live], 16)) if live.any() else 0.0
    dark = live & (level < middle + 3.0 * below)
    use = np.flatnonzero(dark if dark.sum() > live.sum() / 3 else live)
    return Sky(spectra, waves, lines, use, spaxels.row(np.arange(n), spaxels.x), scale, good)


def coarse_columns(sky: Sky, most: float) -> float:
    """Return the shift along x [pixel], within `most`, that explains most of the brightest features.

    One lenslet of eight will do.
    """
    thin = sky.use[::8]
    bright = sorted(sky.windows(), key=lambda window: abs(window.wave - BRIGHTEST))[:3]
    trial = np.arange(-most, most + 0.25, 0.5)
    score = [sum(explained(sky.feature(window, thin, float(t)), float(t)) for window in bright) for t in trial]
    return float(trial[int(np.argmax(score))])


def column_shifts(sky: Sky, start: float, least: float, floor: float) -> tuple[Points, list[float]]:
    """Return the shifts along x of the features that stand out by `least` sigma, and the features' wavelengths.

    A first look, at one lenslet of `THIN`, tells where the windows are to be laid, and how wide. `floor`
    [pixel] joins each feature's doubt.
    """
    looks = _first_look(sky, start, least / np.sqrt(THIN))
    if looks:
        shift, error, doubt = np.array([(one.shift, one.error, one.doubt) for _, one in looks]).T
        start = _weighted_median(shift, 1.0 / (error**2 + doubt**2 + floor**2))
    again = [(window, _measured(sky, window, sky.use, start, least)) for window, _ in looks]
    found = [(window.wave, one) for window, one in again if one is not None]
    middle = [float(np.median(sky.waves.column(sky.use, wave, sky.row[sky.use]))) for wave, _ in found]
    return Points(
        x=np.array(middle),
        y=np.full(len(found), np.mean(sky.row[sky.use]) if found else 0.0),
        shift=np.array([one.shift for _, one in found]),
        error=np.array([one.error for _, one in found]),
        line=np.arange(len(found)),
        doubt=np.array([np.hypot(one.doubt, floor) for _, one in found]),
    ), [wave for wave, _ in found]


def _first_look(sky: Sky, start: float, least: float) -> list[tuple[Window, CommonShift]]:
    """Return the features that one lenslet of `THIN` shows, the window of each as wide as tells its shift best."""
    looks = []
    for window in sky.windows():
        grown = [replace(window, low=window.low - wider, high=window.high + wider) for wider in WIDER]
        shifts = [(each, _measured(sky, each, sky.use[::THIN], start, least)) for each in grown]
        seen = [(each, one) for each, one in shifts if one is not None]
        looks += [min(seen, key=lambda look: look[1].error ** 2 / THIN + look[1].doubt ** 2)] if seen else []
    return looks


def _measured(sky: Sky, window: Window, k: Index, start: float, least: float) -> CommonShift | None:
    """Return the shift that lenslets `k` have of one feature, None where it does not stand out by `least` sigma."""
    feature = sky.feature(window, k, start)
    enough = np.count_nonzero(feature.weight.any(axis=1)) >= LEAST
    one = common_shift(feature, start) if enough else None
    return one if one is not None and one.snr > least else None


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, 0.5 * share[-1])])
