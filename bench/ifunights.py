"""Whole simulated nights of SEDM, raw frames to flux, against their truth: what the tables of docs/ifu.md are made by.

    python bench/ifunights.py [EPOCH:SEED ...]

Each night (90 s on two cores) is one column: flux of the standard by bins, the target's colour and level,
wavelengths of all lenslets in the target's exposure, flexure with its errors, the place of the target, the grades.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

NIGHTS = ("pixis:1", "andor:2", "pixis:3", "andor:4", "pixis:5", "andor:6")
WAVES = (4048, 4500, 5000, 5579, 6500, 7600, 8500, 9165)
STANDARD, TARGET = (3740.0, 9200.0, 30), (4000.0, 9000.0, 12)


class Night:
    """A night made, reduced and at hand beside its truth."""

    def __init__(self, folder: Path, epoch: str, seed: int) -> None:
        import nightpipe
        from nightpipe.io.catalogues.store import import_tables
        from nightpipe.io.download import local, present
        from nightpipe.simulate.ifu.night import write_ifu_night

        self.truth = write_ifu_night(folder / "raw", seed=seed, epoch=epoch, magnitude=16.5)
        data, kept = folder / "data", local("templates") if present("templates") else None
        data.mkdir()
        if kept is not None:
            (data / "templates").symlink_to(kept)
        os.environ["NIGHTPIPE_DATA"] = str(data)  # the guider's stars are this night's alone
        for table in sorted(self.truth.glob("rc-*/refcat.fits")):
            import_tables([table], "refcat2")
        self.out = folder / "out"
        self.made = nightpipe.reduce(folder / "raw", out=self.out, figures=False)
        rows = json.loads((self.truth / "sedm.json").read_text())["exposures"]
        self.facts = {one["type"]: one for one in rows if one["type"] in ("standard", "science")}
        lamps, dome = ([one["flexure"] for one in rows if one["type"] == kind] for kind in ("lamp", "dome"))
        self.start = np.array([np.mean(lamps, axis=0)[0], np.mean(dome, axis=0)[1]])

    def output(self, recipe: str, kind: str, name: str) -> Any:
        """Return an output of the run on the exposure of a kind, or of the night's."""
        from nightpipe.api.outputs import Outputs
        from nightpipe.engine.store import Store

        exposure = self.facts[kind]["file"].removesuffix(".fits") if kind else None
        found = (one for one in self.made.outcomes.values() if exposure in (None, one.node.exposure))
        return Outputs(Store(self.out), next(one for one in found if one.node.recipe == recipe)).all(name)[0]

    def rows(self) -> dict[str, str]:
        """Return what the night shows, line by line."""
        out = {}
        values, _ = self.ratios("standard", *STANDARD)
        out["standard, rms and worst of 30 bins"] = f"{100 * np.std(values):.2f}, {100 * np.ptp(values) / 2:.1f}%"
        values, level = self.ratios("science", *TARGET)
        out["target, rms of 12 bins; level"] = f"{100 * np.std(values):.2f}%; {100 * (level - 1):+.1f}%"
        own, common = self.wavelengths()
        out["wavelength rms, median and 95%"] = f"{np.median(own):.2f}, {np.percentile(own, 95):.2f} A"
        out["common offset at " + " ".join(map(str, WAVES))] = " ".join(f"{one:+.2f}" for one in common)
        for kind in ("standard", "science"):
            told, true = np.array(self.output("cube", kind, "warp").told())[:2], np.array(self.facts[kind]["flexure"])
            off = told[:, 0] - (true[:2] - self.start) * (-1, 1)
            out[f"flexure off, {kind}"] = ", ".join(
                f"{a:+.3f} ({a / b:+.1f} sigma)" for a, b in zip(off, told[:, 1], strict=True)
            )
        scene, place = self.output("spectrophotometry", "science", "scene"), self.output("guide", "science", "place")
        true = self.facts["science"]["sources"][0]
        away = [np.hypot(one.east - true["east"], one.north - true["north"]) for one in (place, scene.target)]
        out["place by the guider, by the fit"] = f"{away[0]:.2f}, {away[1]:.3f} arcsec ({place.how})"
        out["quality, standard and target"] = ", ".join(
            f"{grade.quality} {' '.join(grade.why)}".strip()
            for grade in (self.output("spectrophotometry", kind, "grade") for kind in ("standard", "science"))
        )
        return out

    def ratios(self, kind: str, low: float, high: float, bins: int) -> tuple[np.ndarray, float]:
        """Return flux over truth in bins, relative to their median, and that."""
        from nightpipe.maths.rebin import smoothed_to

        spectrum = self.output("ifucalibrate", kind, "spectra")
        source = fits.getdata(self.truth / self.facts[kind]["file"], "SOURCE1")
        true = np.interp(spectrum.wave, source["WAVE"].astype(float), source["FLUX"].astype(float))
        ratio = spectrum.flux / smoothed_to(spectrum.wave, true, spectrum.fwhm)
        inner = np.flatnonzero(spectrum.good & (spectrum.wave > low) & (spectrum.wave < high))
        level = float(np.median(ratio[inner]))
        return np.array([np.mean(ratio[part]) for part in np.array_split(inner, bins)]) / level, level

    def wavelengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Return lenslets' rms errors of wavelength [Angstrom] in the target's exposure, and the medians by line."""
        spectra = self.output("cube", "science", "spectra")
        true = fits.getdata(self.truth / self.facts["science"]["file"], "LENSLETS")
        nx = self.output("spaxels", "", "spaxels").shape[1]  # oriented, columns without light cut off
        row = {(q, r): k for k, (q, r) in enumerate(zip(true["Q"], true["R"], strict=True))}
        off = np.full((len(spectra.q), len(WAVES)), np.nan)
        for k, place in enumerate(zip(spectra.q.tolist(), spectra.r.tolist(), strict=True)):
            seen = spectra.step[k] > 0
            if place not in row or not seen.any() or true["DEAD"][row[place]]:
                continue
            column = spectra.first[k] + np.flatnonzero(seen)
            at = nx - 1.0 - np.array([true[f"X{wave}"][row[place]] for wave in WAVES])
            inside = (at > column[0]) & (at < column[-1])
            off[k, inside] = (np.interp(at, column, spectra.wave[k][seen]) - WAVES)[inside]
        own = np.sqrt(np.nanmean(np.square(off[np.isfinite(off).sum(axis=1) >= 4]), axis=1))
        return own, np.nanmedian(off, axis=0)


def main() -> None:
    """Print a column a night."""
    for name in sys.argv[1:] or NIGHTS:
        epoch, seed = name.split(":")
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n{name}", flush=True)
            for what, value in Night(Path(folder), epoch, int(seed)).rows().items():
                print(f"  {what:55s} {value}", flush=True)


if __name__ == "__main__":
    main()
