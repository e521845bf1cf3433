"""The law of the noise, given or read off a frame."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.photons import NoiseLaw, law_from_counts


def test_the_law_is_recovered_from_counts_and_variance():
    rng = np.random.default_rng(1)
    flat = np.linspace(0.7, 1.2, 30)[:, None]
    electrons = rng.poisson(80.0, (30, 200)) + rng.normal(0, 5, (30, 200))
    data, var = electrons / flat, (np.maximum(electrons, 0) + 25.0) / flat**2
    law = law_from_counts(data.astype(np.float32), var.astype(np.float32), np.ones(data.shape, dtype=bool))
    np.testing.assert_allclose(law.slope, 1 / flat, rtol=1e-3)
    np.testing.assert_allclose(np.median(law.floor, axis=1)[:, None], 25 / flat**2, rtol=1e-2)


def test_a_variance_that_ignores_the_counts_stays_as_it_is():
    data = np.random.default_rng(2).normal(100, 10, (20, 100)).astype(np.float32)
    law = law_from_counts(data, np.full(data.shape, 7.0, dtype=np.float32), np.ones(data.shape, dtype=bool))
    np.testing.assert_allclose(law.variance(1000.0 * np.ones(data.shape)), 7.0, rtol=1e-3)


def test_light_below_zero_adds_no_photons():
    law = NoiseLaw(np.full((2, 2), 9.0), np.ones((1, 1)), np.zeros((1, 1)))
    assert law.variance(np.full((2, 2), -5.0)) == pytest.approx(9.0)
    assert law.rows(slice(0, 1)).floor.shape == (1, 2)
