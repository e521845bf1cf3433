"""Flexure as one model: a slit's field along the dispersion, and the rigid motion of lenslets."""

import numpy as np
import pytest

from nightpipe.maths.poly import Poly2
from nightpipe.model.warp import Warp

SHAPE = (1501, 2001)
COVARIANCE = np.array([[4e-4, 1e-5, 2e-9], [1e-5, 9e-4, 0.0], [2e-9, 0.0, 1e-12]])


def test_a_rigid_motion_moves_light_as_its_numbers_say():
    warp = Warp.rigid(SHAPE, 0.3, -0.6, 2e-5)
    dx, dy = warp.at(np.array([1000.0, 1400.0]), np.array([750.0, 150.0]))
    np.testing.assert_allclose(dx, [0.3, 0.3 + 2e-5 * 600], atol=1e-12)
    np.testing.assert_allclose(dy, [-0.6, -0.6 + 2e-5 * 400], atol=1e-12)


def test_it_is_told_with_its_errors_as_it_was_given():
    told = np.array(Warp.rigid(SHAPE, 0.3, -0.6, 2e-5, COVARIANCE).told())
    np.testing.assert_allclose(told[:, 0], [0.3, -0.6, 2e-5], rtol=1e-9)
    np.testing.assert_allclose(told[:, 1], np.sqrt(np.diag(COVARIANCE)), rtol=1e-9)


def test_the_error_away_from_the_middle_holds_the_turn():
    warp = Warp.rigid(SHAPE, 0.3, -0.6, 2e-5, COVARIANCE)
    lever = np.array([1.0, 0.0, -600.0])
    assert float(np.squeeze(warp.along.sigma(0.0, 1350.0))) == pytest.approx(
        np.sqrt(lever @ COVARIANCE @ lever), rel=1e-9
    )


def test_a_slit_moves_along_its_dispersion_only():
    warp = Warp(Poly2(np.array([[0.2, 0.05]]), (0.0, 2000.0), (0.0, 1500.0), np.diag([1e-4, 1e-6])))
    dx, dy = warp.at([100.0, 1900.0], [0.0, 1500.0])
    np.testing.assert_allclose(dx, [0.15, 0.25])
    assert (dy == 0).all()
    (x, error), *rest = warp.told()
    assert (x, error) == (pytest.approx(0.2), pytest.approx(0.01))
    assert rest == [(0.0, 0.0), (0.0, 0.0)]
