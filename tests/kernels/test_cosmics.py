from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightpipe.kernels import cosmics
from nightpipe.kernels.arrays import ShapeError
from nightpipe.kernels.cosmics import lacosmic
from nightpipe.kernels.cosmics_plain import lacosmic_plain
from nightpipe.kernels.medians import median5, running_median, spectral_model

READ = 5.0


def tracks(shape, count, rng, charge=(300.0, 3000.0)):
    """Straight tracks of random length and direction, charge spread by diffusion."""
    image = np.zeros(shape)
    for _ in range(count):
        length, angle = rng.exponential(4.0), rng.uniform(0, 2 * np.pi)
        steps = int(20 + 10 * length)
        along = np.linspace(0, length, steps)
        y = rng.uniform(0, shape[0] - 1) + along * np.sin(angle) + rng.normal(0, 0.3, steps)
        x = rng.uniform(0, shape[1] - 1) + along * np.cos(angle) + rng.normal(0, 0.3, steps)
        row, column = np.rint(y).astype(int), np.rint(x).astype(int)
        inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
        np.add.at(image, (row[inside], column[inside]), rng.uniform(*charge) / steps)
    return image


def spectrum(rng, shape=(120, 200)):
    """A tilted sky-line spectrum with a continuum: expected electrons."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    expected = np.full(shape, 20.0)
    for centre in rng.uniform(0, shape[1], 12):
        expected += rng.uniform(50, 2000) * np.exp(-0.5 * ((x - centre - 0.004 * y) / 0.9) ** 2)
    return expected + 600.0 * np.exp(-0.5 * ((y - 60 - 0.01 * x) / 2.5) ** 2)


def observed(expected, rng):
    return rng.poisson(expected) + rng.normal(0, READ, expected.shape)


@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_equals_plain_numpy(seed, with_model):
    rng = np.random.default_rng(seed)
    expected = spectrum(rng, (70, 60))
    data = observed(expected + tracks(expected.shape, 12, rng), rng).astype(np.float32).astype(float)
    mask = rng.random(data.shape) < 0.02
    mask[:, 17] = True
    model = expected.astype(np.float32).astype(float) if with_model else None
    result = lacosmic(data, READ**2, mask, model=model, model_error=0.0)
    np.testing.assert_array_equal(result, lacosmic_plain(data, READ**2, mask, model=model))
    assert result.sum() > 30


def test_finds_nearly_all_and_little_else():
    found, missed, false, quiet = 0, 0, 0, 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        expected = spectrum(rng)
        hits = tracks(expected.shape, 25, rng)
        data = observed(expected + hits, rng)
        result = lacosmic(data, READ**2, model=spectral_model(data))
        strong = hits > 5 * np.sqrt(expected + READ**2)
        found += (result & strong).sum()
        missed += (strong & ~result).sum()
        false += (result & (hits < 0.5 * np.sqrt(expected + READ**2))).sum()
        clean = observed(expected, rng)
        quiet += lacosmic(clean, READ**2, model=spectral_model(clean)).sum()
    assert found / (found + missed) > 0.93
    assert false / found < 0.08
    assert quiet <= 8


def test_emission_lines_of_an_object_survive():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:100, :300]
    expected = np.full(y.shape, 15.0)
    for k, peak in enumerate((100, 300, 1000, 3000, 10_000, 30_000)):
        for row in (20, 50, 80):
            centre = 25 + 48 * k + rng.uniform(-0.5, 0.5)
            expected = expected + peak * np.exp(-0.5 * (((x - centre) / 0.9) ** 2 + ((y - row) / 1.3) ** 2))
    data = observed(expected, rng)
    assert lacosmic(data, READ**2, model=spectral_model(data)).sum() <= 2


def test_a_hit_on_a_bright_star_is_found_and_the_star_is_not():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:80, :300]
    expected = 10 + 30_000 * np.exp(-0.5 * ((y - 40 - 0.01 * x) / 2.5) ** 2) * (
        1 - 0.6 * np.exp(-0.5 * ((x - 150) / 2) ** 2)
    )
    hits = np.zeros(expected.shape)
    hits[40:43, 60] = 4000.0
    data = observed(expected + hits, rng)
    result = lacosmic(data, READ**2, model=spectral_model(data))
    assert result[40:43, 60].all()
    assert result.sum() <= 6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.6))
def test_never_touches_masked_pixels(seed, share):
    rng = np.random.default_rng(seed)
    data = observed(np.full((40, 45), 30.0) + tracks((40, 45), 8, rng), rng)
    mask = rng.random(data.shape) < share
    data[mask] = rng.choice([np.nan, np.inf, 1e9, -1e9], mask.sum())
    result = lacosmic(data, READ**2, np.isfinite(data) & mask)
    assert not (result & mask).any()
    assert result.dtype == bool


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), down=st.integers(-40, 40), right=st.integers(-5, 5))
def test_moves_with_the_image(seed, down, right):
    rng = np.random.default_rng(seed)
    hits = np.zeros((160, 60))
    hits[50:110, 15:45] = tracks((60, 30), 8, rng)
    data = observed(20 + hits, rng)
    moved = np.roll(data, (down, right), (0, 1))
    inside = np.zeros(data.shape, bool)
    inside[48:112, 13:47] = True
    first, second = (lacosmic(image, READ**2, model=np.full(data.shape, 20.0)) for image in (data, moved))
    np.testing.assert_array_equal(
        np.roll(first & inside, (down, right), (0, 1)), second & np.roll(inside, (down, right), (0, 1))
    )


def test_medians():
    image = np.random.default_rng(1).normal(size=(41, 30)).astype(np.float32)
    out = np.empty_like(image)
    median5(image, out)
    rows = np.median([np.pad(image, ((2, 2), (0, 0)), mode="edge")[k : k + 41] for k in range(5)], axis=0)
    both = np.median([np.pad(rows, ((0, 0), (2, 2)), mode="edge")[:, k : k + 30] for k in range(5)], axis=0)
    np.testing.assert_array_equal(out, both)
    bad = (np.random.default_rng(2).random(image.shape) < 0.3).astype(np.uint8)
    smooth = running_median(image, bad, 6)
    holes = np.where(bad, np.nan, image)
    for row in (0, 4, 20, 40):
        np.testing.assert_allclose(smooth[row], np.nanmedian(holes[max(row - 6, 0) : row + 7], axis=0), rtol=1e-6)


def test_spectral_model_follows_lines_and_objects_but_no_hits():
    rng = np.random.default_rng(1)
    expected = spectrum(rng)
    hits = tracks(expected.shape, 20, rng)
    model = spectral_model(expected + hits)
    core = (slice(25, 95), slice(25, 175))
    assert np.median(np.abs(model - expected)[core] / np.sqrt(expected[core] + 25)) < 0.2
    assert np.percentile((model - expected)[core] / np.sqrt(expected[core] + 25), 99) < 3


def test_form_of_the_input_compiles_nothing():
    rng = np.random.default_rng(1)
    data = observed(20 + tracks((60, 60), 8, rng), rng).astype(np.float32)
    expected = lacosmic(data, READ**2)
    read_only = data.copy()
    read_only.flags.writeable = False
    for form in (read_only, data.astype(">f4"), np.asfortranarray(data), np.repeat(data, 2, 1)[:, ::2]):
        noise = np.full(data.shape, READ**2)
        np.testing.assert_array_equal(
            lacosmic(form, noise, np.zeros(data.shape, np.uint32), photon=np.ones_like(noise)), expected
        )
    kernels = (cosmics._begin, cosmics._scan, cosmics._join, cosmics._fill)
    assert [len(one.signatures) for one in kernels] == [1, 1, 1, 1]


def test_unlike_shapes_are_refused():
    with pytest.raises(ShapeError):
        lacosmic(np.zeros((9, 9)), 1.0, np.zeros((9, 8)))
