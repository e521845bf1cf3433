"""Photometry: fluxes and their errors against the truth, pairs, galaxies, and images without a PSF."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import cKDTree

from builders.pulls import bounds, told
from builders.starfield import draw, field, observed
from nightpipe.maths.crowd import grouped, level_of
from nightpipe.steps.imaging.detect import EXTENDED, SATURATED, Detect
from nightpipe.steps.imaging.photometry import Photometer
from nightpipe.steps.imaging.psf import ModelPsf


def measured(frame):
    sources = Detect().run(frame)
    psf = ModelPsf().run(frame, sources)
    return psf, Photometer().run(frame, sources, psf)


def nearest(x, y, found):
    return cKDTree(np.c_[found.x, found.y]).query(np.c_[x, y])


@pytest.fixture(scope="module")
def scene():
    made = field(np.random.default_rng(11), grid=48, shape=(768, 768), least=2000, reach=40)
    return made, *measured(made.frame)


def test_bright_stars_have_their_flux_in_every_kind_of_photometry(scene):
    truth, _, found = scene
    distance, index = nearest(truth.x, truth.y, found)
    use = (distance < 1) & (truth.flux > 3e4)
    for name, limit in (("psf", 0.004), ("aperture_flux", 0.012), ("kron_flux", 0.06)):
        flux = found.flux if name == "psf" else found.columns[name]
        assert np.median(100 * flux[index[use]] / truth.flux[use]) == pytest.approx(1, abs=limit)


def test_errors_are_as_large_as_the_differences(scene):
    truth, _, found = scene
    distance, index = nearest(truth.x, truth.y, found)
    use = (distance < 1) & (found.quality[index] == 0)
    flux, error, true = 100 * found.flux[index][use], 100 * found.flux_error[index][use], truth.flux[use]
    factor = np.sum(flux * true / error**2) / np.sum((true / error) ** 2)  # how well the wings add up, common to all
    pulls = (flux / factor - true) / error
    assert factor == pytest.approx(1, abs=0.01)
    assert pulls.std() == pytest.approx(1, abs=bounds(len(pulls))[1])
    assert abs(pulls.mean()) < bounds(len(pulls))[0]
    assert np.median(found.columns["chi"]) == pytest.approx(1, abs=0.08)


def test_close_pairs_are_told_apart():
    rng = np.random.default_rng(12)
    light = np.zeros((512, 512))
    gx, gy = (g.ravel() for g in np.meshgrid(np.arange(30, 490, 46.0), np.arange(30, 490, 46.0)))
    x = np.r_[gx, gx + 6.2]
    y = np.r_[gy, gy + 2.0]
    flux = np.r_[rng.choice([1e4, 3e4, 9e4], len(gx)), np.full(len(gx), 1.5e4)]
    flux[len(gx) :: 2] = 100.0  # every other star stays alone, for the PSF
    draw(light, x, y, flux, 3.2, 0.0)
    _, found = measured(observed(rng, light))
    both = np.flatnonzero(flux[len(gx) :] > 1000)
    for which, expected in ((both, flux[both]), (both + len(gx), 1.5e4)):
        distance, index = nearest(x[which], y[which], found)
        assert (distance < 0.5).mean() > 0.95
        assert np.median(100 * found.flux[index] / expected) == pytest.approx(1, abs=0.02)


def test_galaxies_stay_extended_and_stars_do_not(scene):
    _, _, found = scene
    assert np.mean((found.quality & EXTENDED) != 0) < 0.02


def test_spread_of_galaxies_is_significant():
    rng = np.random.default_rng(3)
    light = field(rng, grid=56, shape=(512, 512), least=2e4, fwhm=3.0, vary=0.0).frame.data - 300
    jj, ii = np.mgrid[:512, :512]
    places = rng.uniform(40, 470, (10, 2))
    for x, y in places:
        r = np.hypot(ii - x, jj - y)
        light = light + 4e4 * np.exp(-r / 2.0) / (2 * np.pi * 4)
    _, found = measured(observed(rng, np.maximum(light, 0)))
    distance, index = nearest(*places.T, found)
    near = distance < 1.0
    assert near.sum() >= 7
    assert ((found.quality[index[near]] & EXTENDED) != 0).mean() > 0.85


def test_without_a_psf_fluxes_are_those_of_apertures(scene):
    truth, _, _ = scene
    sources = Detect().run(truth.frame)
    found = Photometer().run(truth.frame, sources, None)
    assert "photometry.aperture" in {c.code for c in found.caveats}
    assert found.flux is sources.flux


def test_nothing_stays_nothing():
    frame = observed(np.random.default_rng(2), np.zeros((128, 128)))
    sources = Detect(threshold=8).run(frame)
    assert len(Photometer().run(frame, sources, None)) == 0


def test_a_level_of_photons_is_their_mean():
    rng = np.random.default_rng(7)
    sky = rng.poisson(100.0, (512, 512)).astype(np.float32)
    level = level_of(sky, np.full(sky.shape, 100, np.float32), np.zeros(sky.shape, bool), 64)
    assert level.mean() == pytest.approx(100, abs=0.1)


def test_friends_of_friends_follow_each_other():
    stars = np.array([[1, 0, 0], [1, 50, 50], [1, 3, 0], [1, 52, 50], [1, 6, 0.0]])
    order, bounds_ = grouped(stars, 4.0)
    groups = [set(order[a:b]) for a, b in pairwise(bounds_)]
    assert sorted(map(sorted, groups)) == [[0, 2, 4], [1, 3]]


@pytest.mark.pulls
def test_pulls_of_more_than_four_thousand_stars():
    """The total of the PSF is common to an image's stars, and part of its zero point: it is judged by itself."""
    pulls, factors = [], []
    for seed in range(200, 207):
        made = field(np.random.default_rng(seed), grid=40, shape=(1024, 1024), least=1500, most=1e5)
        _, found = measured(made.frame)
        distance, index = nearest(made.x, made.y, found)
        use = (distance < 1) & (found.quality[index] == 0)
        flux, error, truth = 100 * found.flux[index][use], 100 * found.flux_error[index][use], made.flux[use]
        factors.append(np.sum(flux * truth / error**2) / np.sum((truth / error) ** 2))
        pulls.append((flux / factors[-1] - truth) / error)
    every = np.concatenate(pulls)
    print(told("stars", every), f"factors {min(factors):.4f} to {max(factors):.4f}")
    assert len(every) > 4000
    assert np.abs(np.array(factors) - 1).max() < 0.012
    assert np.mean(factors) == pytest.approx(1, abs=0.006)
    assert 0.9 < every.std() < 1.1
    assert abs(every.mean()) < 0.1


def test_saturated_stars_have_a_flux_from_their_wings_and_say_so():
    made = field(np.random.default_rng(21), grid=48, shape=(768, 768), least=5e3, most=2e6, slope=0.1, saturation=3e4)
    _, found = measured(made.frame)
    distance, index = nearest(made.x, made.y, found)
    full = (distance < 1.5) & ((found.quality[index] & SATURATED) != 0)
    ratio = 100 * found.flux[index][full] / made.flux[full]
    error = 100 * found.flux_error[index][full] / made.flux[full]
    assert full.sum() >= 15
    assert (found.columns["psf"][index][full] == 1).all()
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert np.std((ratio - 1) / error) < 1.5
    assert error.max() < 0.2
    assert not (found.quality[index][full] & EXTENDED).any()
    brightest = np.argsort(-made.flux)[: full.sum()]
    assert np.isin(np.argsort(-found.flux)[: full.sum()], index[brightest]).mean() > 0.9
