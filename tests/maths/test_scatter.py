from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.scatter import cubic_basis, fit_scatter

NX, NY = 60, 50


def normal(data, weight, across):
    full = across.full
    return (
        np.einsum("xy,yi,yj->xij", weight, full, full),
        np.einsum("xy,yi->xi", weight * data, full),
    )


def test_the_basis_sums_to_one_and_reaches_both_ends():
    basis = cubic_basis(100, 30.0)
    assert basis.count == 6
    np.testing.assert_allclose(basis.full.sum(axis=1), 1.0)
    assert basis[10:20].full.shape == (10, 6)
    assert cubic_basis(5, 100.0).count == 4


def test_a_cubic_surface_comes_back_exactly():
    x, y = np.mgrid[:NX, :NY] / 50.0
    surface = 3.0 + x - 2 * y + x * y**2 - 0.5 * x**3
    along, across = cubic_basis(NX, 20.0), cubic_basis(NY, 20.0)
    fit = fit_scatter(*normal(surface, np.ones((NX, NY)), across), along, across, covariance=False)
    np.testing.assert_allclose(fit.image(), surface, atol=2e-3)
    assert not fit.variance(10).any()


def test_where_nothing_was_measured_the_surface_goes_on():
    weight = np.ones((NX, NY))
    weight[:, 20:] = 0
    along, across = cubic_basis(NX, 20.0), cubic_basis(NY, 10.0)
    fit = fit_scatter(*normal(np.full((NX, NY), 7.0), weight, across), along, across, covariance=False)
    np.testing.assert_allclose(fit.image(), 7.0, rtol=0.02)


def test_its_variance_is_that_of_many_draws():
    rng, along, across = np.random.default_rng(1), cubic_basis(NX, 20.0), cubic_basis(NY, 25.0)
    weight = np.full((NX, NY), 0.25)
    fits = []
    for _ in range(300):
        data = 5.0 + rng.normal(0, 2, (NX, NY))
        fits.append(fit_scatter(*normal(data, weight, across), along, across, covariance=True))
    found = np.var([fit.image()[::7, ::7] for fit in fits], axis=0)
    assert np.median(found / fits[0].variance(7)) == pytest.approx(1.0, abs=0.05)
