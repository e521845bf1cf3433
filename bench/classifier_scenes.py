"""Spectra of known kind to train on: published ones, degraded; and templates with a continuum, a host, real noise.

Whatever is made here gets its range, noise, sky residuals and telluric bands from a published spectrum, whatever its
kind, and every kind is made here: else a network learns what a simulation looks like instead of what a galaxy does.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.io.banks import SAGE
from nightpipe.io.standards import standards
from nightpipe.maths.air import to_air
from nightpipe.maths.logflux import BINS, STEP, LogSpectrum, flatten, grid_wave, scatter
from nightpipe.model.templates import Bank

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

BROAD = {"Ia", "Ib", "Ic", "Ic-BL", "SLSN-I", "Ia-91T"}
"""Kinds without narrow lines of their own: what is narrow in them is noise, sky or host."""
LINES = {"oii": 3727.3, "hg": 4340.5, "hb": 4861.3, "o4959": 4958.9, "o5007": 5006.8, "n6548": 6548.1}
LINES |= {"ha": 6562.8, "n6583": 6583.6, "s6716": 6716.4, "s6731": 6730.8}
HOT = {"TDE": (12e3, 40e3), "SLSN-I": (7e3, 18e3), "SLSN-II": (6e3, 15e3), "Ibn": (6e3, 15e3), "IIn": (5e3, 13e3)}
HOT |= {"LBV": (5e3, 12e3), "AGN": (9e3, 40e3), "Star": (2600, 5e3), "other": (4e3, 25e3)}
SPANS = {"TDE": (0.01, 0.25), "SLSN-I": (0.05, 0.6), "SLSN-II": (0.03, 0.4), "Galaxy": (0.0, 0.3), "AGN": (0.0, 0.9)}
REST = "2005al 2005ku 2006bd 2006bh 2006dd 2006is 2006lu 2006mr 2007ai 2007as 2008bc 2008bq 2008gl 2008gp 2009aa 2009ab"
REST_FRAME = frozenset((REST + " 2009ag 2009d 2009f 2009y 2004dt 1993w").split())
"""Published in the rest frame, and so in the training set, which gives them redshifts all the same. In those of the
Carnegie Supernova Project (Folatelli et al. 2013, ApJ 773, 53) the red end of WFCCD's range, 9235 Angstrom in all
others, lies at 9235 / (1 + z); in those of SN 2004dt and SN 1993W the telluric bands do."""
POPULATIONS = (2900.0, 9500.0)
"""Range of the hosts made of populations [Angstrom]."""
SPANS |= {"LBV": (0.001, 0.02), "Star": (-0.001, 0.001)}


def plain(name: str) -> str:
    return re.sub(r"^(sn|at)", "", re.sub(r"[^a-z0-9]", "", name.lower()))


def planck(wave: FloatArray, kelvin: float) -> FloatArray:
    with np.errstate(over="ignore"):
        return wave**-5.0 / np.expm1(1.4388e8 / (wave * kelvin))


def smoothed(values: FloatArray, sigma: float) -> FloatArray:
    reach = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, "edge"), kernel / kernel.sum(), "valid")


class Scene:
    """Makes spectra of known kind out of training spectra, templates and standard stars.

    `hosts` (n, 1024) are galaxies at rest without noise, `collected` spectra as `classifier_collections` gives them.
    """

    def __init__(self, folder: Path, bank: Bank, hosts: FloatArray, collected: Sequence[Any] = ()) -> None:
        data = np.load(folder / "spectra.npz")
        flux = data["flux"].astype(np.float32).reshape(-1, BINS, 2)
        self.good = np.isfinite(flux).all(axis=2)
        self.flux = np.where(self.good, np.mean(np.where(np.isfinite(flux), flux, 0.0), axis=2), 0.0)
        with (folder / "meta.csv").open() as stream:
            self.meta: list[dict[str, Any]] = list(csv.DictReader(stream))
        self.bank = bank
        self.kinds = np.array(bank.kinds)
        self.wave = grid_wave()
        self.galaxies = np.flatnonzero((self.kinds == "Galaxy") & (np.array(bank.sources) == SAGE))
        enough = self.good.sum(axis=1) > 350
        self.donors = np.flatnonzero(enough & np.array([row["type"] in BROAD for row in self.meta]))
        self.stars = [star for star in standards() if star.wave[0] < 3800 and star.wave[-1] > 8500]
        self.hosts = hosts
        self.collected = collected
        self.rng = np.random.default_rng(0)

    def measured(self, flux: FloatArray, good: BoolArray) -> LogSpectrum:
        filled = np.interp(np.arange(BINS), np.flatnonzero(good), flux[good])
        return LogSpectrum(filled, np.where(good, scatter(filled, good), 1.0), good, False)

    def noisy(self, flux: FloatArray, good: BoolArray) -> tuple[FloatArray, BoolArray]:
        """Cut the range, lower the resolution at times, add noise that grows to the ends."""
        rng = self.rng
        low, high = rng.uniform(3300, 4300), rng.uniform(7400, 9900)
        kept = good & (self.wave > low) & (self.wave < high)
        if kept.sum() < 250:
            kept = good
        filled = np.interp(np.arange(BINS), np.flatnonzero(good), flux[good])
        if rng.random() < 0.4:
            filled = smoothed(filled, rng.uniform(1.5, 3.5))
        level = np.median(np.abs(filled[kept])) / np.exp(rng.uniform(np.log(4.0), np.log(60.0)))
        index = np.flatnonzero(kept)
        ends = 1.0 + 1.5 * rng.random() * np.abs(np.linspace(-1, 1, len(index))) ** 3
        noise = rng.normal(size=BINS)
        if rng.random() < 0.5:  # pixels wider than the bins: correlated noise
            width = int(rng.integers(2, 5))
            noise = np.repeat(rng.normal(size=BINS // width + 1), width)[:BINS]
        filled[index] += noise[index] * level * ends
        return filled, kept

    def as_if_real(self, flux: FloatArray, good: BoolArray) -> tuple[FloatArray, BoolArray]:
        """Give a made spectrum the range and the narrow residuals of a published one; at times more noise."""
        rng = self.rng
        donor = int(rng.choice(self.donors))
        both = good & self.good[donor]
        if both.sum() < 250:
            return self.noisy(flux, good)
        own = np.interp(np.arange(BINS), np.flatnonzero(self.good[donor]), self.flux[donor][self.good[donor]])
        smooth = smoothed(own, 6.0)
        floor = 0.15 * np.median(np.abs(own[self.good[donor]]))
        narrow = np.clip((own - smooth) / np.maximum(np.abs(smooth), floor), -3.0, 3.0)
        filled = np.interp(np.arange(BINS), np.flatnonzero(good), flux[good])
        if rng.random() < 0.3:
            filled = smoothed(filled, rng.uniform(1.0, 3.0))
        size = np.maximum(np.abs(filled), 0.15 * np.median(np.abs(filled[both])))
        made = filled + narrow * size * rng.uniform(0.5, 1.3)
        return self.noisy(made, both) if rng.random() < 0.35 else (made, both)

    def tilt(self, flux: FloatArray) -> FloatArray:
        """Redden or brighten the blue end: flux calibration and dust differ."""
        x = np.log(self.wave / 6000.0)
        return flux * np.exp(self.rng.normal(0, 0.35) * x + self.rng.normal(0, 0.25) * x**2)

    def lines(self) -> FloatArray:
        """Return emission lines over the continuum, of ratios as star-forming and active galaxies have them."""
        rng = self.rng
        ha = 10.0 ** rng.uniform(0.3, 2.2)
        dust = rng.uniform(0, 0.6)
        hb = ha / 2.86 * np.exp(-dust)
        o3, n2, s2 = (
            hb * 10.0 ** rng.uniform(-0.8, 0.8),
            ha * 10.0 ** rng.uniform(-1.3, 0.1),
            ha * rng.uniform(0.1, 0.3),
        )
        widths = {"ha": ha, "hb": hb, "hg": 0.47 * hb * np.exp(-0.3 * dust), "o5007": o3, "o4959": o3 / 3.0}
        widths |= {"n6583": n2, "n6548": n2 / 3.0, "s6716": s2, "s6731": 0.8 * s2}
        widths["oii"] = ha * rng.uniform(0.2, 1.5) * np.exp(-1.5 * dust)
        sigma = rng.uniform(0.7, 3.0)
        index = np.arange(BINS)
        total = np.zeros(BINS)
        for name, width in widths.items():
            place = np.log(LINES[name] / 2500.0) / STEP - 0.5
            bin_width = LINES[name] * STEP
            total += width / bin_width / sigma / 2.5066 * np.exp(-0.5 * ((index - place) / sigma) ** 2)
        return total

    def host(self) -> tuple[FloatArray, BoolArray, tuple[str, ...]]:
        """Return a galaxy in its rest frame, one template or two, at times with lines added; and their names."""
        rng = self.rng
        chosen = rng.choice(self.galaxies, size=int(rng.integers(1, 3)), replace=False)
        total, good = np.zeros(BINS), np.ones(BINS, dtype=bool)
        for row in chosen:
            early = self.bank.subtypes[row] in ("Gal-E", "Gal-S0", "Gal-Sa", "Gal-Sb")
            kelvin = rng.uniform(4000, 5500) if early else rng.uniform(5500, 14000)
            flux = (1.0 + self.bank.flat[row].astype(float)) * planck(self.wave, kelvin)
            first, last = self.bank.spans[row]
            good &= (np.arange(BINS) >= first + 5) & (np.arange(BINS) < last - 5)
            total += rng.uniform(0.2, 1.0) * flux / np.median(flux[first:last])
        if rng.random() < 0.6:
            total = total * (1.0 + self.lines())
        return total, good, tuple(plain(self.bank.objects[row]) for row in chosen)

    def population(self) -> tuple[FloatArray, BoolArray]:
        """Return one of the `hosts`, of smoothed lines, at times with more dust or more emission."""
        rng = self.rng
        total = smoothed(self.hosts[int(rng.integers(len(self.hosts)))], rng.uniform(0.3, 1.3))
        if rng.random() < 0.3:
            total = total * 10.0 ** (-0.4 * rng.exponential(0.3) * (self.wave / 5500.0) ** -1.3)
        if rng.random() < 0.3:
            total = total * (1.0 + self.lines())
        return total, (self.wave > POPULATIONS[0]) & (self.wave < POPULATIONS[1])

    def shifted(self, flux: FloatArray, good: BoolArray, z: float) -> FloatArray:
        index = np.arange(BINS) - np.log1p(z) / STEP
        return np.interp(index, np.flatnonzero(good), flux[good], left=np.nan, right=np.nan)

    def continuum(self, kind: str) -> FloatArray:
        """Return a continuum in the rest frame: a black body, or that of a published supernova."""
        rng = self.rng
        if kind in HOT or rng.random() < 0.4:
            return planck(self.wave, rng.uniform(*HOT.get(kind, (4e3, 11e3))))
        donor = int(rng.choice(self.donors))
        flat = flatten(self.measured(self.flux[donor].astype(float), self.good[donor]))
        level = self.shifted(flat.level, self.good[donor], 1.0 / (1.0 + float(self.meta[donor]["z"])) - 1.0)
        known = np.flatnonzero(np.isfinite(level))
        return 10.0 ** np.interp(np.arange(BINS), known, level[known])

    def template(self, row: int, more: bool = False) -> tuple[FloatArray, BoolArray, float, tuple[str, ...]]:
        """Return a template with a plausible continuum, host, dust and redshift; `more`: of greater redshift."""
        rng, kind = self.rng, str(self.kinds[row])
        if kind == "Galaxy":
            return self.galaxy()
        first, last = self.bank.spans[row]
        trim = (last - first) // 25
        good = (np.arange(BINS) >= first + trim) & (np.arange(BINS) < last - trim)
        z = rng.uniform(*SPANS.get(kind, (0.003, 0.2 if more else 0.12)))
        flux = (1.0 + self.bank.flat[row].astype(float)) * self.continuum(kind)
        if rng.random() < 0.4:
            flux = flux * 10.0 ** (-0.4 * rng.exponential(0.4) * (self.wave / 5500.0) ** -1.3)
        flux = flux / np.median(flux[good])
        if kind not in ("Star", "AGN") and rng.random() < 0.5:
            host, there = self.population() if rng.random() < 0.5 else self.host()[:2]
            share = rng.uniform(0, 0.7)
            if (good & there).sum() > 250:
                good = good & there
                flux = (1 - share) * flux + share * host / np.median(host[good])
        flux = self.tilt(self.shifted(flux, good, z))
        return (*self.as_if_real(np.nan_to_num(flux), np.isfinite(flux)), z, (plain(self.bank.objects[row]),))

    def galaxy(self) -> tuple[FloatArray, BoolArray, float, tuple[str, ...]]:
        flux, good, names = self.host()
        z = self.rng.uniform(*SPANS["Galaxy"])
        seen = self.tilt(self.shifted(flux, good, z))
        return (*self.as_if_real(np.nan_to_num(seen), np.isfinite(seen)), z, names)

    def elsewhere(self, flux: FloatArray, good: BoolArray, z: float) -> tuple[FloatArray, BoolArray, float]:
        """Return a published galaxy at another redshift, noisier, shorter, tilted."""
        new = self.rng.uniform(0.0, 0.35)
        moved = self.shifted(flux, good, (1.0 + new) / (1.0 + z) - 1.0)
        there = np.isfinite(moved)
        if there.sum() < 250:
            return (*self.noisy(self.tilt(flux), good), z)
        return (*self.noisy(self.tilt(np.nan_to_num(moved)), there), new)

    def star(self, number: int) -> tuple[FloatArray, BoolArray, float, tuple[str, ...]]:
        """Return a standard star, its flux as it is tabulated."""
        star = self.stars[number % len(self.stars)]
        wave = to_air(star.wave)
        flux = np.interp(self.wave, wave, star.flux, left=np.nan, right=np.nan)
        seen = self.tilt(flux / np.nanmedian(flux))
        return (*self.as_if_real(np.nan_to_num(seen), np.isfinite(seen)), 0.0, ("star" + plain(star.name),))

    def degraded(self, flux: FloatArray, good: BoolArray, z: float) -> tuple[FloatArray, BoolArray]:
        """Return a published spectrum, noisier, shorter, tilted, at times with more of its host."""
        if self.rng.random() < 0.3 and good.sum() > 100:
            galaxy, whole = self.population() if self.rng.random() < 0.5 else self.host()[:2]
            host = self.shifted(galaxy, whole, z)
            both = good & np.isfinite(host)
            if both.sum() > 250:
                share = self.rng.uniform(0, 0.5)
                level = np.nanmedian(host[both])
                flux = np.where(both, (1 - share) * flux / np.median(flux[both]) + share * host / level, 0.0)
                good = both
        return self.noisy(self.tilt(flux), good)
