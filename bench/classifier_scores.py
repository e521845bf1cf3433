"""What cross-validation says of the classifier: temperature, calibration, the error of redshifts, tables for people.

usage: python bench/classifier_scores.py RANKER.cv.npz
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nightpipe.maths.ranker import joint, sharpened
from nightpipe.maths.redshifts import TERMS, agreed, centres, error_types, plausible
from nightpipe.model.templates import GROUPS, KINDS, TYPES

PLACE = np.array([TYPES.index(GROUPS[kind]) for kind in KINDS])
KNOTS = np.array([0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.92, 0.96, 0.985, 1.0])
"""Where the curve of calibration is told, each from the spectra about it."""


class Answers(NamedTuple):
    """Of each spectrum: types (n, 7), with known redshift too; ln(1 + z) found less true; facts of its error."""

    types: Any
    known: Any
    off: Any
    facts: Any

    @property
    def right(self) -> Any:
        return np.abs(np.expm1(self.off)) < 0.012


def group_of(kind: str) -> str:
    return "Ibc" if kind == "Ib/c" else GROUPS[kind]


def truths(data: dict[str, Any], use: Any) -> Any:
    return np.array([TYPES.index(group_of(str(kind))) for kind in data["kind"][use]])


def weights(data: dict[str, Any], use: Any) -> Any:
    """Return weights with which each object counts once."""
    _, inverse, count = np.unique(data["name"][use], return_inverse=True, return_counts=True)
    return 1.0 / count[inverse]


def answers(data: dict[str, Any], use: Any, temperature: float) -> Answers:
    types, known, off, facts = [], [], [], []
    for n in use:
        valid = data["valid"][n]
        columns = data["column"][n][valid]
        chance = joint(data["odds"][n][valid], temperature)
        found = centres(data["peaks"][n][valid], columns, chance)
        chance = plausible(found, chance, KINDS)
        types.append(np.bincount(PLACE, chance.sum(axis=0), len(TYPES)))
        known.append(np.bincount(PLACE, joint(data["odds_known"][n][None], temperature)[0], len(TYPES)))
        best = agreed(found, chance, error_types(types[-1]))[0]
        off.append(best.place - np.log1p(data["z"][n]))
        facts.append(best.facts)
    return Answers(np.array(types), np.array(known), np.array(off), np.array(facts))


def temperature_of(data: dict[str, Any], use: Any) -> float:
    """Return the temperature that makes the published spectra likeliest, each object counted once."""
    truth, weight, best = truths(data, use), weights(data, use), (np.inf, 1.0)
    odds = np.where(data["valid"][use][:, :, None], data["odds"][use], -1e9)
    for temperature in np.arange(0.6, 2.2, 0.1):
        p = np.exp((odds - odds.max(axis=(1, 2), keepdims=True)) / temperature).sum(axis=1)
        p = np.array([np.bincount(PLACE, row, len(TYPES)) for row in p / p.sum(axis=1, keepdims=True)])
        loss = float(np.average(-np.log(np.maximum(p[np.arange(len(use)), truth], 1e-3)), weights=weight))
        best = min(best, (loss, float(temperature)))
    return best[1]


def curve_of(best: Any, hit: Any, weight: Any) -> Any:
    """Return (2, KNOTS) how often the likeliest type is right about each probability, never falling."""
    width = np.where(KNOTS > 0.9, 0.25 * (1.02 - KNOTS) + 0.004, 0.06)
    near = weight * np.exp(-0.5 * ((best[None] - KNOTS[:, None]) / width[:, None]) ** 2)
    count = near.sum(axis=1)
    # where few spectra lie the probability itself is taken, as if it had been seen in ten of them
    right = ((near @ hit) + 10.0 * KNOTS) / (count + 10.0)
    shift = right - ((near @ best) + 10.0 * KNOTS) / (count + 10.0)
    return np.array([KNOTS, np.minimum(np.maximum.accumulate(np.clip(KNOTS + shift, 0.0, 1.0)), 0.999)])


def terms_of(found: Answers, weight: Any) -> Any:
    """Return the terms of the redshift's error that make the right ones likeliest, as Gaussians."""
    from scipy.optimize import minimize

    facts, off, weight = found.facts[found.right], found.off[found.right], weight[found.right]

    def loss(terms: Any) -> Any:
        sigma = facts @ terms
        return np.average(sigma + 0.5 * (off * np.exp(-sigma)) ** 2, weights=weight) + 1e-3 * (terms[1:] ** 2).sum()

    return minimize(loss, np.concatenate([[-5.8], np.zeros(TERMS - 1)])).x


def tell(data: dict[str, Any]) -> tuple[float, Any, Any]:
    """Print all that cross-validation says; return temperature, curve and terms."""
    use = np.flatnonzero((data["what"] == "train") & data["done"])
    temperature, weight = temperature_of(data, use), weights(data, use)
    found, truth, fold = answers(data, use, temperature), truths(data, use), data["fold"][use]
    best, hit = found.types.max(axis=1), found.types.argmax(axis=1) == truth
    print("temperature", round(temperature, 2))
    curve, terms = curve_of(best, hit, weight), terms_of(found, weight)
    mapped, pulls = found.types.copy(), np.zeros(len(use))
    for k in np.unique(fold):  # what is told of a fold was fitted on the others
        own = fold == k
        there = curve_of(best[~own], hit[~own], weight[~own])
        mapped[own] = [sharpened(row, there) for row in found.types[own]]
        others = Answers(*(part[~own] for part in found))
        pulls[own] = found.off[own] / np.exp(found.facts[own] @ terms_of(others, weight[~own]))
    right = found.right
    sd = np.sqrt(np.average(pulls[right] ** 2, weights=weight[right]))
    print(
        f"pulls of right redshifts: sd {pulls[right].std():.3f}, by object {sd:.3f}, "
        f"robust {1.4826 * np.median(np.abs(pulls[right])):.3f}"
    )
    print("curve", np.round(curve[1], 3).tolist(), "terms", np.round(terms, 2).tolist())
    report(data, found._replace(types=mapped), use, "published spectra")
    for what in ("collected", "again", "degraded", "bank", "more", "star", "other", "arm"):
        rows = np.flatnonzero((data["what"] == what) & data["done"])
        if len(rows):
            seen = answers(data, rows, temperature)
            report(data, seen._replace(types=np.array([sharpened(row, curve) for row in seen.types])), rows, what)
    return temperature, curve, terms


def report(data: dict[str, Any], found: Answers, use: Any, title: str) -> None:
    truth, weight = truths(data, use), weights(data, use)
    for name, p in (("redshift unknown", found.types), ("redshift known", found.known)):
        top, best = p.argmax(axis=1), p.max(axis=1)
        hit, sure = top == truth, best >= 0.95
        brier = ((p - np.eye(len(TYPES))[truth]) ** 2).sum(axis=1)
        precision = hit[sure].mean() if sure.any() else np.nan
        print(
            f"\n{title}, {name}: n={len(use)} right {hit.mean():.4f} by object {np.average(hit, weights=weight):.4f}; "
            f"P>=0.95 {sure.mean():.3f} right {precision:.4f}; Brier {brier.mean():.4f} by object "
            f"{np.average(brier, weights=weight):.4f}; z right {found.right.mean():.4f} by object "
            f"{np.average(found.right, weights=weight):.4f}"
        )
    p = found.types
    top, best = p.argmax(axis=1), p.max(axis=1)
    hit = top == truth
    for low in np.arange(0.1, 1.0, 0.1):
        inside = (best >= low) & (best < low + 0.1 + 1e-9)
        if inside.sum() > 5:
            mean, share = (np.average(one[inside], weights=weight[inside]) for one in (best, hit))
            print(
                f"  P {low:.1f}: n={inside.sum():5d} objects {weight[inside].sum():6.1f} "
                f"mean {best[inside].mean():.3f} right {hit[inside].mean():.3f}   by object {mean:.3f} {share:.3f}"
            )
    for k, name in enumerate(TYPES):
        own = truth == k
        if own.any():
            table = dict(zip(TYPES, np.bincount(top[own], minlength=len(TYPES)).tolist(), strict=True))
            print(
                f"  {name:7} n={own.sum():5d} recall {hit[own].mean():.3f} by object "
                f"{np.average(hit[own], weights=weight[own]):.3f} z {found.right[own].mean():.3f}",
                table,
            )


if __name__ == "__main__":
    with np.load(Path(sys.argv[1])) as kept:
        tell({name: kept[name] for name in kept.files})
