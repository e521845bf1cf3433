"""Plates of few stars: a distortion along the radius is told by a dozen."""

from __future__ import annotations

import numpy as np
import pytest

from builders import imagefield as field
from nightpipe.maths.plate import choose_order, fit_plate, fit_radial
from nightpipe.steps.imaging.settle import as_wcs

SHAPE = (2048, 2048)


def stars(seed: int, count: int, noise: float, bend: float):
    rng = np.random.default_rng(seed)
    true = field.wcs(SHAPE, turn=20.0, scale=0.15, distortion=bend)
    x, y = rng.uniform(0, 2047, (2, count))
    ra, dec = true.to_sky(x, y)
    return true, (x + rng.normal(0, noise, count), y + rng.normal(0, noise, count), ra, dec)


def corners(wcs, true) -> float:
    """Return the largest error [pixel] near the corners."""
    x, y = np.array([100.0, 1900, 100, 1900]), np.array([100.0, 100, 1900, 1900])
    back = true.to_pixel(*wcs.to_sky(x, y))
    return float(np.hypot(back[0] - x, back[1] - y).max())


@pytest.mark.parametrize("seed", range(5))
def test_a_dozen_stars_tell_a_radial_distortion_to_the_corners(seed):
    true, places = stars(seed, 14, 0.05, 4.0)
    known = {"crpix": (1023.5, 1023.5), "crval": field.CENTRE}
    radial, affine = fit_radial(*places, **known), fit_plate(*places, order=1, **known)
    assert corners(as_wcs(radial), true) < 0.5
    assert corners(as_wcs(affine), true) > 1.5
    assert choose_order({3: affine, 4: radial}) == 4


def test_a_flat_field_keeps_the_simpler_plate():
    _, places = stars(9, 14, 0.3, 0.0)
    known = {"crpix": (1023.5, 1023.5), "crval": field.CENTRE}
    radial, affine = fit_radial(*places, **known), fit_plate(*places, order=1, **known)
    assert choose_order({3: affine, 4: radial}) == 3
