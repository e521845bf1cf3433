"""A few of the benchmark's simulated fields: solved blind, and refused where there is no answer."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCH = Path(__file__).parents[3] / "bench" / "astrometry.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("astrometry_bench", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fields_are_solved_or_refused_and_never_wrong(bench):
    verdicts = [bench.one_field(seed)[0] for seed in range(1, 21)]
    verdicts += [bench.one_field(10_000 + seed, answer=False)[0] for seed in range(5)]
    assert "wrong" not in verdicts
    assert verdicts.count("right") >= 19
    assert verdicts.count("refused") == 5


@pytest.mark.parametrize("seed", [132, 138])
def test_few_stars_tell_the_distortion_to_the_corners(bench, seed):
    assert bench.one_field(seed)[0] == "right"


def test_a_field_whose_brightest_stars_are_saturated_away_is_solved_by_the_fainter_ones(bench):
    assert bench.one_field(92)[0] == "right"


def test_a_joint_fit_is_good_to_a_few_mas(bench):
    seconds, error, found = bench.joint(3, 600)
    assert seconds < 4
    assert error < 3.4
    assert found.left_out == ()
