from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightpipe.base.errors import NoSolutionError
from nightpipe.kernels import warp as module
from nightpipe.kernels.warp import Source, table, tiles, warp, warp_plain
from nightpipe.maths.covariance import resampled_covariance, variance_factor
from nightpipe.maths.warpmap import coarse

SHAPE = (48, 56)


def turned(angle=0.05, dx=-3.3, dy=2.2, scale=1.0):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return lambda x, y: (c * x - s * y + dx, s * x + c * y + dy)


def scene(seed, shape=SHAPE, bad=0.0):
    rng = np.random.default_rng(seed)
    mask = np.where(rng.random(shape) < bad, 1, 0).astype(np.uint32)
    return Source(rng.normal(50, 5, shape).astype("f4"), rng.uniform(1, 2, shape).astype("f4"), mask, 1)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), angle=st.floats(-3, 3), stretch=st.sampled_from([1.0, 1.5]))
def test_equals_plain_numpy(seed, angle, stretch):
    source = scene(seed, bad=0.01)
    forward = turned(angle, 25, 20, stretch)
    got = warp(source, coarse(forward, (30, 30)), (30, 30), stretch=stretch, local=False)
    y, x = np.mgrid[:30, :30].astype(float)
    plain = warp_plain(source.data, source.var, source.mask, *forward(x, y), stretch=stretch)
    both = (got.bits == 0) & (plain.bits == 0)
    assert ((got.bits == 0) != (plain.bits == 0)).mean() < 0.01  # where the share lost is at the limit itself
    np.testing.assert_allclose(got.value[both], plain.value[both], atol=0.02)
    np.testing.assert_allclose(got.var[both], plain.var[both], rtol=0.01, atol=2e-3)


@settings(max_examples=10, deadline=None)
@given(dx=st.integers(-5, 5), dy=st.integers(-5, 5))
def test_whole_pixels_are_moved_unchanged(dx, dy):
    source = scene(1)
    got = warp(source, coarse(lambda x, y: (x + dx, y + dy), SHAPE), SHAPE)
    inner = got.bits == 0
    expected = np.roll(source.data, (-dy, -dx), (0, 1))
    np.testing.assert_allclose(got.value[inner], expected[inner], rtol=1e-5)
    assert inner[8:-8, 8:-8].all()


def test_flux_of_a_star_is_conserved_on_larger_and_smaller_pixels():
    y, x = np.mgrid[:80, :80]
    star = (1e4 * np.exp(-0.5 * ((x - 40.3) ** 2 + (y - 39.6) ** 2) / 1.7**2)).astype("f4")
    source = Source(star, star, np.zeros(star.shape, np.uint32), 1)
    for scale in (0.7, 1.0, 1.3):
        shape = (int(80 / scale),) * 2
        nodes = coarse(turned(0.3, 12, -11, scale), shape)
        got = warp(source, nodes, shape, stretch=max(scale, 1.0))
        assert got.value.sum() == pytest.approx(star.sum(), rel=1e-3)
        assert nodes.area[2, 2] == pytest.approx(scale**2)


def test_constant_stays_constant_beside_bad_pixels_and_all_is_finite():
    source = scene(2, bad=0.02)
    data = np.where(source.mask != 0, np.nan, 7.0).astype("f4")
    got = warp(source._replace(data=data), coarse(turned(), SHAPE), SHAPE, local=False)
    assert np.isfinite(got.value).all()
    assert np.isfinite(got.var).all()
    np.testing.assert_allclose(got.value[got.bits == 0], 7.0, rtol=1e-5)
    assert not got.value[got.bits != 0].any()


def test_bad_pixels_give_their_bits_to_those_they_would_have_made():
    source = scene(3)
    source.mask[20, 30] = 1 | 64
    got = warp(source, coarse(lambda x, y: (x + 0.5, y), SHAPE), SHAPE)
    assert set(got.bits[20, 29:31]) == {65}
    assert got.bits[20, 35] == 0
    assert (got.bits[:, -1] == module.OUTSIDE).all()


def test_windows_of_a_turned_image_join_without_seams():
    source = scene(4, (700, 600))
    forward = turned(np.pi / 2 + 0.01, 590, 5)
    nodes = coarse(forward, (600, 700))
    whole = warp(source, nodes, (600, 700))
    part = module.warp_window(source, nodes, (250, 262, 500, 530), table())
    np.testing.assert_array_equal(part.value, whole.value[250:262, 500:530])
    assert sum((b - a) * (d - c) for a, b, c, d in tiles((600, 700))) == 600 * 700


def test_nodes_stand_nearer_where_the_map_bends_and_a_wild_map_is_refused():
    def bent(x, y):
        return x + 3 * np.sin(x / 60), y

    nodes = coarse(bent, (300, 300))
    assert nodes.step < 64
    assert nodes.error <= 1e-3
    with pytest.raises(NoSolutionError, match="smooth"):
        coarse(lambda x, y: (x + 3 * np.sin(x), y), (100, 100))


def test_form_of_the_input_compiles_nothing():
    source = scene(5)
    nodes = coarse(turned(), SHAPE)
    warp(source, nodes, SHAPE)
    before = len(module._lanczos.signatures)
    warp(Source(source.data.astype(">f4"), source.var.astype(float), source.mask.astype(np.uint8), 1), nodes, SHAPE)
    assert len(module._lanczos.signatures) == before == 1


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.4])
def test_covariance_is_that_of_resampled_noise(scale):
    rng = np.random.default_rng(6)
    shape, forward = (500, 500), turned(0.02, 20, 5, scale)
    noise = rng.normal(0, 1, (800, 800)).astype("f4")
    stretch = max(scale, 1.0)
    got = warp(Source(noise, np.ones_like(noise), np.zeros(noise.shape, np.uint32), 1), coarse(forward, shape), shape,
               stretch=stretch, local=False)  # fmt: skip
    value = np.where(got.bits == 0, got.value, 0.0)
    good = (got.bits == 0).astype(float)
    grid = np.stack(np.meshgrid(np.arange(5, 495, 17), np.arange(3, 490, 19)), axis=-1).reshape(-1, 2)
    model = resampled_covariance(forward, grid.astype(float), 4, stretch)
    for v, u in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 1)):
        a, b = value[v:, u:], value[: 500 - v, : 500 - u]
        pairs = (good[v:, u:] * good[: 500 - v, : 500 - u]).sum()
        assert (a * b).sum() / pairs == pytest.approx(model[4 + v, 4 + u], abs=0.012)
    total = resampled_covariance(forward, grid.astype(float), 12, stretch).sum()
    assert total == pytest.approx(1 / scale**2, rel=0.02)


def test_factor_of_one_pixel_is_one_and_of_many_the_sum():
    correlation = np.array([[0.0, 0.1, 0.0], [0.1, 1.0, 0.1], [0.0, 0.1, 0.0]])
    assert variance_factor(correlation, np.ones((1, 1))) == pytest.approx(1.0)
    assert variance_factor(correlation, np.ones((200, 200))) == pytest.approx(correlation.sum(), rel=0.01)


@pytest.mark.peer
def test_agrees_with_spline_interpolation_on_a_smooth_image():
    from scipy import ndimage

    y, x = np.mgrid[:100, :100]
    image = (100 * np.exp(-0.5 * ((x - 51) ** 2 + (y - 47) ** 2) / 4.0**2)).astype("f4")
    forward = turned(0.1, 5, -4)
    got = warp(Source(image, image, np.zeros(image.shape, np.uint32), 1), coarse(forward, (90, 90)), (90, 90))
    v, u = np.mgrid[:90, :90].astype(float)
    px, py = forward(u, v)
    spline = ndimage.map_coordinates(image.astype(float), [py, px], order=5)
    np.testing.assert_allclose(got.value[got.bits == 0], spline[got.bits == 0], atol=0.4)
