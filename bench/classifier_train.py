"""Train the classifier's ranker on what classifier_features.py found, cross-validated by object, and write it.

usage: python bench/classifier_train.py FEATURES BANK OUT.npz [epochs [folds]]
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from classifier_net import Lists, train
from classifier_scenes import REST_FRAME, plain
from classifier_scores import group_of, tell

from nightpipe.io.banks import galaxies, read_bank
from nightpipe.maths.logflux import STEP, Flat
from nightpipe.maths.matching import LOWEST, SPACING
from nightpipe.maths.narrow import narrow_lines
from nightpipe.maths.profiles import Parts, by_phase, near_columns, parts_of
from nightpipe.maths.ranker import Ranker, inputs, log_odds
from nightpipe.maths.redshifts import REACH, around
from nightpipe.model.templates import GROUPS, KINDS, joined
from nightpipe.steps.post.evidence import proposed

FOLDS, EPOCHS, MOST = 5, 16, 15
NEAR = 0.012 / STEP / SPACING
"""Columns of a redshift that is right."""
PRIOR = {"TDE": 0.06, "Ibn": 0.055, "SLSN-I": 0.08, "SLSN-II": 0.02, "Galaxy": 0.05, "AGN": 0.03, "Star": 0.04}
PRIOR |= {"LBV": 0.01, "other": 0.008, "Ca-rich": 0.006, "Ic-BL": 0.03, "Ib": 0.04, "Ia-91bg": 0.02}
FLOOR = 0.012
SHARE = {"train": 1.0, "collected": 1.0, "degraded": 0.5, "again": 0.35, "arm": 0.5, "star": 1.0}
"""Weight of a spectrum by where it comes from, among those of its kind; made ones have that of the mix."""
MIXES = ((0.25, 0.3), (0.35, 0.5), (0.3, 0.4))
"""The networks of a fold: what made spectra weigh, and by which power of its spectra an object counts less for each.

The second heeds single objects and made spectra more, which favours the rare kinds; together they are better than any
alone.
"""
LUMPS = {
    "Ib/c": {"Ib": 1.0, "Ic": 1.0, "Ic-BL": 0.2},
    "Ic": {"Ic": 1.0, "Ic-BL": 0.1},
    "Ia": {"Ia": 1.0, "Ia-91T": 0.1, "Ia-91bg": 0.1},
}
"""What a label of a catalogue may mean, and the odds beforehand: one that names no subtype mostly means the common one.

Were all as likely, nothing would ever speak for the common one: only the rare ones have labels of their own.
"""
MENDED = {"lsq14an": "SLSN-I"}
"""Labels of the catalogue that are wrong: LSQ14an is a slow SLSN-I (Inserra et al. 2017, MNRAS 468, 4642)."""


def allowed(kind: str, known: str | None) -> Any:
    """Return how far a label permits each output; `known` is what a bank of templates calls the object."""
    if known in LUMPS.get(kind, ()):
        return np.array([float(name == known) for name in KINDS], np.float32)
    lump = LUMPS.get(kind, {kind: 1.0})
    return np.array([lump.get(name, 0.0) for name in KINDS], np.float32)


def load(folder: Path, parts: Parts) -> dict[str, Any]:
    """Return the inputs of every spectrum at its candidates, and at its true redshift.

    Spectra that were published in the rest frame, though their labels tell a redshift, are left out.
    """
    found = [_inputs(path, parts) for path in sorted(folder.glob("features_*.npz"))]
    joined = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    usable = (joined["column"] >= 0).any(axis=1)
    usable &= ~(np.isin(joined["name"], sorted(REST_FRAME)) & np.isin(joined["what"], ("train", "degraded")))
    return {name: values[usable] for name, values in joined.items()}


def _inputs(path: Path, parts: Parts) -> dict[str, Any]:
    """Return the inputs of one file of features, made once and kept beside it."""
    kept_in = path.with_name(path.name.replace("features", "inputs"))
    if not kept_in.is_file():
        rng = np.random.default_rng(5)
        table, kept = np.load(path), {}
        given = {name: table[name] for name in ("profile", "groups", "flat", "z", "what", "number", "name", "kind")}
        profiles = given["profile"].astype(np.float32)
        for n in range(len(given["z"])):
            row = _one(profiles[n], given["groups"][n], given["flat"][n], float(given["z"][n]), parts, rng)
            row |= {name: given[name][n] for name in ("what", "number", "name", "kind", "z")}
            for name, value in row.items():
                kept.setdefault(name, []).append(value)
        np.savez(kept_in, **{name: np.array(values) for name, values in kept.items()})
    with np.load(kept_in) as done:
        return {name: done[name] for name in done.files}


def _one(profile: Any, groups: Any, flat: Any, z: float, parts: Parts, rng: Any) -> dict[str, Any]:
    spectrum = Flat(flat[0].astype(float), flat[1].astype(float), flat[2] > 0.5, flat[3].astype(float))
    lines = narrow_lines(spectrum)
    columns = proposed(profile, lines)
    truth = (np.log1p(z) / STEP - LOWEST) / SPACING
    jitter = round(truth + rng.uniform(-1.5, 1.5))
    inside = 0 <= jitter < profile.shape[2]
    asked = np.array([*columns, jitter]) if inside else columns
    pooled = [groups[:, near_columns(groups.shape[1], int(c))].max(axis=1) for c in asked]
    roots = np.array(pooled).astype(np.float32) / 8.0
    rows = inputs(spectrum, profile, by_phase(roots, parts, len(KINDS)), lines, asked).astype(np.float16)
    x = np.zeros((MOST, rows.shape[1]), np.float16)
    x[: len(columns)] = rows[: len(columns)]
    column = np.full(MOST, -1)
    column[: len(columns)] = columns
    near = np.zeros(MOST, bool)
    near[: len(columns)] = np.abs(columns - truth) <= NEAR
    peaks = np.zeros((MOST, len(KINDS), 2 * REACH + 1), np.float16)
    peaks[: len(columns)] = around(profile, columns)
    return {
        "x": x,
        "known": rows[-1] if inside else np.zeros(rows.shape[1], np.float16),
        "column": column,
        "near": near,
        "peaks": peaks,
    }


def weights_of(data: dict[str, Any], made: float, power: float) -> Any:
    """Return the weight of each spectrum: kinds as the training set has them, the rare ones by PRIOR; see MIXES."""
    _, inverse, count = np.unique(
        np.char.add(data["name"].astype(str), data["what"].astype(str)), return_inverse=True, return_counts=True
    )
    base = np.array([SHARE.get(str(what), made) for what in data["what"]]) / count[inverse] ** power
    natural = data["what"] == "train"
    weight = np.zeros(len(base))
    for kind in np.unique(data["kind"]):
        own = data["kind"] == kind
        share = max(float(np.mean(data["kind"][natural] == kind)), PRIOR.get(str(kind), FLOOR))
        weight[own] = share * base[own] / base[own].sum()
    return weight / weight.mean()


def main() -> None:
    folder, bank_file, out = (Path(word) for word in sys.argv[1:4])
    epochs = int(sys.argv[4]) if len(sys.argv) > 4 else EPOCHS
    todo = int(sys.argv[5]) if len(sys.argv) > 5 else FOLDS
    rng = np.random.default_rng(7)
    start = time.process_time()
    bank = joined((read_bank(bank_file), galaxies()))
    kinds = np.array([KINDS.index(bank.kinds[row]) for row in bank.starts])
    data = load(folder, parts_of(bank.starts, kinds, bank.phases))
    for name, kind in MENDED.items():
        data["kind"] = np.where((data["name"] == name) & ~np.isin(data["what"], ("bank", "more")), kind, data["kind"])
    x = data["x"]
    print(x.shape, round(time.process_time() - start), "s", flush=True)
    valid = data["column"] >= 0
    sample = x[valid][:: max(valid.sum() // 30000, 1)].astype(np.float32)
    centre, scale = sample.mean(0), 1.0 / np.maximum(sample.std(0), 0.05)
    for n in range(len(x)):
        x[n] = np.where(valid[n][:, None], (x[n].astype(np.float32) - centre) * scale, 0.0)
    known = data["known"].astype(np.float32)
    data["known"] = np.where(np.abs(known).sum(1, keepdims=True) > 0, (known - centre) * scale, 0.0).astype(np.float16)
    in_bank = dict(zip((plain(name) for name in bank.objects), bank.kinds, strict=True))
    labels = np.array([allowed(str(k), in_bank.get(str(n))) for k, n in zip(data["kind"], data["name"], strict=True)])
    typed = np.array(
        [[GROUPS[name] == group_of(str(kind)) for name in KINDS] for kind in data["kind"]], dtype=np.float32
    )
    lists = Lists(x, data["known"], valid, data["near"], labels, typed, np.ones(len(x)))
    mixes = [weights_of(data, *mix) for mix in MIXES]
    names = np.unique(data["name"])
    fold_of = dict(zip(names, rng.permutation(len(names)) % FOLDS, strict=True))
    fold = np.array([fold_of[name] for name in data["name"]])
    odds = np.full((*valid.shape, len(KINDS)), np.nan, np.float32)
    odds_known = np.full((len(x), len(KINDS)), np.nan, np.float32)
    layers = []
    for k in range(todo):
        others = lists.of(np.flatnonzero(fold != k))
        own = [train(replace(others, weight=weight[fold != k]), rng, epochs) for weight in mixes]
        layers += own
        member = Ranker(*zip(*own, strict=True), np.float32(0), np.float32(1), KINDS, 1.0, np.zeros(9), np.eye(2))
        for n in np.flatnonzero(fold == k):
            odds[n] = log_odds(member, x[n].astype(np.float32))
            odds_known[n] = log_odds(member, data["known"][n : n + 1].astype(np.float32))[0]
        print("fold", k, round(time.process_time() - start), "s", flush=True)
    data |= {"odds": odds, "odds_known": odds_known, "valid": valid, "done": fold < todo, "fold": fold}
    del data["x"]
    np.savez(out.with_suffix(".cv.npz"), **{name: value for name, value in data.items() if name != "known"})
    temperature, curve, error = tell(data)
    np.savez_compressed(
        out,
        **{f"weight_{m}_{k}": w.astype(np.float16) for m, (ws, _) in enumerate(layers) for k, w in enumerate(ws)},
        **{f"bias_{m}_{k}": b for m, (_, bs) in enumerate(layers) for k, b in enumerate(bs)},
        centre=centre,
        scale=scale.astype(np.float32),
        kinds=np.array(KINDS),
        temperature=temperature,
        error=error,
        curve=curve,
    )


if __name__ == "__main__":
    main()
