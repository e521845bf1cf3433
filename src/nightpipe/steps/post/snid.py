"""The classic answer of SNID: good matches, medians, shares of the types and their slopes with rlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nightpipe.model.classification import SnidTable, TemplateMatch, TypeRow

FloatArray = NDArray[np.float64]


def snid_table(
    matches: Sequence[TemplateMatch], z_initial: float, least_rlap: float = 5.0, z_filter: float = 0.02
) -> SnidTable:
    """Return SNID's statistics over its good matches: rlap at least `least_rlap`, redshift within `z_filter`.

    Medians of redshift and age with their standard deviations, overall and for each type and subtype; a type's fraction
    is its share of the good matches, its slope that of the fraction with rlap (Blondin & Tonry 2007, section 3.3).
    """
    graded = [_graded(match, z_initial, least_rlap, z_filter) for match in matches]
    graded.sort(key=lambda match: -match.rlap)
    good = [match for match in graded if match.grade == "good"]
    rows: list[TypeRow] = []
    for type_ in dict.fromkeys(match.type for match in good):
        rows.append(_row(good, type_, lambda match: match.type, least_rlap))
        own = [match for match in good if match.type == type_]
        rows += [_row(good, name, lambda match: match.subtype, least_rlap) for name in _distinct(own)]
    z, z_error = _median([match.z for match in good])
    age, age_error = _median([match.age for match in good])
    return SnidTable(z_initial, z, z_error, age, age_error, tuple(rows), tuple(graded), least_rlap, z_filter)


def _distinct(matches: list[TemplateMatch]) -> list[str]:
    return list(dict.fromkeys(match.subtype for match in matches))


def _graded(match: TemplateMatch, z: float, least_rlap: float, z_filter: float) -> TemplateMatch:
    from dataclasses import replace

    grade = "cut" if match.rlap < least_rlap else "good" if abs(match.z - z) < z_filter else "bad"
    return replace(match, grade=grade)


def _row(good: list[TemplateMatch], name: str, of: Callable[[TemplateMatch], str], least: float) -> TypeRow:
    own = [match for match in good if of(match) == name]
    z, z_error = _median([match.z for match in own])
    age, age_error = _median([match.age for match in own])
    return TypeRow(name, len(own), len(own) / len(good), _slope(good, own, least), z, z_error, age, age_error)


def _median(values: list[float]) -> tuple[float, float]:
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite) == 0:
        return float("nan"), float("nan")
    return float(np.median(finite)), float(np.std(finite, ddof=1)) if len(finite) > 1 else 0.0


def _slope(good: list[TemplateMatch], own: list[TemplateMatch], least: float) -> float:
    """Fit the share of the type among matches above each whole rlap by a straight line, each weighted N / sqrt(n)."""
    all_rlap, own_rlap = (np.array([match.rlap for match in group]) for group in (good, own))
    steps = np.arange(int(least), int(all_rlap.max()) + 1)
    total = np.array([(all_rlap >= step).sum() for step in steps], dtype=np.float64)
    count = np.array([(own_rlap >= step).sum() for step in steps], dtype=np.float64)
    fraction = count / np.maximum(total, 1.0)
    if np.count_nonzero(fraction) < 2:
        return 0.0
    error = np.where(count > 0, np.sqrt(np.maximum(count, 1.0)) / np.maximum(total, 1.0), 1.0)
    weight = 1.0 / error
    mean = np.average(steps, weights=weight)
    spread = np.sum(weight * (steps - mean) ** 2)
    return float(np.sum(weight * (steps - mean) * fraction) / spread) if spread > 0 else 0.0
