"""The sky of a frame against astropy's."""

import astropy.wcs
import numpy as np
import pytest

from nightpipe.maths.tan import separation
from nightpipe.model.wcs import Wcs

A = np.zeros((4, 4))
B = np.zeros((4, 4))
A[2, 0], A[1, 1], A[0, 3] = 2e-6, -1e-6, 3e-10
B[0, 2], B[2, 1] = -1.5e-6, 2e-10


def astropy_twin(wcs: Wcs) -> astropy.wcs.WCS:
    twin = astropy.wcs.WCS(naxis=2)
    twin.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    twin.wcs.crval = wcs.crval
    twin.wcs.crpix = np.add(wcs.crpix, 1)
    twin.wcs.cd = wcs.cd
    twin.sip = astropy.wcs.Sip(wcs.a, wcs.b, None, None, np.add(wcs.crpix, 1))
    return twin


@pytest.mark.parametrize("crval", [(10.0, -30.0), (359.99, 0.01), (123.0, 89.9)])
def test_sky_agrees_with_astropy_and_back(crval):
    wcs = Wcs(crval, (1000.5, 900.0), ((-7e-5, 2e-5), (2e-5, 7e-5)), A, B)
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(-1, 2048, 7), np.linspace(0, 2047, 6)))
    ra, dec = wcs.to_sky(x, y)
    other_ra, other_dec = astropy_twin(wcs).all_pix2world(x, y, 0)
    assert separation(ra, dec, other_ra, other_dec).max() * 3600 < 1e-6
    back = wcs.to_pixel(ra, dec)
    np.testing.assert_allclose(back, (x, y), atol=1e-5)


def test_scale_parity_and_rotation():
    turned = np.radians(30.0)
    s = 0.5 / 3600
    cd = ((-s * np.cos(turned), s * np.sin(turned)), (s * np.sin(turned), s * np.cos(turned)))
    wcs = Wcs((10.0, 20.0), (0.0, 0.0), cd)
    assert wcs.scale == pytest.approx(0.5)
    assert wcs.parity == -1
    assert wcs.rotation == pytest.approx(30.0)


def test_what_lies_far_outside_has_a_place_far_outside():
    wcs = Wcs((10.0, 20.0), (500.0, 500.0), ((-8e-5, 0.0), (0.0, 8e-5)), A * 5, B * 5)
    x, y = wcs.to_pixel([10.0, 10.5, 12.0, 40.0], [20.0, 20.5, 22.0, 60.0])
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()
    assert (x[0], y[0]) == pytest.approx((500.0, 500.0))
    assert np.all(np.hypot(x[2:] - 500, y[2:] - 500) > 5000)
    one_x, one_y = wcs.to_pixel(12.0, 22.0)
    assert (float(one_x), float(one_y)) == pytest.approx((x[2], y[2]))
