"""Noise, wells and pedestal: what a raw frame's statistics must be."""

from __future__ import annotations

import numpy as np
import pytest

from builders.simulated import rig
from nightpipe.simulate.cosmics import expected_count, tracks
from nightpipe.simulate.detector import canonical_shape, expose, light_section


def trimmed(made, raw):
    x0, x1, y0, y1 = light_section(made.detector)
    return made.detector.oriented(raw[y0:y1, x0:x1].astype(float))


def pair(made, level, seed=0):
    rng = np.random.default_rng(seed)
    expected = None if level is None else np.full(canonical_shape(made.detector), level)
    return [trimmed(made, expose(made.silicon, expected, 1.0, 0.0, rng, cosmics=False)[0]) for _ in range(2)]


def region(made):
    """A part of one amplifier without bad sections."""
    ny, nx = canonical_shape(made.detector)
    return (slice(ny // 2 + 5, ny - 5), slice(nx // 2 + 50, nx - 50))


@pytest.mark.parametrize("arm", ["alfosc", "dbsp_blue", "kast_red", "sprat"])
def test_noise_is_photons_and_the_true_read_noise(arm):
    made, *_ = rig(arm)
    level = 8000.0
    where = region(made)
    amp = len(made.silicon.gain) - 1
    gain, read_noise = made.silicon.gain[amp], made.silicon.noise[amp]
    for light, variance in ((level, level + read_noise**2), (0.0, read_noise**2)):
        first, second = pair(made, light)
        difference = (first - second)[where]
        calm = np.abs(difference - np.median(difference)) < 5 * np.percentile(np.abs(difference), 68)
        typical = difference[calm].std() / np.sqrt(2.0)  # hot pixels aside
        rounding = gain**2 / 12.0
        assert typical * gain == pytest.approx(np.sqrt(variance + rounding), rel=0.025)


@pytest.mark.parametrize("arm", ["alfosc", "kast_blue"])
def test_photon_transfer_gives_the_true_gain_not_the_headers(arm):
    made, *_ = rig(arm)
    where = region(made)
    dark, flat = pair(made, 0.0), pair(made, 8000.0, 1)
    signal = np.median((flat[0] + flat[1] - dark[0] - dark[1])[where]) / 2.0
    spread = np.var((flat[0] - flat[1])[where]) / 2.0 - np.var((dark[0] - dark[1])[where]) / 2.0
    amp = len(made.silicon.gain) - 1
    assert signal / spread == pytest.approx(made.silicon.gain[amp], rel=0.02)
    assert abs(made.silicon.gain[amp] / made.detector.amplifiers[amp].gain - 1.0) > 0.01


def test_overscan_has_the_pedestal_and_the_image_sits_on_it():
    made, *_ = rig("alfosc")
    rng = np.random.default_rng(3)
    raw, _ = expose(made.silicon, None, 0.0, 170.0, rng, cosmics=False)
    x0, x1, y0, y1 = made.detector.amplifiers[0].overscan[0]
    overscan = np.median(raw[y0:y1, x0:x1])
    assert overscan == pytest.approx(made.known.detector.pedestal + 170.0, abs=8.0)
    assert np.median(trimmed(made, raw)) == pytest.approx(overscan, abs=4.0)


def test_wells_lose_a_little_and_then_all():
    made, *_ = rig("alfosc")
    well, gain = made.known.detector.full_well, made.silicon.gain[0]
    where = region(made)

    def measured(level):
        return np.median((pair(made, level)[0] - pair(made, 0.0)[0])[where]) * gain

    assert measured(0.3 * well) == pytest.approx(0.3 * well, rel=2e-3)
    assert measured(0.95 * well) < 0.99 * 0.95 * well
    assert measured(2.0 * well) == pytest.approx(well, rel=2e-3)


def test_amplifiers_have_their_own_pedestals():
    made, *_ = rig("kast_blue")
    rng = np.random.default_rng(5)
    raw, _ = expose(made.silicon, None, 0.0, 0.0, rng, cosmics=False)
    left, right = (np.median(raw[y0:y1, x0:x1]) for x0, x1, y0, y1 in (amp.data for amp in made.detector.amplifiers))
    assert right - left == pytest.approx(made.known.detector.pedestal_step, abs=2.0)


def test_bad_columns_and_hot_pixels_are_where_the_truth_says():
    made, *_ = rig("alfosc")
    assert made.silicon.bad.any()
    assert made.silicon.bad.mean() < 0.02
    assert made.silicon.response[~made.silicon.bad].std() == pytest.approx(0.008 / np.sqrt(2), rel=0.1)


def test_cosmic_rays_come_at_their_rate_and_longer_in_thick_silicon():
    rng = np.random.default_rng(7)
    shape = (400, 1000)
    assert expected_count(2.0, shape, (30.0, 15.0), 1000.0) == pytest.approx(2.0 * 1.8 * 17.0, rel=1e-6)
    thin, thick = (tracks(shape, (15.0, 15.0), depth, 60, rng) for depth in (16.0, 250.0))
    assert thick.sum() > 5 * thin.sum()
    assert (thick > 100).sum() > 3 * (thin > 100).sum()
    assert 500 < thin.sum() / 60 < 6000


def test_a_glowing_section_is_written():
    made, *_ = rig("dbsp_red")
    raw, _ = expose(made.silicon, None, 0.0, 0.0, np.random.default_rng(1), cosmics=False)
    x0, x1, y0, y1 = made.detector.bad[0]
    assert raw[y0:y1, x0 + 80 : x1 - 80].min() > 20000
