"""Emission lines of many spectra against their plain twin, derivatives against differences."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.kernels import linefield

ALONG = np.array([-0.8, 0.1, 0.5])


def spectra(n=3):
    rng = np.random.default_rng(1)
    coef = np.stack([30 + rng.uniform(-1, 1, n), np.full(n, 25.0), rng.uniform(-1, 1, n)], axis=1)
    return coef, np.full((n, 3), 1.2), rng.uniform(100, 500, (n, 3))


def places(coef):
    return coef @ (ALONG[None, :] ** np.arange(coef.shape[1])[:, None])


def test_the_model_is_that_of_the_plain_twin_and_holds_all_light():
    coef, sigma, flux = spectra()
    out = linefield.design(places(coef), sigma, flux, ALONG, 60, moves=3, widths=1, gains=2)
    assert np.abs(out[..., 0] - linefield.model_plain(places(coef), sigma, flux, 60)).max() < 1e-3
    assert out[..., 0].sum(axis=1) == pytest.approx(flux.sum(axis=1), rel=1e-5)
    share = linefield.each(places(coef)[0], sigma[0], 60)
    assert flux[0] @ share == pytest.approx(out[0, :, 0], abs=1e-9)


@pytest.mark.parametrize("term", [0, 1, 2])
def test_derivatives_are_those_of_differences(term):
    coef, sigma, flux = spectra()
    out = linefield.design(places(coef), sigma, flux, ALONG, 60, moves=3, widths=1, gains=2)
    step = np.zeros(3)
    step[term] = 1e-4
    up, down = (linefield.model_plain(places(coef + sign * step), sigma, flux, 60) for sign in (1, -1))
    assert np.abs(out[..., 1 + term] - (up - down) / 2e-4).max() < 0.05
    up, down = (linefield.model_plain(places(coef), sigma + sign * 1e-4, flux, 60) for sign in (1, -1))
    assert np.abs(out[..., 4] - (up - down) / 2e-4).max() < 0.05
    assert np.abs(out[..., 6] - linefield.model_plain(places(coef), sigma, flux * ALONG, 60)).max() < 1e-3


def test_one_compiled_signature():
    linefield.rehearse()
    assert len(linefield._design.signatures) == 1
    assert len(linefield._each.signatures) == 1
