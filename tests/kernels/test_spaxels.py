from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from nightpipe.kernels import spaxels as module
from nightpipe.kernels.arrays import ShapeError
from nightpipe.kernels.spaxels import column_plain, drawn, fluxes, layout, profiles_plain, reduced

NX, NY, TERMS = 5, 90, 6
OFFSET = np.linspace(-8, 8, 801)
BELOW = 0.95 * ndtr(OFFSET) + 0.05 * ndtr(OFFSET / 2.6)
RNG = np.random.default_rng(4)


def entries():
    column = np.repeat(np.arange(NX), 12)
    centre = np.tile(2.0 + 7.2 * np.arange(12), NX) + RNG.uniform(-0.7, 0.7, column.size)
    centre[3], centre[4] = centre[4] - 2.5, centre[4]  # two that are nearly one
    return column, centre, RNG.uniform(1.0, 1.3, column.size)


@pytest.fixture(scope="module")
def lay():
    column, centre, sigma = entries()
    order = np.lexsort((centre, column))
    return layout(column[order], centre[order], sigma[order], OFFSET, BELOW, NX)


@pytest.fixture(scope="module")
def scene(lay):
    weight = RNG.uniform(0.5, 2.0, (NX, NY)) * (RNG.random((NX, NY)) > 0.05)
    data = drawn(RNG.uniform(100, 1000, lay.first.size), lay, NY) + RNG.normal(0, 3, (NX, NY)) + 20
    return data.astype("f4"), weight.astype("f4"), RNG.uniform(15, 25, (NX, NY)).astype("f4")


def basis():
    first = np.minimum(np.arange(NY) * (TERMS - 3) // NY, TERMS - 4)
    value = RNG.uniform(0, 1, (NY, 4))
    full = np.zeros((NY, TERMS))
    full[np.arange(NY)[:, None], first[:, None] + np.arange(4)] = value
    return first, value, full


def test_shares_are_the_profile_integrated_over_pixels():
    column, centre, sigma = np.zeros(1, dtype=int), np.array([40.3]), np.array([1.2])
    lay = layout(column, centre, sigma, OFFSET, BELOW, 1)
    u = (lay.first[0] + np.arange(lay.share.shape[1] + 1) - 0.5 - 40.3) / 1.2
    inside = np.abs(u) < 8
    expected = np.diff(0.95 * ndtr(u) + 0.05 * ndtr(u / 2.6))
    ok = inside[1:] & inside[:-1]
    np.testing.assert_allclose(lay.share[0][ok], expected[ok], atol=2e-5)
    assert lay.share.sum() == pytest.approx(1.0, abs=3e-3)


def test_fluxes_equal_dense_algebra(lay, scene):
    data, weight, scatter = scene
    found = fluxes(data, weight, scatter, lay)
    for x in range(NX):
        part = slice(lay.start[x], lay.start[x + 1])
        profiles = profiles_plain(x, lay, NY)
        flux, covariance, _, _ = column_plain(data[x], weight[x], scatter[x], profiles, np.ones((NY, 1)))
        np.testing.assert_allclose(found.flux[part], flux, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(found.var[part], np.diag(covariance), rtol=1e-6)
        np.testing.assert_allclose(found.beside[part][:-1], np.diag(covariance, 1), rtol=1e-5, atol=1e-9)
        level = covariance @ profiles.T @ weight[x]
        np.testing.assert_allclose(found.level[part], level, rtol=1e-5)
        np.testing.assert_allclose(found.kept[part], profiles.T @ (weight[x] > 0), rtol=1e-5)


def test_scattered_light_keeps_what_the_spectra_do_not_explain(lay, scene):
    data, weight, scatter = scene
    first, value, full = basis()
    matrix, side = reduced(data, weight, lay, first, value, TERMS)
    for x in range(NX):
        _, _, expected, right = column_plain(data[x], weight[x], scatter[x], profiles_plain(x, lay, NY), full)
        np.testing.assert_allclose(matrix[x], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_allclose(side[x], right, rtol=1e-5, atol=1e-5 * np.abs(right).max())


def test_elimination_gives_what_all_unknowns_together_give(lay, scene):
    data, weight, _ = scene
    first, value, full = basis()
    matrix, side = reduced(data, weight, lay, first, value, TERMS)
    for x in range(NX):
        scatter = full @ np.linalg.solve(matrix[x], side[x])
        profiles = profiles_plain(x, lay, NY)
        root = np.sqrt(weight[x])[:, None]
        together = np.linalg.lstsq(root * np.hstack([profiles, full]), root[:, 0] * data[x], rcond=None)[0]
        ground = np.tile(scatter, (NX, 1))
        flux = fluxes(data, weight, ground, lay).flux[lay.start[x] : lay.start[x + 1]]
        np.testing.assert_allclose(flux, together[: profiles.shape[1]], rtol=1e-3, atol=0.05)


def test_a_spectrum_without_pixels_is_left_out_and_its_neighbours_stand(lay, scene):
    data, weight, scatter = scene
    k = 6
    lost = weight.copy()
    lost[0, max(lay.first[k], 0) : lay.first[k] + lay.share.shape[1]] = 0
    found = fluxes(data, lost, scatter, lay)
    assert found.var[k] == found.flux[k] == found.kept[k] == 0
    assert np.isfinite(found.flux).all()
    assert found.var[0] > 0


def test_only_the_columns_asked_for(lay, scene):
    data, weight, scatter = scene
    every, one = fluxes(data, weight, scatter, lay), fluxes(data, weight, scatter, lay, [2])
    part = slice(lay.start[2], lay.start[3])
    np.testing.assert_array_equal(one.flux[part], every.flux[part])
    assert not one.var[: part.start].any()


def test_entries_must_be_in_order():
    with pytest.raises(ShapeError):
        layout([0, 0], [9.0, 3.0], [1.0, 1.0], OFFSET, BELOW, 1)
    with pytest.raises(ShapeError):
        layout([0, 0], [3.0], [1.0, 1.0], OFFSET, BELOW, 1)


def test_each_kernel_is_compiled_once(lay, scene):
    data, weight, scatter = scene
    fluxes(data.astype("f8"), weight[:, ::1], scatter, lay)
    drawn(np.ones(lay.first.size, dtype="f4"), lay, NY)
    kernels = (module._shares, module._reduce, module._fluxes, module._draw)
    assert [len(one.signatures) for one in kernels] == [1, 1, 1, 1]
