"""Cards of a `Wcs`: written, read back, and read by astropy."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.base.errors import MissingCardError
from nightpipe.model.wcs import Wcs
from nightpipe.model.wcscards import sip_cards, tpv_cards, wcs_of, without_wcs

SHAPE = (900, 1000)
PLAIN = Wcs((201.3, -47.5), (520.0, 410.0), ((-2e-4, 3e-5), (2.8e-5, 1.9e-4)))
X, Y = (part.ravel() for part in np.meshgrid(np.linspace(0, 999, 7), np.linspace(0, 899, 6)))


@pytest.fixture
def distorted():
    rng = np.random.default_rng(4)
    a, b = np.zeros((2, 4, 4))
    for part in (a, b):
        for p in range(4):
            for q in range(4 - p):
                if p + q >= 2:
                    part[p, q] = rng.normal(0, 4.0) / 500.0 ** (p + q)
    return Wcs(PLAIN.crval, PLAIN.crpix, PLAIN.cd, a, b)


def apart(one, other):
    """Largest distance [arcsec] between two sets of positions."""
    cos = np.cos(np.radians(one[1]))
    return 3600 * np.hypot((one[0] - other[0]) * cos, one[1] - other[1]).max()


def astropy_sky(cards):
    from astropy.io import fits
    from astropy.wcs import WCS

    header = fits.Header()
    for key, value in cards.items():
        header[key] = value
    return WCS(header), WCS(header).all_pix2world(X, Y, 0)


@pytest.mark.parametrize("write", [lambda w: sip_cards(w, SHAPE), tpv_cards])
def test_cards_mean_to_others_what_they_mean_to_us(distorted, write):
    for wcs in (PLAIN, distorted):
        reader, sky = astropy_sky(write(wcs))
        assert apart(sky, wcs.to_sky(X, Y)) < 1e-7
        assert np.allclose(reader.all_world2pix(*sky, 0), (X, Y), atol=1e-4)


@pytest.mark.parametrize("write", [lambda w: sip_cards(w, SHAPE), tpv_cards])
def test_cards_are_read_back(distorted, write):
    for wcs in (PLAIN, distorted):
        assert apart(wcs_of(write(wcs)).to_sky(X, Y), wcs.to_sky(X, Y)) < 1e-8


def test_the_inverse_polynomial_is_true_to_a_hundredth_of_a_pixel(distorted):
    reader, _ = astropy_sky(sip_cards(distorted, SHAPE))
    focal = reader.sip_pix2foc(X, Y, 0)
    back = reader.sip_foc2pix(*(np.asarray(part) for part in focal), 0)
    assert np.abs(np.array(back) - (X, Y)).max() < 0.01


def test_cdelt_with_rotation_and_pc_are_understood():
    base = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 5.0, "CRPIX2": 7.0}
    rotated = base | {"CDELT1": -3e-4, "CDELT2": 3.1e-4, "CROTA2": 27.0}
    turn = np.radians(27.0)
    pc = {"PC1_1": 0.9, "PC1_2": -0.2, "PC2_1": 0.1, "PC2_2": 1.1, "CDELT1": -3e-4, "CDELT2": 3.1e-4}
    for cards in (rotated, base | pc):
        _, sky = astropy_sky(cards)
        assert apart(sky, wcs_of(cards).to_sky(X, Y)) < 1e-7
    assert wcs_of(rotated).cd[1][1] == pytest.approx(3.1e-4 * np.cos(turn))


def test_exchanged_axes_are_understood():
    cards = {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 20.0, "CRVAL2": 10.0, "CRPIX1": 5.0, "CRPIX2": 7.0}
    cards |= {"CD1_1": 1e-5, "CD1_2": 2e-4, "CD2_1": -2e-4, "CD2_2": 0.0}
    dec, ra = astropy_sky(cards)[1]
    assert apart((ra, dec), wcs_of(cards).to_sky(X, Y)) < 1e-7


@pytest.mark.parametrize(
    "change",
    [{"CTYPE1": "GLON-CAR"}, {"CRVAL1": "12:30:00"}, {"CD1_1": 0.0, "CD1_2": 0.0}, {"CRPIX2": None}, {"CTYPE1": None}],
)
def test_what_is_no_solution_is_an_error(change):
    cards = {key: value for key, value in (tpv_cards(PLAIN) | change).items() if value is not None}
    with pytest.raises(MissingCardError):
        wcs_of(cards)


def test_radial_terms_are_an_error_not_left_out(distorted):
    with pytest.raises(MissingCardError, match="radial"):
        wcs_of(tpv_cards(distorted) | {"PV1_3": 0.01})


def test_old_cards_go():
    assert without_wcs(tpv_cards(PLAIN) | {"CDELT1": 1.0, "A_2_0": 0.1, "OBJECT": "M51"}) == {"OBJECT": "M51"}
