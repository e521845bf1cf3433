"""Correlate the training spectra, degraded copies of them, and redshifted templates with the bank; keep what was found.

usage: python bench/classifier_features.py TRAINING_FOLDER BANK OUT [part/parts]

TRAINING_FOLDER holds spectra.npz (flux on 2,048 bins, edges) and meta.csv. A template never meets its own object.
"""

from __future__ import annotations

import csv
import re
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from nightpipe.base.errors import NightpipeError
from nightpipe.io.banks import read_bank
from nightpipe.maths.logflux import BINS, STEP, LogSpectrum, flatten, grid_wave, scatter
from nightpipe.maths.matching import by_group, correlate_all, prepare
from nightpipe.maths.profiles import profiles
from nightpipe.model.templates import KINDS, kind_of

HIGHEST = 512
RAW = {"Ia": "Ia", "Ib/c": "Ib/c", "Ib-Ca-rich": "Ca-rich", "Ia-pec": "Ia-pec"}
PLENTY = {"Ia", "II", "Ib", "Ic", "IIb"}


def plain(name):
    return re.sub(r"^(sn|at)", "", re.sub(r"[^a-z0-9]", "", name.lower()))


def planck(wave, kelvin):
    with np.errstate(over="ignore"):
        return wave**-5.0 / np.expm1(1.4388e8 / (wave * kelvin))


class Scene:
    """Makes spectra of known kind out of training spectra and templates."""

    def __init__(self, folder, bank, rng):
        data = np.load(folder / "spectra.npz")
        flux = data["flux"].astype(np.float32).reshape(-1, BINS, 2)
        self.good = np.isfinite(flux).all(axis=2)
        self.flux = np.where(self.good, np.nanmean(np.where(np.isfinite(flux), flux, 0.0), axis=2), 0.0)
        with (folder / "meta.csv").open() as stream:
            self.meta = list(csv.DictReader(stream))
        self.bank, self.rng = bank, rng
        self.kinds = np.array(bank.kinds)
        self.wave = grid_wave()
        self.galaxies = np.flatnonzero(self.kinds == "Galaxy")

    def measured(self, flux, good):
        filled = np.interp(np.arange(BINS), np.flatnonzero(good), flux[good])
        return LogSpectrum(filled, np.where(good, scatter(filled, good), 1.0), good, False)

    def noisy(self, flux, good):
        """Cut the range, lower the resolution at times, add noise that grows to the ends."""
        rng = self.rng
        low, high = rng.uniform(3300, 4300), rng.uniform(7400, 9900)
        kept = good & (self.wave > low) & (self.wave < high)
        if kept.sum() < 250:
            kept = good
        filled = np.interp(np.arange(BINS), np.flatnonzero(good), flux[good])
        if rng.random() < 0.6:
            x = np.arange(-15, 16)
            kernel = np.exp(-0.5 * (x / rng.uniform(2.0, 3.5)) ** 2)
            filled = np.convolve(np.pad(filled, 15, "edge"), kernel / kernel.sum(), "valid")
        level = np.median(np.abs(filled[kept])) / np.exp(rng.uniform(np.log(3.0), np.log(40.0)))
        index = np.flatnonzero(kept)
        ends = 1.0 + 1.5 * rng.random() * np.abs(np.linspace(-1, 1, len(index))) ** 3
        noise = rng.normal(size=BINS)
        if rng.random() < 0.5:  # pixels wider than the bins: correlated noise
            width = rng.integers(2, 5)
            noise = np.repeat(rng.normal(size=BINS // width + 1), width)[:BINS]
        filled[index] += noise[index] * level * ends
        return filled, kept

    def tilt(self, flux):
        """Redden or brighten the blue end: flux calibration and dust differ."""
        x = np.log(self.wave / 6000.0)
        return flux * np.exp(self.rng.normal(0, 0.35) * x + self.rng.normal(0, 0.25) * x**2)

    def host(self):
        row = self.rng.choice(self.galaxies)
        return (1.0 + self.bank.flat[row].astype(float)) * planck(self.wave, self.rng.uniform(4200, 7500))

    def shifted(self, flux, good, z):
        shift = np.log1p(z) / STEP
        index = np.arange(BINS) - shift
        return np.interp(index, np.flatnonzero(good), flux[good], left=np.nan, right=np.nan)

    def template(self, row):
        """Return a template with a plausible continuum, host and redshift."""
        rng, kind = self.rng, self.kinds[row]
        first, last = self.bank.spans[row]
        trim = (last - first) // 25
        good = (np.arange(BINS) >= first + trim) & (np.arange(BINS) < last - trim)
        hot = {"TDE": (13e3, 35e3), "SLSN-I": (7e3, 18e3), "SLSN-II": (6e3, 15e3), "Ibn": (6e3, 15e3)}
        hot |= {"IIn": (5e3, 13e3), "LBV": (5e3, 12e3), "AGN": (9e3, 40e3), "Galaxy": (4e3, 8e3), "Star": (2800, 6e3)}
        hot |= {"other": (4e3, 25e3)}
        spans = {"TDE": (0.01, 0.25), "SLSN-I": (0.05, 0.6), "SLSN-II": (0.03, 0.4), "Galaxy": (0.0, 0.3)}
        spans |= {"AGN": (0.0, 0.8), "LBV": (0.001, 0.02), "Star": (0.0, 0.001)}
        z = rng.uniform(*spans.get(kind, (0.003, 0.12)))
        continuum = planck(self.wave, rng.uniform(*hot.get(kind, (4e3, 11e3))))
        flux = (1.0 + self.bank.flat[row].astype(float)) * continuum
        flux /= np.median(flux[good])
        if kind not in ("Galaxy", "Star", "AGN") and rng.random() < 0.5:
            host = self.host()
            share = rng.uniform(0, 0.6)
            flux = (1 - share) * flux + share * host / np.median(host[good])
        flux = self.tilt(self.shifted(flux, good, z))
        return (*self.noisy(np.nan_to_num(flux), np.isfinite(flux)), z)

    def degraded(self, number):
        """Return a training spectrum, noisier, shorter, tilted, at times with more of its host."""
        flux, good = self.flux[number].astype(float), self.good[number]
        z = float(self.meta[number]["z"])
        if self.rng.random() < 0.25 and good.sum() > 100:
            row = self.rng.choice(self.galaxies)
            host = self.shifted(
                (1.0 + self.bank.flat[row].astype(float)) * planck(self.wave, 5200.0), self.bank.flat[row] != 0, z
            )
            both = good & np.isfinite(host)
            if both.sum() > 250:
                share = self.rng.uniform(0, 0.5)
                level = np.nanmedian(host[both])
                flux = np.where(both, (1 - share) * flux / np.median(flux[both]) + share * host / level, 0.0)
                good = both
        return self.noisy(self.tilt(flux), good)


def main():
    folder, bank_file, out = (Path(word) for word in sys.argv[1:4])
    part, parts = (int(word) for word in (sys.argv[4] if len(sys.argv) > 4 else "0/1").split("/"))
    out.mkdir(parents=True, exist_ok=True)
    bank = read_bank(bank_file)
    rng = np.random.default_rng(20261126)
    scene = Scene(folder, bank, rng)
    transforms = prepare(np.asarray(bank.flat, np.float32), bank.spans)
    starts = bank.starts
    kinds = np.array([KINDS.index(scene.kinds[row]) for row in starts])
    names = np.array([plain(bank.objects[row]) for row in starts])
    jobs = [("train", number, 0) for number in range(len(scene.meta))]
    jobs += [("degraded", number, 0) for number in range(len(scene.meta))]
    bounds = [*starts, len(bank)]
    for first, last in pairwise(bounds):
        kind = scene.kinds[first]
        if kind in PLENTY:
            continue
        rows = rng.permutation(np.arange(first, last))
        most, copies = (4, 1) if kind.startswith(("Ia", "Ic")) else (12, 2)
        if kind in ("Galaxy", "AGN", "LBV", "Star", "other", "SLSN-II", "Ca-rich"):
            most, copies = 12, 8
        jobs += [("bank", int(row), copy) for row in rows[:most] for copy in range(copies)]
    jobs = [jobs[k] for k in rng.permutation(len(jobs))][part::parts]
    print(len(jobs), "spectra", flush=True)
    start, kept = time.process_time(), []
    for count, (what, number, copy) in enumerate(jobs):
        scene.rng = np.random.default_rng([number, copy, len(what)])
        if what == "bank":
            flux, good, z = scene.template(number)
            name, kind = bank.objects[number], scene.kinds[number]
        else:
            about = scene.meta[number]
            flux, good = (
                (scene.flux[number].astype(float), scene.good[number]) if what == "train" else scene.degraded(number)
            )
            z, name = float(about["z"]), about["obj"]
            kind = about["type"] if about["type"] == "Ib/c" else kind_of(RAW.get(about["type"], about["type"]))
        if good.sum() < 150:
            continue
        try:
            flat = flatten(scene.measured(flux, good))
        except NightpipeError:
            continue
        found = by_group(correlate_all(flat, transforms, HIGHEST), starts)
        found[names == plain(name)] = 0.0
        kept.append(
            (
                what,
                number,
                plain(name),
                kind,
                z,
                profiles(found, kinds, len(KINDS)).astype(np.float16),
                np.array([flat.value, flat.error, flat.good, flat.level]).astype(np.float16),
            )
        )
        if (count + 1) % 500 == 0 or count + 1 == len(jobs):
            print(count + 1, time.process_time() - start, flush=True)
            columns = list(zip(*kept, strict=True))
            path = out / f"features_{part}_{count // 500:03d}.npz"
            np.savez(
                path,
                what=columns[0],
                number=columns[1],
                name=columns[2],
                kind=columns[3],
                z=columns[4],
                profile=np.array(columns[5]),
                flat=np.array(columns[6]),
            )
            kept = []


if __name__ == "__main__":
    main()
