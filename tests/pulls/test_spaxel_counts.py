"""Pulls of lenslet spectra: the light that the simulator sent through each lenslet, against what is extracted."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from builders.lenslets import made, shot, truth
from builders.pulls import told
from nightpipe.steps.spaxels.extract import ExtractSpaxels

pytestmark = pytest.mark.pulls

CASES = {"faint": (19.0, 900.0), "bright": (13.5, 240.0)}
RANGES = ((3750, 4500), (4500, 5500), (5500, 6500), (6500, 7500), (7500, 8500), (8500, 9300))


@cache
def extracted(case: str):
    magnitude, seconds = CASES[case]
    one = made(2, exposure=shot(exptime=seconds), grain=0.008, magnitude=magnitude, target="star")
    spectra = ExtractSpaxels().run(one.frame, one.spaxels, one.waves)
    return one, spectra, truth(one, spectra.first, spectra.flux.shape[1])


def pulls(case: str, low: float = 3750.0, high: float = 9300.0, least: float = -1e9) -> np.ndarray:
    _, spectra, true = extracted(case)
    use = spectra.good & (spectra.wave > low) & (spectra.wave < high) & (true > least)
    return (spectra.flux[use] - true[use]) / np.sqrt(spectra.var[use])


@pytest.mark.parametrize("span", RANGES)
@pytest.mark.parametrize("case", CASES)
def test_counts_are_unbiased_and_errors_honest(case, span):
    values = pulls(case, *span)
    assert values.size > 20_000
    assert abs(values.mean()) < 0.05, told(f"{case} {span}", values)
    assert 0.95 < values.std() < 1.05, told(f"{case} {span}", values)


def test_so_are_those_of_a_bright_star():
    values = pulls("bright", least=1500.0)
    assert values.size > 1_000
    assert abs(values.mean()) < 0.15, told("star", values)
    assert 0.9 < values.std() < 1.1, told("star", values)


def top_hat(one, spectra, half: float = 2.4) -> np.ndarray:
    """Return plain sums over 4.8 rows, neither deblended nor freed of scattered light: a pipeline of 2018's."""
    n, m = spectra.flux.shape
    k = np.repeat(np.arange(n), m)
    column = np.clip((spectra.first[:, None] + np.arange(m)).ravel(), 0, one.frame.shape[1] - 1)
    row = one.spaxels.row(k, column)
    total = np.zeros(n * m)
    for step in range(-3, 4):
        y = np.round(row) + step
        share = np.clip(np.minimum(y + 0.5, row + half) - np.maximum(y - 0.5, row - half), 0.0, 1.0)
        inside = (y >= 0) & (y < one.frame.shape[0])
        total += np.where(inside, share * one.frame.data[np.where(inside, y, 0).astype(int), column], 0.0)
    return total.reshape(n, m)


def bias(case: str, flux: np.ndarray, low: float, high: float, *, star: bool = False) -> float:
    """Return the mean relative error of counts of the lenslets that see the star, or of those that see sky alone."""
    one, spectra, true = extracted(case)
    share = one.light.sources[0].share.max(axis=1)
    chosen = share > 0.02 if star else share < 1e-3
    use = spectra.good & (spectra.wave > low) & (spectra.wave < high) & chosen[:, None]
    return float(np.sum((flux - true)[use]) / np.sum(true[use]))


def test_what_deblending_and_scattered_light_buy():
    """The same frame without the scattered light, and as plain sums, which lose what lies beyond their rows, too."""
    one, spectra, _ = extracted("bright")
    own, plain = spectra.flux, top_hat(one, spectra)
    without = ExtractSpaxels(spacing=0.0).run(one.frame, one.spaxels, one.waves).flux
    assert abs(bias("bright", own, 4000, 5000)) < 0.01
    assert abs(bias("bright", own, 5000, 8000, star=True)) < 0.003
    assert bias("bright", without, 4000, 5000) > 0.1
    assert bias("bright", plain, 4000, 5000) > 0.1
    assert bias("bright", without, 5000, 8000, star=True) > 0.005
    assert bias("bright", plain, 5000, 8000, star=True) < -0.03
