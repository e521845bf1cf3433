"""Quads and poses: against plain numpy, and that a turned, scaled, mirrored list is found again."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nightpipe.kernels import asterisms
from nightpipe.kernels.arrays import ShapeError


def plain_code(x, y, four):
    """The canonical order, code and size of four stars, by complex numbers; None where C or D is outside the circle."""
    z = x + 1j * y
    a, b = max(combinations(four, 2), key=lambda pair: abs(z[pair[0]] - z[pair[1]]))
    c, d = (star for star in four if star not in (a, b))

    def place(star):
        return (z[star] - z[a]) / (z[b] - z[a])

    if max(abs(place(c) - 0.5), abs(place(d) - 0.5)) > 0.5:
        return None
    if place(c).real + place(d).real > 1:
        a, b = b, a
    if place(c).real > place(d).real:
        c, d = d, c
    return (a, b, c, d), (place(c).real, place(c).imag, place(d).real, place(d).imag), abs(z[b] - z[a])


@pytest.fixture
def stars():
    return np.random.default_rng(2).uniform(0, 100, (2, 12))


def test_quads_are_those_of_plain_numpy(stars):
    x, y = stars
    table = asterisms.quad_table(x, y, smallest=20.0, tolerance=0.01, parity=1)
    plain = [found for four in combinations(range(12), 4) if (found := plain_code(x, y, four)) and found[2] >= 20]
    assert {tuple(row) for row in table.stars.tolist()} == {order for order, _, _ in plain}
    by_order = {order: (code, size) for order, code, size in plain}
    for row, code, size in zip(table.stars.tolist(), table.code, table.size, strict=True):
        assert np.allclose(code, by_order[tuple(row)][0])
        assert size == pytest.approx(by_order[tuple(row)][1])


@pytest.mark.parametrize("hand", [1, -1])
def test_a_turned_list_gives_the_same_quads(stars, hand):
    x, y = stars
    z = 0.3 * np.exp(1.1j) * (x + 1j * hand * y) + 5
    table = asterisms.quad_table(x, y, smallest=10.0, tolerance=1e-6)
    near = np.array([[j for j in range(12) if j != i] for i in range(12)])
    row, found = asterisms.find_quads(table, z.real, z.imag, near, (0.29, 0.31))
    assert row.size >= 4 * table.size.size / 2
    assert (table.stars[row] == found).mean() > 0.99
    assert set(table.parity[row]) == {hand}
    assert not asterisms.find_quads(table, z.real, z.imag, near, (0.31, 0.4))[0].size


def plain_odds(pose, x, y, own, gx, gy, sigma, density):
    a, b, c, d, h = pose
    total, best, used = 0.0, 0.0, set()
    for s in range(len(x)):
        if s in own:
            continue
        px, py = a * x[s] - h * b * y[s] + c, b * x[s] + h * a * y[s] + d
        apart = np.hypot(gx - px, gy - py)
        free = [k for k in np.argsort(apart) if k not in used and apart[k] < 5 * sigma]
        if free:
            used.add(free[0])
            peak = 0.5 / (2 * np.pi * sigma**2 * density)
            total += np.log(0.5 + peak * np.exp(-0.5 * (apart[free[0]] / sigma) ** 2))
        else:
            total += np.log(0.5)
        best = max(best, total)
        if total < best - 25:
            break
    return best


def test_odds_are_those_of_plain_numpy():
    rng = np.random.default_rng(3)
    gx, gy = rng.uniform(0, 10, (2, 80))
    poses = np.column_stack((rng.normal(0, 0.1, (6, 2)), rng.uniform(2, 8, (6, 2)), [1, -1] * 3))
    poses[0] = 0.1, 0.0, 0.0, 0.0, 1.0
    x, y = 10 * gx[:30] + rng.normal(0, 0.5, 30), 10 * gy[:30] + rng.normal(0, 0.5, 30)
    own = np.tile([0, 1, 2, 3], (6, 1))
    grid = asterisms.star_grid(gx, gy, 0.7)
    odds = asterisms.pose_odds(poses, x, y, own, grid, sigma=0.06, density=0.8)
    plain = [plain_odds(pose, x, y, own[0], gx, gy, 0.06, 0.8) for pose in poses]
    assert np.allclose(odds, plain)
    assert odds[0] > 50 > 2 * odds[1:].max()


def test_the_grid_holds_every_star_in_its_cell():
    x, y = np.random.default_rng(4).uniform(-3, 5, (2, 50))
    grid = asterisms.star_grid(x, y, 1.0)
    assert sorted(grid.order) == list(range(50))
    assert np.array_equal(grid.x, x[grid.order])
    for cell in range(grid.columns * grid.rows):
        inside = slice(grid.start[cell], grid.start[cell + 1])
        assert np.all(((grid.y[inside] - grid.origin[1]) // grid.cell) == cell // grid.columns)
    assert asterisms.star_grid([], [], 1.0).x.size == 0


def test_nonsense_is_refused():
    with pytest.raises(ShapeError):
        asterisms.quad_table(np.zeros(61), np.zeros(61), smallest=1.0, tolerance=0.01)
    with pytest.raises(ShapeError):
        asterisms.quad_table(np.zeros(5), np.zeros(6), smallest=1.0, tolerance=0.01)


def test_one_compiled_form(stars):
    x, y = stars
    asterisms.rehearse()
    asterisms.quad_table(list(x), y[::1].astype(">f8"), smallest=1.0, tolerance=0.01)
    for function in (asterisms._all_quads, asterisms._fill, asterisms._find, asterisms._odds):
        assert len(function.signatures) == 1
