"""Train the classifier's ranker on what classifier_features.py found, cross-validated by object, and write it.

usage: python bench/classifier_train.py FEATURES OUT.npz
"""

# ruff: noqa: E501, PLW2901
from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from nightpipe.maths.logflux import Flat
from nightpipe.maths.matching import LOWEST, lag_of
from nightpipe.maths.profiles import likely
from nightpipe.maths.ranker import Ranker, inputs, log_odds
from nightpipe.model.templates import GROUPS, KINDS, TYPES

FOLDS, HIDDEN, EPOCHS, BATCH = 5, (160, 64), 14, 256
NEAR = 9  # bins of ln(wavelength): 0.012
PRIOR = {"TDE": 0.05, "Ibn": 0.06, "SLSN-I": 0.09, "SLSN-II": 0.02, "Galaxy": 0.025, "AGN": 0.01}
PRIOR |= {"Star": 0.01, "LBV": 0.01, "other": 0.008, "Ca-rich": 0.006, "Ic-BL": 0.03, "Ib": 0.035}
FLOOR = 0.015


def allowed(kind):
    """Return which outputs a label permits: the lumped labels of catalogues permit several."""
    row = np.zeros(len(KINDS) + 1, np.float32)
    lumps = {"Ib/c": ("Ib", "Ic", "Ic-BL"), "Ia": ("Ia", "Ia-91T", "Ia-91bg"), "II": ("II",), "wrong": ()}
    for name in lumps.get(kind, (kind,)):
        row[KINDS.index(name)] = 1.0
    if kind == "wrong":
        row[-1] = 1.0
    return row


def load(folder):
    tables = [np.load(path) for path in sorted(folder.glob("features_*.npz"))]
    return {key: np.concatenate([table[key] for table in tables]) for key in tables[0].files}


def samples(data, rng):
    """Return features of the true redshift, of likely wrong ones, and which spectrum each belongs to."""
    x, label, owner, right, column = [], [], [], [], []
    for number, (profile, flat, z, kind) in enumerate(
        zip(data["profile"], data["flat"], data["z"], data["kind"], strict=True)
    ):
        flat = flat.astype(np.float64)
        spectrum = Flat(flat[0], flat[1], flat[2] > 0.5, flat[3])
        profile = profile.astype(np.float32)
        truth = lag_of(float(z)) - LOWEST
        found = likely(profile, 12)
        truth_in = 0 <= truth < profile.shape[2]
        jitter = truth + int(rng.integers(-3, 4))
        columns = [*found, *([truth] if truth_in else []), *([jitter] if 0 <= jitter < profile.shape[2] else [])]
        x.append(inputs(spectrum, profile, np.array(columns)).astype(np.float16))
        near = [abs(c - truth) <= NEAR for c in columns]
        # a galaxy or a star without lines has the wrong redshift in no useful sense; a supernova does
        label += [kind if ok else "wrong" for ok in near]
        owner += [number] * len(columns)
        right += near
        column += [int(c) for c in found] + [-1] * (len(columns) - len(found))
    return np.concatenate(x), np.array(label), np.array(owner), np.array(right), np.array(column)


def weights_of(data, label, owner):
    """Return the weight of each sample: kinds as the training set has them, the rest by PRIOR; degraded copies half."""
    kind = data["kind"][owner]
    what = data["what"][owner]
    base = np.where(what == "degraded", 0.7, 1.0)
    natural = data["what"] == "train"
    share = {k: max(np.mean(data["kind"][natural] == k), PRIOR.get(k, FLOOR)) for k in np.unique(kind)}
    right = label != "wrong"
    total = {k: base[right & (kind == k)].sum() for k in share}
    weight = base * np.array([share[k] / max(total[k], 1e-9) for k in kind])
    return weight / weight.mean()


def train(x, target, weight, rng, epochs=EPOCHS):
    """Return layers of a network trained by Adam on the log of the summed probability of the permitted outputs."""
    sizes = (x.shape[1], *HIDDEN, target.shape[1])
    ws = [rng.normal(0, np.sqrt(2.0 / a), (a, b)).astype(np.float32) for a, b in pairwise(sizes)]
    bs = [np.zeros(b, np.float32) for b in sizes[1:]]
    ms = [np.zeros_like(p) for p in ws + bs]
    vs = [np.zeros_like(p) for p in ws + bs]
    step, steps = 0, epochs * (len(x) // BATCH)
    draw = weight / weight.sum()
    for _ in range(epochs):
        order = rng.choice(len(x), size=(len(x) // BATCH, BATCH), p=draw)
        for rows in order:
            h = [x[rows].astype(np.float32)]
            h[0] = h[0] + rng.normal(0, 0.08, h[0].shape).astype(np.float32)
            h[0] *= (rng.random(h[0].shape, dtype=np.float32) > 0.1) / np.float32(0.9)
            masks = []
            for k in range(len(ws)):
                a = h[-1] @ ws[k] + bs[k]
                if k < len(ws) - 1:
                    mask = (a > 0) * (rng.random(a.shape, dtype=np.float32) > 0.35) / np.float32(0.65)
                    masks.append(mask)
                    a = a * mask
                h.append(a)
            p = np.exp(h[-1] - h[-1].max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            t = p * target[rows]
            t /= np.maximum(t.sum(1, keepdims=True), 1e-12)
            t = 0.985 * t + 0.015 * p  # a few labels of catalogues are wrong
            g = (p - t) / len(rows)
            grads_w, grads_b = [None] * len(ws), [None] * len(ws)
            for k in range(len(ws) - 1, -1, -1):
                grads_w[k], grads_b[k] = h[k].T @ g, g.sum(0)
                if k:
                    g = (g @ ws[k].T) * masks[k - 1]
            step += 1
            rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * step / steps)) * min(1.0, step / 200)
            for k, (param, grad) in enumerate(zip(ws + bs, grads_w + grads_b, strict=True)):
                ms[k] = 0.9 * ms[k] + 0.1 * grad
                vs[k] = 0.999 * vs[k] + 0.001 * grad * grad
                param -= rate * (ms[k] / (1 - 0.9**step) / (np.sqrt(vs[k] / (1 - 0.999**step)) + 1e-8))
                if k < len(ws):
                    param -= rate * 2e-2 * param
    return tuple(ws), tuple(bs)


def member_odds(layers, centre, scale, x):
    return log_odds(Ranker((layers[0],), (layers[1],), centre, scale, KINDS, 1.0, (0.0, 0.0)), x.astype(np.float32))


def posterior(odds, temperature):
    value = np.exp((odds - odds.max()) / temperature)
    return value / value.sum()


def group_of(kind):
    return "Ibc" if kind == "Ib/c" else GROUPS[kind]


def answers(data, owner, column, odds, temperature, use):
    """Return for each spectrum the probabilities of the types and whether the redshift is right, unknown redshift."""
    place = np.array([TYPES.index(GROUPS[kind]) for kind in KINDS])
    probabilities, good_z, best = [], [], []
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(len(data["z"]) + 1))
    for number in use:
        rows = order[bounds[number] : bounds[number + 1]]
        rows = rows[column[rows] >= 0]
        if not len(rows):
            probabilities.append(np.ones(len(TYPES)) / len(TYPES))
            good_z.append(False)
            best.append(-1)
            continue
        p = posterior(odds[rows], temperature)
        probabilities.append(np.bincount(place, p.sum(0), len(TYPES)))
        winner = rows[np.argmax(p.sum(1))]
        truth = lag_of(float(data["z"][number])) - LOWEST
        good_z.append(abs(column[winner] - truth) <= NEAR)
        best.append(winner)
    return np.array(probabilities), np.array(good_z), np.array(best)


def known_z(owner, column, odds, temperature):
    place = np.array([TYPES.index(GROUPS[kind]) for kind in KINDS])
    found = {}
    for row in np.flatnonzero(column < 0):
        found.setdefault(int(owner[row]), row)
    return {n: np.bincount(place, posterior(odds[r], temperature), len(TYPES)) for n, r in found.items()}


def report(data, probabilities, use, title):
    truth = np.array([TYPES.index(group_of(kind)) for kind in data["kind"][use]])
    top, p = probabilities.argmax(1), probabilities.max(1)
    hit = top == truth
    print(
        f"{title}: n={len(use)} right {hit.mean():.3f}  passing P>=0.95 {np.mean(p >= 0.95):.3f} precision {hit[p >= 0.95].mean():.4f}"
    )
    onehot = np.eye(len(TYPES))[truth]
    print("  Brier", round(float(((probabilities - onehot) ** 2).sum(1).mean()), 4))
    for low in np.arange(0.2, 1.0, 0.1):
        inside = (p >= low) & (p < low + 0.1 + 1e-9)
        if inside.sum() > 5:
            print(f"  P {low:.1f}: n={inside.sum():5d} mean {p[inside].mean():.3f} right {hit[inside].mean():.3f}")
    for k, name in enumerate(TYPES):
        own = truth == k
        if own.any():
            print(
                f"  {name:7} n={own.sum():5d} recall {hit[own].mean():.3f} precision {hit[top == k].mean() if (top == k).any() else 0:.3f}",
                dict(zip(TYPES, np.bincount(top[own], minlength=len(TYPES)).tolist(), strict=True)),
            )


def main():
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    rng = np.random.default_rng(7)
    start = time.process_time()
    data = load(folder)
    x, label, owner, _, column = samples(data, rng)
    print(x.shape, "samples", round(time.process_time() - start), "s", flush=True)
    target = np.array([allowed(name) for name in label])
    weight = weights_of(data, label, owner)
    centre = x.astype(np.float32).mean(0)
    scale = 1.0 / np.maximum(x.astype(np.float32).std(0), 0.05)
    scaled = ((x.astype(np.float32) - centre) * scale).astype(np.float16)
    names = np.unique(data["name"])
    fold_of = dict(zip(names, rng.permutation(len(names)) % FOLDS, strict=True))
    fold = np.array([fold_of[name] for name in data["name"]])[owner]
    odds = np.zeros((len(x), len(KINDS)))
    layers = []
    for k in range(FOLDS):
        rows = np.flatnonzero(fold != k)
        layers.append(train(scaled[rows], target[rows], weight[rows], rng))
        odds[fold == k] = member_odds(layers[k], centre, scale, x[fold == k])
        print("fold", k, round(time.process_time() - start), "s", flush=True)
    use = np.flatnonzero(data["what"] == "train")
    place = [TYPES.index(group_of(kind)) for kind in data["kind"][use]]
    best = (np.inf, 1.0)
    for temperature in np.arange(0.5, 2.6, 0.1):
        p, _, _ = answers(data, owner, column, odds, temperature, use)
        loss = -np.log(np.maximum(p[np.arange(len(use)), place], 1e-6)).mean()
        best = min(best, (loss, float(temperature)))
    temperature = best[1]
    print("temperature", temperature, "loss", best[0])
    for what in ("train", "degraded", "bank"):
        use = np.flatnonzero(data["what"] == what)
        p, good_z, _ = answers(data, owner, column, odds, temperature, use)
        report(data, p, use, f"{what}, redshift unknown, z right {good_z.mean():.3f}")
        known = known_z(owner, column, odds, temperature)
        use = np.array([n for n in use if int(n) in known])
        report(data, np.array([known[int(n)] for n in use]), use, f"{what}, redshift known")
    np.savez_compressed(
        out,
        **{f"weight_{m}_{k}": w.astype(np.float16) for m, (ws, _) in enumerate(layers) for k, w in enumerate(ws)},
        **{f"bias_{m}_{k}": b for m, (_, bs) in enumerate(layers) for k, b in enumerate(bs)},
        centre=centre,
        scale=scale.astype(np.float32),
        kinds=np.array(KINDS),
        temperature=temperature,
        error=np.array([0.003, 0.03]),
    )


if __name__ == "__main__":
    main()
