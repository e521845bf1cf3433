from __future__ import annotations

import numpy as np
import pytest

from nightpipe.kernels import hexlight
from nightpipe.kernels.hexlight import light_in_hexagons, light_plain, slopes_in_hexagons
from nightpipe.maths.hexagons import hexagon_of
from nightpipe.maths.mixtures import SHARES, star

POINT = np.array([[1.0, 0.0, 0.0, 0.0]])
GALAXY = np.array([[0.6, 1.0, 0.5, 0.2], [0.4, 4.0, 2.0, -0.3]])


def field(size=12):
    q, r = (part.ravel() for part in np.mgrid[-size : size + 1, -size : size + 1])
    x, y = 0.635 * (q + r / 2), 0.635 * np.sqrt(3) / 2 * r
    return hexagon_of(q, r, x, y), np.column_stack([x, y])


@pytest.mark.parametrize("body", [POINT, GALAXY])
def test_kernel_equals_plain_numpy(body):
    hexagon, place = field()
    fwhm = np.linspace(1.2, 2.4, len(place))
    shape, blur = np.column_stack(star(*SHARES)), np.array([0.1, 0.15, 0.02])
    nodes, weights = hexagon.nodes()
    fast = light_in_hexagons(place, fwhm, shape, blur, body, nodes, weights, hexagon.area, hexagon.variance)
    plain = light_plain(place, fwhm, shape, blur, body, nodes, weights, hexagon.area)
    assert np.abs(fast - plain).max() < 3e-4 * plain.max()


@pytest.mark.parametrize("body", [POINT, GALAXY])
def test_slopes_are_those_of_plain_numpy(body):
    hexagon, place = field(8)
    fwhm = np.linspace(1.2, 2.4, len(place))
    shape, blur = np.column_stack(star(*SHARES)), np.array([0.1, 0.15, 0.02])
    nodes, weights = hexagon.nodes()
    found = slopes_in_hexagons(place, fwhm, shape, blur, body, nodes, weights, hexagon.area, hexagon.variance)

    def plain(k, step):
        offset, seeing, guiding = place.copy(), fwhm.copy(), blur.copy()
        if k < 2:
            offset[:, k] += step
        elif k == 2:
            seeing *= np.exp(step)
        else:
            guiding[k - 3] += step
        return light_plain(offset, seeing, shape, guiding, body, nodes, weights, hexagon.area)

    for k in range(6):
        numeric = (plain(k, 1e-4) - plain(k, -1e-4)) / 2e-4
        assert np.abs(found[:, k] - numeric).max() < 3e-3 * np.abs(numeric).max()


def test_all_the_light_falls_on_an_endless_field():
    hexagon, place = field(60)
    nodes, weights = hexagon.nodes()
    shape = np.array([[0.7, 0.42], [0.3, 0.9]])
    away = place + np.array([0.21, -0.13])
    found = light_in_hexagons(
        away, np.full(len(place), 1.7), shape, np.zeros(3), GALAXY, nodes, weights, hexagon.area,
        hexagon.variance,
    )  # fmt: skip
    assert found.sum() == pytest.approx(1.0, abs=2e-4)


def test_a_hexagon_is_integrated_as_finely_as_by_brute_force():
    hexagon, _ = field()
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.4, 0.4, (400_000, 2))
    corners = hexagon.corners
    inside = np.ones(len(points), dtype=bool)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (b[0] - a[0]) * (points[:, 1] - a[1]) - (b[1] - a[1]) * (points[:, 0] - a[0]) >= 0
    nodes, weights = hexagon.nodes()
    for away in (0.0, 0.5, 1.5):
        shape = np.array([[1.0, 0.42]])
        found = light_in_hexagons(
            np.array([[away, 0.1]]), np.array([1.4]), shape, np.zeros(3), POINT, nodes, weights, hexagon.area,
            hexagon.variance,
        )[0]  # fmt: skip
        s2 = (0.42 * 1.4) ** 2
        d2 = (points[inside, 0] + away) ** 2 + (points[inside, 1] + 0.1) ** 2
        truth = hexagon.area * np.mean(np.exp(-0.5 * d2 / s2)) / (2 * np.pi * s2)
        assert found == pytest.approx(truth, rel=3e-3)


def test_one_signature():
    hexlight.rehearse()
    _, place = field(1)
    light_in_hexagons(place[::-1], np.ones(len(place)), np.ones((1, 2)), np.zeros(3), POINT, np.zeros((7, 2)),
                      np.ones(7), 1.0, 0.03)  # fmt: skip
    slopes_in_hexagons(place[::-1], np.ones(len(place)), np.ones((1, 2)), np.zeros(3), POINT, np.zeros((7, 2)),
                       np.ones(7), 1.0, 0.03)  # fmt: skip
    assert len(hexlight._hexlight.signatures) == 1
    assert len(hexlight._hexslopes.signatures) == 1
