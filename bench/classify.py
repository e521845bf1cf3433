"""Classification against the truth: types, redshifts, calibration, time.

usage: python bench/classify.py TRUTH_FOLDER [ranker.npz [COLLECTIONS]]

TRUTH_FOLDER holds truth.csv (file, obj, type, z, phase, independent) and the spectra; the installed banks are used.
Groups: Ia | Ibc (Ib, Ic, Ic-BL, IIb, Ca-rich) | II (II, P, L, n, SLSN-II) | Ibn | SLSN-I | TDE | notSN; a redshift is
right within 0.012 (1 + z). COLLECTIONS holds the wheels of classifier_collections.py: of their galaxies those are judged that
no network saw.
"""

# ruff: noqa: E501, ARG005
from __future__ import annotations

import csv
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from nightpipe.api.classify import ready_bank
from nightpipe.base.errors import NightpipeError
from nightpipe.io.anyspectrum import read_any
from nightpipe.io.classifier import ranker
from nightpipe.model.templates import GROUPS, TYPES, kind_of
from nightpipe.steps.post.classify import Classify

PURE = 1.6
"""Nothing but a galaxy is seen where its fit has less chi-squared a bin."""


def wilson(right, total):
    if not total:
        return "-"
    p, z = right / total, 1.96
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(p * (1 - p) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return f"{right}/{total} = {100 * p:.1f}% ({100 * (middle - half):.0f} to {100 * (middle + half):.0f})"


def group(type_):
    return GROUPS[kind_of(type_)]


def evaluate(folder, model, known=False, change=lambda one, rng: one, seed=1):
    bank = ready_bank()
    rng = np.random.default_rng(seed)
    rows = []
    with (folder / "truth.csv").open() as stream:
        truths = [row for row in csv.DictReader(stream) if row["type"]]
    for row in truths:
        z = float(row["z"]) if row["z"] else np.nan
        if known and not np.isfinite(z):
            continue
        step = Classify(redshift=z if known and z <= 1.0 else None)
        start = time.process_time()
        try:
            found = step.run(change(read_any(folder / row["file"]), rng), bank, model)
        except NightpipeError as error:
            print("  refused", row["file"], error)
            rows.append((row, None, z, 0.0))
            continue
        rows.append((row, found, z, time.process_time() - start))
    return rows


def tell(rows, title):
    print(f"\n## {title}")
    confusion = defaultdict(lambda: dict.fromkeys(TYPES, 0))
    hits, chances, template = [], [], []
    for row, found, _, _ in rows:
        true = group(row["type"])
        hits.append(found is not None and found.type == true)
        chances.append(0.0 if found is None else found.probability)
        template.append(found is not None and bool(found.matches) and GROUPS[found.matches[0].kind] == true)
        if found is not None:
            confusion[true][found.type] += 1
    hits, chances = np.array(hits), np.array(chances)
    by_object = defaultdict(list)
    for (row, *_), hit in zip(rows, hits, strict=True):
        by_object[row["obj"]].append(hit)
    print("type right:", wilson(hits.sum(), len(hits)), " best template:", wilson(sum(template), len(template)))
    print("by object:", f"{100 * np.mean([np.mean(v) for v in by_object.values()]):.1f}% of {len(by_object)}")
    rare = [hit for (row, *_), hit in zip(rows, hits, strict=True) if group(row["type"]) in ("Ibn", "SLSN-I", "TDE")]
    print("Ibn, SLSN-I, TDE:", wilson(sum(rare), len(rare)))
    passing = chances >= 0.95
    print(
        "P >= 0.95: passing",
        wilson(passing.sum(), len(passing)),
        "precision",
        wilson(hits[passing].sum(), passing.sum()),
    )
    print("| true \\ found | " + " | ".join(TYPES) + " |\n|---|" + "---|" * len(TYPES))
    for true in TYPES:
        print(f"| {true} | " + " | ".join(str(confusion[true][name]) for name in TYPES) + " |")
    seconds = [s for *_, s in rows if s > 0]
    print(f"CPU seconds a spectrum: median {np.median(seconds):.2f}, largest {max(seconds):.2f}")
    right = [(f.redshift - z) / (1 + z) for _, f, z, _ in rows if f is not None and np.isfinite(z)]
    if not rows[0][1].redshift_given:
        ok = np.abs(right) < 0.012
        print("redshift right:", wilson(int(ok.sum()), len(ok)))
        pulls = [(f.redshift - z) / f.modes[0].error for _, f, z, _ in rows if f is not None and np.isfinite(z)]
        pulls = np.array(pulls)[ok]
        print(
            f"pull of the right ones: sd {pulls.std():.2f}, robust {1.4826 * np.median(np.abs(pulls)):.2f}, mean {pulls.mean():+.2f}"
        )
        phases = [
            (f.phase - float(r["phase"]))
            for r, f, *_ in rows
            if f is not None and r["phase"] and group(r["type"]) == "Ia" and np.isfinite(f.phase)
        ]
        print(
            f"phase of Ia: median {np.median(phases):+.1f} d, scatter {1.4826 * np.median(np.abs(phases - np.median(phases))):.1f} d of {len(phases)}"
        )


def wrong(rows):
    print("\nfailures:")
    for row, found, z, _ in rows:
        if found is not None and found.type != group(row["type"]):
            print(
                f"  {row['obj']:22} {row['type']:8} -> {found.kind:8} P {found.probability:.2f}  z {z:.3f} found {found.redshift:.3f}  {found.verdict}  S/N {found.snr:.0f}"
            )


def sedm_like(snr):
    """Return a change to R 100 on 25.6 Angstrom pixels from 3,777 to 9,223, at a signal-to-noise ratio a pixel."""
    from dataclasses import replace

    def change(one, rng):
        from nightpipe.maths.rebin import smoothed_to

        wave = np.arange(3776.7, 9223.0, 25.57)
        good = one.good
        smooth = smoothed_to(one.wave[good], one.flux[good], one.wave[good] / 100.0)
        flux = np.interp(wave, one.wave[good], smooth)
        inside = (wave > one.wave[good][0]) & (wave < one.wave[good][-1])
        error = np.full_like(flux, np.median(np.abs(flux[inside])) / snr)
        return replace(
            one, wave=wave, flux=flux + error * rng.normal(size=len(wave)), var=error**2, good=inside, measured=True
        )

    return change


def beside(folder, model):
    """Judge the galaxies beside supernovae that are kept for this."""
    from classifier_collections import CERTAIN, galaxies

    from nightpipe.io.anyspectrum import made
    from nightpipe.maths.logflux import grid_wave

    bank, wave, said = ready_bank(), grid_wave(), []
    for one, fit in galaxies(folder, unseen=True):
        found = Classify().run(made(one.name, wave[one.good], one.flux[one.good], None, {}), bank, model)
        said.append((one, fit, found))
    for title, chosen in (
        ("all galaxies", said),
        ("whose redshift is certain", [row for row in said if row[1].better > CERTAIN]),
        ("and nothing else is seen", [row for row in said if row[1].better > CERTAIN and row[1].chi2 < PURE]),
    ):
        types, best = np.array([f.type for *_, f in chosen]), np.array([f.probability for *_, f in chosen])
        wrong_ = types != "notSN"
        print(f"\n## {title}: likeliest", wilson(int((~wrong_).sum()), len(chosen)))
        print("unclear", wilson(int((best < 0.5).sum()), len(chosen)))
        for least in (0.5, 0.7, 0.95):
            print(f"wrong with P >= {least}", wilson(int((wrong_ & (best >= least)).sum()), len(chosen)))
        print({name: int((types == name).sum()) for name in TYPES})
        off = np.array([(f.redshift - one.z) / (1 + one.z) for one, _, f in chosen])
        print("redshift as measured", wilson(int((np.abs(off) < 0.012).sum()), len(off)))


def main():
    folder = Path(sys.argv[1])
    model = ranker(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    if len(sys.argv) > 3:
        beside(Path(sys.argv[3]), model)
    rows = evaluate(folder, model)
    tell(rows, "redshift unknown")
    wrong(rows)
    tell(evaluate(folder, model, known=True), "redshift known")
    for snr in (5, 10, 20):
        rows = evaluate(folder, model, change=sedm_like(snr))
        tell(rows, f"SEDM-like, S/N {snr}")


if __name__ == "__main__":
    main()
