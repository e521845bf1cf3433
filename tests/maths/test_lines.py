"""The shape, detection and width of emission lines."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.lines import (
    LineShape,
    detect,
    floor,
    full_width,
    gaussian_shape,
    isolated,
    measure_shape,
    strongest,
)

N = 800


def spectrum(places, heights, shape, level=50.0):
    x = np.arange(N, dtype=float)
    return level + sum(h * shape(x - p, p) for p, h in zip(places, heights, strict=True))


@pytest.mark.parametrize("box", [1.0, 3.0])
def test_profile_has_unit_area(box):
    shape = LineShape(1.2, 0.0, box, (0.0, N - 1.0))
    x = np.arange(N, dtype=float)
    assert abs(shape(x - 400.3, 400.3).sum() - 1) < 1e-9


def test_profile_slope_is_the_derivative_by_the_centre():
    shape = LineShape(1.1, 0.0, 2.0, (0.0, N - 1.0))
    d = np.linspace(-5, 5, 41)
    numeric = (shape(d - 1e-5, 0.0) - shape(d + 1e-5, 0.0)) / 2e-5
    assert np.allclose(shape.slope_at(d, 0.0), numeric, atol=1e-6)


def test_full_width_of_gaussian_and_of_box():
    assert abs(full_width(1.0, 1e-3)[0] - 2.35482) < 1e-3
    assert abs(full_width(0.05, 4.0)[0] - 4.0) < 1e-3


def test_detects_what_is_there_and_nothing_else():
    rng = np.random.default_rng(1)
    shape = gaussian_shape(3.5, (0.0, N - 1.0))
    places = np.array([50.3, 120.8, 300.0, 512.45, 700.7])
    flux = spectrum(places, [3000, 500, 9000, 800, 2000], shape) + rng.normal(0, 5, N)
    found = detect(flux - floor(flux, 80), np.full(N, 5.0), shape)
    assert len(found) == 5
    assert np.max(np.abs(found.x - places)) < 0.35


def test_noise_alone_gives_hardly_a_line():
    rng = np.random.default_rng(2)
    shape = gaussian_shape(3.0, (0.0, N - 1.0))
    found = detect(rng.normal(0, 5, N), np.full(N, 5.0), shape, threshold=5.0)
    assert len(found) <= 1


@pytest.mark.parametrize(("sigma", "box", "guess"), [(1.4, 1.0, 2.6), (0.6, 2.4, 3.0), (1.1, 4.0, 4.0)])
def test_width_is_measured_whatever_the_slit(sigma, box, guess):
    rng = np.random.default_rng(3)
    true = LineShape(sigma, 0.1 * sigma, box, (0.0, N - 1.0))
    places = np.arange(30, 780, 31.7)
    flux = spectrum(places, rng.uniform(3e4, 2e5, len(places)), true)
    error = np.sqrt(flux)
    flux = rng.normal(flux, error) - 50.0
    peaks = detect(flux, error, gaussian_shape(guess, (0.0, N - 1.0)))
    shape = measure_shape(flux, error, peaks, guess=guess, usable=np.ones(N, dtype=bool))
    x = np.array([100.0, 400.0, 700.0])
    assert np.max(np.abs(shape.fwhm_at(x) / true.fwhm_at(x) - 1)) < 0.04


def test_floor_follows_a_continuum_under_the_lines():
    x = np.arange(N)
    ground = 100 + 50 * np.sin(x / 200)
    shape = gaussian_shape(4.0, (0.0, N - 1.0))
    flux = ground + spectrum(np.arange(20, 780, 25.0), np.full(31, 1e4), shape, level=0)
    assert np.max(np.abs(floor(flux, 80) - ground)[50:-50]) < 12


def test_isolated_lines_and_the_strongest():
    x, height = np.array([10.0, 14.0, 100.0, 103.0]), np.array([100.0, 1.0, 50.0, 40.0])
    assert isolated(x, height, 6.0).tolist() == [True, False, False, False]
    peaks = detect(spectrum([100, 200, 300], [1e3, 5e3, 3e3], gaussian_shape(3, (0, N - 1.0)), 0), np.ones(N),
                   gaussian_shape(3, (0, N - 1.0)))  # fmt: skip
    assert np.round(strongest(peaks, 2).x).tolist() == [200, 300]
