from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.hexagons import hexagon_of, neighbours_of
from nightpipe.maths.mixtures import _TABLE, SHARES, _moffat, sersic, star
from nightpipe.simulate.turbulence import _SIZE, _STEP, _image


def gaussians(radius, weight, width):
    return (weight / (2 * np.pi * width**2) * np.exp(-0.5 * (radius[:, None] / width) ** 2)).sum(axis=1)


@pytest.mark.parametrize(("alpha", "beta"), [(1.2, 4.35), (0.835, 11 / 6)])
def test_a_moffat_is_a_sum_of_gaussians(alpha, beta):
    radius = np.linspace(0, 6, 61)
    truth = (beta - 1) / (np.pi * alpha**2) * (1 + (radius / alpha) ** 2) ** -beta
    np.testing.assert_allclose(gaussians(radius, _moffat(alpha, beta), _TABLE), truth, rtol=0.02, atol=1e-4 * truth[0])


def test_a_star_is_what_turbulence_makes_of_it():
    weight, width = star(*SHARES)
    assert weight.sum() == pytest.approx(1.0)
    grid = (np.arange(_SIZE) - _SIZE // 2) * _STEP
    image = _image(5000.0, 0.058)
    row = image[_SIZE // 2] / _STEP**2
    inside = np.abs(grid) < 12
    scales = np.linspace(1.2, 2.2, 201)
    models = [gaussians(np.abs(grid[inside]), weight, width * scale) for scale in scales]
    best = models[int(np.argmin([np.abs(model - row[inside]).sum() for model in models]))]
    # an outer scale of 25 m makes the core a little narrower than Kolmogorov's: within 3% of the peak
    assert np.abs(best - row[inside]).max() < 0.03 * row.max()


@pytest.mark.parametrize("index", [0.6, 1.0, 2.0, 4.0])
def test_a_galaxy_has_half_its_light_within_its_radius(index):
    weight, width = sersic(index)
    assert weight.sum() == pytest.approx(1.0)
    within = (weight * (1 - np.exp(-0.5 / width**2))).sum()
    assert within == pytest.approx(0.5, abs=0.04)


def test_pitch_area_and_neighbours_of_a_lattice():
    q, r = (part.ravel() for part in np.mgrid[-5:6, -5:6])
    turn = np.radians(17.0)
    x, y = 0.6 * (q + r / 2), 0.6 * np.sqrt(3) / 2 * r
    east, north = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    hexagon = hexagon_of(q, r, east, north)
    assert hexagon.pitch == pytest.approx(0.6)
    assert hexagon.area == pytest.approx(np.sqrt(3) / 2 * 0.36)
    assert np.hypot(*hexagon.corners.T) == pytest.approx(0.6 / np.sqrt(3))
    points, weights = hexagon.nodes()
    assert weights @ points[:, 0] ** 2 == pytest.approx(hexagon.variance)
    around = neighbours_of(q, r)
    middle = int(np.flatnonzero((q == 0) & (r == 0))[0])
    away = np.hypot(east[around[middle]] - east[middle], north[around[middle]] - north[middle])
    assert away == pytest.approx(0.6)
    assert (around >= 0).sum(axis=1).min() == 2
