"""Levels of meshes against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.kernels import meshes
from nightpipe.kernels.arrays import ShapeError
from nightpipe.maths.robust import clipped_stats, truncation


@pytest.fixture
def sky():
    rng = np.random.default_rng(3)
    data = rng.normal(100, 5, (70, 90)).astype(np.float32)
    data[10:20, 15:25] += rng.uniform(0, 300, (10, 10)).astype(np.float32)
    bad = rng.random(data.shape) < 0.1
    bad[32:64, 64:90] = True
    return data, bad


@pytest.mark.parametrize("thin", [1, 5])
def test_levels_are_the_clipped_means_of_each_mesh(sky, thin):
    data, bad = sky
    found = meshes.clipped_levels(data, bad, 32, clip=2.5, truncation=truncation(2.5), thin=thin)
    assert found.shape == (3, 3)
    for j, i in np.ndindex(3, 3):
        part = slice(32 * j, 32 * j + 32), slice(32 * i, 32 * i + 32)
        pixels = data[part][~bad[part]]
        if pixels.size < 32:
            assert np.isnan(found[j, i])
        else:
            assert found[j, i] == pytest.approx(clipped_stats(pixels[::thin], 2.5)[0], rel=1e-9)


def test_values_that_are_all_but_alike_keep_a_scale():
    data = np.full((8, 8), 7.0, np.float32)
    data[0, :3] = 8.0  # the median absolute deviation is nothing
    found = meshes.clipped_levels(data, data * 0, 8, clip=2.5, truncation=truncation(2.5))
    assert found[0, 0] == pytest.approx(clipped_stats(data, 2.5)[0])


def test_sums_of_pixels_near_a_level_are_those_of_the_plain_twin(sky):
    data, bad = sky
    var = np.random.default_rng(4).uniform(15, 35, data.shape).astype(np.float32)
    rows, columns = np.array([0, 20, 50, 70]), np.array([0, 45, 90])
    found = meshes.sums_near(data, var, bad, rows, columns, 101.0)
    expected = meshes.sums_near_plain(data, var, bad, rows, columns, 101.0)
    assert found[1].tolist() == expected[1].tolist()
    assert found[0] == pytest.approx(expected[0], rel=1e-6)


def test_form_of_the_input_compiles_nothing(sky):
    data, bad = sky
    for form in (data, data.astype(">f8"), np.asfortranarray(data)):
        meshes.clipped_levels(form, bad, 32, clip=2.5, truncation=0.9)
        meshes.sums_near(form, form, bad.astype(np.uint32), [0, 70], [0, 90], 1)
    assert [len(one.signatures) for one in (meshes._levels, meshes._sums)] == [1, 1]


def test_unlike_shapes_are_refused():
    with pytest.raises(ShapeError):
        meshes.clipped_levels(np.zeros((9, 9)), np.zeros((9, 8)), 4, clip=2.5, truncation=0.9)
