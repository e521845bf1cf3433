"""The seeing: Kolmogorov at small scales, finite outer scale, slit losses."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.simulate.turbulence import disc_through_slit, fried_parameter, slit_image, structure_function

NODES = np.array([4000.0, 5000.0, 8000.0])


def seen(seeing=1.0, slit=1.0, decentre=0.0):
    return slit_image(NODES, seeing, slit, np.full(3, decentre), 0.2)


def test_structure_function_is_kolmogorovs_at_small_distances():
    distance = np.array([1e-4, 1e-3])
    kolmogorov = 6.88 * (distance / 0.1) ** (5.0 / 3.0)
    assert structure_function(distance, 0.1) / kolmogorov == pytest.approx([1.0, 1.0], abs=0.06)


def test_structure_function_saturates_at_the_outer_scale():
    near, far = structure_function(np.array([50.0, 100.0]), 0.1)
    assert far / near < 1.05


def test_the_image_is_as_wide_as_asked_at_5000_and_narrower_in_the_red():
    fwhm = seen(1.2).fwhm
    assert fwhm[1] == pytest.approx(1.2, rel=0.03)
    assert fwhm[2] / fwhm[1] == pytest.approx((8000 / 5000) ** -0.2, rel=0.06)
    assert fried_parameter(1.2) < fried_parameter(0.8)


def test_the_profile_is_no_gaussian():
    image = seen()
    profile = np.gradient(image.cumulative[1], 0.01)
    centre = len(profile) // 2
    half = profile[centre] / 2
    width = 2 * np.interp(-half, -profile[centre:], image.arcsec[centre:])
    far = np.interp(2.0 * width, image.arcsec, profile) / profile[centre]
    assert far > 10 * np.exp(-4 * np.log(2) * 4)


def test_a_narrow_or_missed_slit_passes_less():
    assert seen(slit=2.0).passed[1] > seen(slit=1.0).passed[1] > seen(slit=0.5).passed[1]
    assert seen(decentre=6.0).passed.max() < 0.01
    assert 0.5 < seen().passed[1] < 0.75


def test_profile_and_light_across_are_normalised():
    image = seen()
    assert image.cumulative[:, -1] == pytest.approx(1.0, abs=1e-4)
    step = image.offset[1] - image.offset[0]
    assert image.across.sum(axis=1) * step == pytest.approx(1.0)


def test_a_star_off_the_middle_of_the_slit_leans_to_its_side():
    image = seen(decentre=0.3)
    assert np.all((image.across * image.offset).sum(axis=1) > 0)


def test_a_disc_is_wider_and_passes_less_than_a_star():
    star = seen()
    disc = disc_through_slit(star, 2.5, 1.0)
    assert disc.passed.max() < 0.4 * star.passed.max()
    assert np.interp(3.0, disc.arcsec, disc.cumulative[1]) < np.interp(3.0, star.arcsec, star.cumulative[1]) - 0.05
    assert disc.cumulative[:, -1] == pytest.approx(1.0, abs=0.01)
