"""Transmission of the air: what must hold without an instrument."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightpipe.io import telluric as tables
from nightpipe.maths.telluric import (
    Column,
    OpticalDepth,
    blurred,
    cooled,
    fine_transmission,
    k_distribution,
    layer_shares,
    resolved,
    rotation,
    with_upper_air,
)

HEIGHT = np.arange(9.0) * 1000.0


@given(site=st.floats(0.0, 5000.0))
def test_the_layers_hold_the_whole_column(site):
    assert layer_shares(HEIGHT, site, 8000.0).sum() == pytest.approx(1.0)
    assert (layer_shares(HEIGHT, site, 2000.0) >= 0).all()


def test_more_air_lets_less_through():
    depth = tables.bands(2000.0)
    thin, thick = (fine_transmission(depth, Column(air, 3 * air)) for air in (1.0, 2.0))
    assert (thick <= thin + 1e-15).all()
    assert (thin > 0).all()
    assert (thin <= 1).all()


def test_a_higher_site_has_less_oxygen():
    low, high = tables.bands(0.0), tables.bands(4000.0)
    assert low.oxygen.sum() == pytest.approx(high.oxygen.sum() * np.exp(0.5))


def test_saturated_bands_do_not_grow_with_airmass():
    """The A band's equivalent width grows with an exponent far below one: the reason for all this."""
    depth = tables.bands(1700.0)
    inside = (depth.wave > 7590) & (depth.wave < 7720)
    width = [(1 - fine_transmission(depth, Column(air, 0.0)))[inside].sum() * depth.step for air in (1.0, 3.0)]
    exponent = np.log(width[1] / width[0]) / np.log(3.0)
    assert 0.3 < exponent < 0.5
    assert 20 < width[0] < 33


@pytest.mark.parametrize("fwhm", [5.0, 15.0, 60.0])
def test_blurring_conserves_what_is_absorbed(fwhm):
    fine = np.arange(6900.0, 8100.0, 0.1)
    line = np.exp(-0.5 * ((fine - 7503.3) / 0.6) ** 2)
    wave = np.arange(7200.0, 7800.0, 1.0)
    seen = blurred(line, fine, wave, np.full(wave.size, fwhm))
    assert seen.sum() == pytest.approx(line.sum() * 0.1, rel=2e-3)
    assert np.sum(seen * wave) / seen.sum() == pytest.approx(7503.3, abs=0.01)
    assert np.ptp(wave[seen > seen.max() / 2]) == pytest.approx(np.hypot(fwhm, 1.4), abs=1.6)


def test_a_resolution_that_changes_is_that_of_each_place():
    fine = np.arange(6900.0, 8100.0, 0.25)
    values = np.sin(fine / 12.0) * np.exp(-(((fine - 7500.0) / 200.0) ** 2))
    wave = np.arange(7200.0, 7800.0, 2.0)
    fwhm = np.linspace(20.0, 34.0, wave.size)
    exact = [blurred(values, fine, wave[k : k + 1], fwhm[k : k + 1])[0] for k in range(0, wave.size, 10)]
    np.testing.assert_allclose(blurred(values, fine, wave, fwhm)[::10], exact, atol=0.01)


def test_the_k_distribution_keeps_the_mean_transmission():
    rng = np.random.default_rng(1)
    wave = np.arange(7000.0, 7100.0, 0.05)
    oxygen, water = (np.exp(rng.normal(-2.0, 2.0, wave.size)) for _ in range(2))
    exact = OpticalDepth(wave, np.ones(1), oxygen[None], 0.1 * water[None], exact=True, source="")
    few = k_distribution(exact, 2.5, np.array([0.3, 0.3, 0.2, 0.1, 0.1]))
    for column in (Column(1.0, 1.0), Column(2.0, 10.0)):
        mean = np.exp(-column.oxygen * oxygen).reshape(-1, 50).mean(axis=1)
        dry = fine_transmission(few, Column(column.oxygen, 0.0))
        np.testing.assert_allclose(dry, mean, atol=0.012)


def test_lines_inside_a_bin_keep_its_mean_and_absorb_less():
    wave = np.arange(7600.0, 7620.0, 0.05)
    distance = np.arange(wave.size) - 200.0
    mean = 1e3 * 0.02**2 / ((0.05 * distance) ** 2 + 0.02**2) + 1e-3
    inside = resolved(wave, mean, 10000.0)
    np.testing.assert_allclose(inside.mean(axis=0), mean, rtol=1e-6)
    assert inside[:, 200].max() > 1.5 * mean[200]
    assert np.exp(-inside).mean() > np.exp(-mean).mean()


def test_upper_layers_carry_on_the_trend():
    oxygen = np.exp(-np.outer(HEIGHT, [1.0, -1.0]) / 8000.0)
    upper = with_upper_air(HEIGHT, oxygen)
    np.testing.assert_allclose(upper[:, 0], np.exp(-np.array([10500.0, 14000, 19000, 26000]) / 8000))
    assert (np.diff(upper[:, 1]) > 0).all()


def test_the_energy_of_oxygens_rotation():
    """P(9) of the A band lies at 13,091.7 per cm (HITRAN) and begins where J is 9; the band's head is at J 30."""
    energy = rotation(np.array([1e8 / 13091.7, 1e8 / 13120.9, 7593.0]))
    assert energy == pytest.approx([1.4377 * 90, 0.0, 1.4377 * 900], rel=0.05, abs=1.0)
    assert np.isnan(rotation(np.array([7200.0]))).all()


def test_cold_air_has_little_high_rotation():
    wave = np.array([7200.0, 7597.0, 7614.0, 7680.0])
    low, high = cooled(wave, 0.0), cooled(wave, 9000.0)
    assert low[0] == high[0] == 1.0
    assert low[1:] == pytest.approx(1.0, abs=0.1)
    assert high[1] < 0.85 < high[2]
    assert high[3] < 0.85


def test_the_near_infrared_has_its_windows_and_bands():
    depth = tables.with_infrared(tables.bands(4200.0), 4200.0)
    assert not depth.exact
    assert 11900 < depth.rough < 12100
    assert np.allclose(np.diff(depth.wave), depth.step, atol=0.02)
    through = fine_transmission(depth, Column(1.0, 1.0))

    def mean(low, high):
        return through[(depth.wave > low) & (depth.wave < high)].mean()

    for low, high in ((12350, 12500), (16400, 16600), (21300, 21700)):
        assert mean(low, high) > 0.95
    assert mean(13600, 14000) < 0.45
    assert mean(18500, 19000) < 0.5
    assert 0.5 < mean(20050, 20200) < 0.9
    wetter = fine_transmission(depth, Column(1.0, 3.0))
    band = (depth.wave > 14400) & (depth.wave < 14700)
    assert wetter[band].mean() < through[band].mean() - 0.1
    dry = (depth.wave > 20050) & (depth.wave < 20200)
    assert np.allclose(wetter[dry], through[dry])
    assert tables.optical_depth(4200.0, 9000.0).wave[-1] < 12100.0


def test_the_near_infrared_leaves_the_optical_as_it_is():
    """Lines themselves where there is a table of them, one value for 10 Angstrom beyond, on bins as fine as theirs."""
    wave = np.arange(11000.0, 12000.0, 0.05)
    lines = np.random.default_rng(1).exponential(1.0, (3, wave.size))
    exact = OpticalDepth(wave, np.array([0.5, 0.3, 0.2]), lines, lines[:1], exact=True, source="lines")
    depth = tables.with_infrared(exact, 2000.0)
    own = depth.wave < depth.rough
    assert depth.exact
    assert depth.rough == pytest.approx(12000.0, abs=0.1)
    assert depth.wave[-1] > 24900
    np.testing.assert_array_equal(depth.oxygen[:, own], lines)
    np.testing.assert_array_equal(depth.water[:, own], lines[:1])
    assert np.allclose(np.diff(depth.wave), 0.05, atol=1e-3)
    for red in (11000.0, 24000.0):  # with the set of lines or without it
        assert tables.optical_depth(2000.0, red).exact is tables.optical_depth(2000.0).exact
