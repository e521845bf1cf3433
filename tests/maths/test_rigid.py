from __future__ import annotations

import numpy as np

from builders.pulls import bounds, whitened
from nightpipe.maths.rigid import fit_rigid
from nightpipe.maths.skyfield import Points

CENTRE, PRIOR = (1000.0, 900.0), (1.0, 1.0, 1e-3)
TRUE = np.array([0.31, -0.72, 2.5e-5])
LEAN = np.full(16, 0.02)


def points(seed=1, lines=6):
    rng = np.random.default_rng(seed)
    dx, dy, turn = TRUE
    y, line = np.tile(np.linspace(200, 1600, 4), lines), np.repeat(np.arange(lines), 4)
    doubt = np.full(lines, 0.02)
    shift = dx - turn * (y - CENTRE[1]) + rng.normal(0, doubt)[line] + rng.normal(0, 0.01, y.size)
    along = Points(np.full(y.size, 1000.0), y, shift, np.full(y.size, 0.01), line, doubt)
    u, v = (part.ravel() for part in np.meshgrid(np.linspace(100, 1900, 4), np.linspace(100, 1700, 4)))
    up = dy + turn * (u - CENTRE[0]) - LEAN * dx + rng.normal(0, 0.004, u.size)
    across = Points(u, v, up, np.full(u.size, 0.004), np.zeros(u.size, dtype=int), np.full(1, 1e-6))
    return along, across


def test_the_motion_comes_back_with_honest_covariance():
    found = [fit_rigid(*points(seed), LEAN, CENTRE, PRIOR) for seed in range(200)]
    pulls = np.concatenate([whitened(one.values - TRUE, one.covariance) for one in found])
    mean, spread = bounds(pulls.size)
    assert abs(pulls.mean()) < mean
    assert abs(pulls.std() - 1) < spread + 0.1  # scaled by chi2 only above 1: a little too wide


def test_a_line_out_of_place_loses_its_weight():
    along, across = points()
    along.shift[along.line == 2] += 0.8
    found = fit_rigid(along, across, LEAN, CENTRE, PRIOR)
    assert found.line_weight[2] < 0.1
    assert abs(found.values[0] - TRUE[0]) < 0.05


def test_without_lines_the_columns_are_as_uncertain_as_expected():
    _, across = points()
    none = np.zeros(0)
    found = fit_rigid(Points(none, none, none, none, none.astype(int), none), across, LEAN, CENTRE, PRIOR)
    assert 0.9 < np.sqrt(found.covariance[0, 0]) <= 1.1
    assert abs(found.values[1] - LEAN[0] * found.values[0] - (TRUE[1] - LEAN[0] * TRUE[0])) < 0.01
