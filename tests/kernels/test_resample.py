from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightpipe.kernels import resample
from nightpipe.kernels.arrays import ShapeError
from nightpipe.kernels.resample import EdgesError, rebin, rebin_plain


def spectrum(seed, m=60):
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(0.5, 1.5, m + 1))
    new = np.cumsum(rng.uniform(0.3, 4.0, 50)) - 5
    return edges, rng.normal(10, 3, m), rng.uniform(1, 4, m), rng.random(m) > 0.1, new


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), density=st.booleans(), correlated=st.booleans())
def test_equals_dense_matrix(seed, density, correlated):
    edges, value, var, ok, new = spectrum(seed)
    covariance = np.vstack([0.4 * var, 0.1 * var]) if correlated else None
    result = rebin(edges, value, var, ok, new, density=density, lags=4, covariance=covariance)
    expected, matrix, fraction = rebin_plain(edges, value, var, ok, new, density=density, covariance=covariance)
    np.testing.assert_allclose(result.value, expected, atol=1e-10)
    np.testing.assert_allclose(result.var, np.diag(matrix), atol=1e-10)
    np.testing.assert_allclose(result.fraction, fraction, atol=1e-10)
    for lag in range(1, 5):
        np.testing.assert_allclose(result.covariance[lag - 1, :-lag], np.diag(matrix, lag), atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_contents_are_conserved(seed):
    edges, value, var, _, new = spectrum(seed)
    new = np.concatenate([[edges[0] - 1], new[(new > edges[0]) & (new < edges[-1])], [edges[-1] + 1]])
    result = rebin(edges, value, var, None, new, density=False, lags=8)
    assert result.value.sum() == pytest.approx(value.sum())
    assert result.var.sum() + 2 * result.covariance.sum() == pytest.approx(var.sum())


def test_same_bins_change_nothing():
    edges, value, var, ok, _ = spectrum(1)
    result = rebin(edges, value, var, ok, edges, density=True)
    np.testing.assert_allclose(result.value, np.where(ok, value, 0))
    np.testing.assert_allclose(result.var, np.where(ok, var, 0))
    np.testing.assert_allclose(result.fraction, ok)
    assert not result.covariance.any()


def test_constant_density_stays_constant_beside_masked_bins():
    edges, _, var, ok, new = spectrum(2)
    result = rebin(edges, np.where(ok, 7.0, np.nan), var, ok, new, density=True)
    np.testing.assert_allclose(result.value[result.fraction > 0], 7.0)
    assert (result.fraction < 1).any()
    assert all(np.isfinite(part).all() for part in result)


def test_form_of_the_input_compiles_nothing():
    edges, value, var, ok, new = spectrum(3)
    value.flags.writeable = False
    rebin(edges.astype(">f8"), value, var.astype("f4"), ok.astype(np.uint32), list(new), density=True)
    rebin(edges, value, var, None, new, density=False)
    assert len(resample._rebin.signatures) == 1


def test_unusable_edges_are_refused():
    with pytest.raises(EdgesError):
        rebin([0, 2, 1], [1, 1], [1, 1], None, [0, 1], density=True)
    with pytest.raises(ShapeError):
        rebin([0, 1, 2], [1, 1, 1], [1, 1, 1], None, [0, 1], density=True)
