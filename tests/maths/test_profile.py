"""Profiles along the slit: normalisation, widths, centres, boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightpipe.maths.profile import box_share, centroid_shift, gaussian, moffat, width_of
from nightpipe.maths.slit import offsets

PLACES = np.arange(-400.0, 401.0)


@given(st.floats(1.5, 12), st.floats(2.0, 8.0), st.floats(-0.5, 0.5))
def test_pixels_of_a_moffat_sum_to_one(fwhm, beta, shift):
    assert moffat(PLACES - shift, fwhm, beta).sum() == pytest.approx(1, abs=3e-3)


@given(st.floats(0.8, 12), st.floats(-0.5, 0.5))
def test_pixels_of_a_gaussian_sum_to_one(fwhm, shift):
    assert gaussian(PLACES - shift, fwhm).sum() == pytest.approx(1, abs=1e-9)


def test_the_width_is_the_one_put_in():
    fine = np.arange(-20, 20.01, 0.05)
    assert width_of(moffat(fine, 6.0, 3.0), fine) == pytest.approx(6.0, rel=0.02)
    assert width_of(np.zeros(5), np.arange(5.0)) == 0.0


@given(st.floats(0.3, 5), st.floats(-0.5, 0.5))
def test_a_box_covers_its_width(half, shift):
    assert box_share(PLACES - shift, half).sum() == pytest.approx(2 * half, abs=1e-9)


def test_a_centroid_is_found_and_its_error_is_right():
    rng, y = np.random.default_rng(2), np.arange(-12.0, 13.0)
    pulls = []
    for _ in range(400):
        noisy = 300 * gaussian(y - 0.1, 4.0) + rng.normal(0, 3, y.size)
        shift, err, significance = centroid_shift(noisy, np.full(y.size, 9.0), y, 4.0)
        pulls.append((shift - 0.1) / err)
    assert significance > 20
    assert abs(np.mean(pulls)) < 0.2
    assert 0.9 < np.std(pulls) < 1.1


def test_no_light_has_no_centre():
    y = np.arange(-5.0, 6.0)
    assert centroid_shift(-gaussian(y, 3.0), np.ones(y.size), y, 3.0)[1] == np.inf
    assert centroid_shift(gaussian(y, 3.0), np.full(y.size, np.inf), y, 3.0)[1] == np.inf


def test_offsets_along_a_slit():
    along, across = offsets(150.0, 20.0 + 10 / 3600, 150.0, 20.0, 0.0)
    assert (along, across) == (pytest.approx(10, abs=1e-3), pytest.approx(0, abs=1e-9))
    along, across = offsets(150.0 + 5 / 3600 / np.cos(np.radians(20)), 20.0, 150.0, 20.0, 90.0)
    assert (along, across) == (pytest.approx(5, abs=1e-3), pytest.approx(0, abs=1e-3))
    with pytest.raises(ValueError, match="90 degrees"):
        offsets(330.0, -20.0, 150.0, 20.0, 0.0)
