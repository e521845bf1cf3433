"""Gain from pairs of frames whose light changes from pixel to pixel, and which moved a little in between."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.maths.transfer import gain, transfer, transfer_by_light


def comb(shift: float, rng: np.random.Generator) -> np.ndarray:
    """Return ridges 7 rows apart [adu], 1.8 electron/adu, 10 adu of readout."""
    y = np.arange(600)[:, None] - shift - 0.01 * np.arange(700)
    distance = (y + 3.5) % 7.0 - 3.5
    light = 2e4 * np.exp(-0.5 * (distance / 1.15) ** 2) * (0.3 + np.arange(700) / 700) + 100
    return rng.poisson(light) / 1.8 + rng.normal(0, 10.0, light.shape)


@pytest.mark.parametrize("shift", [0.0, 0.01, -0.02])
def test_the_gain_is_right_though_the_ridges_moved(shift):
    rng = np.random.default_rng(5)
    one, two = comb(0.0, rng), comb(shift, rng)
    found = gain(transfer_by_light(one, two, np.zeros(one.shape, dtype=bool), 10.0))
    assert found.value == pytest.approx(1.8, rel=0.03)
    assert found.error < 0.05


def test_boxes_of_unequal_light_would_mislead():
    rng = np.random.default_rng(5)
    one, two = comb(0.0, rng), comb(0.02, rng)
    assert abs(gain(transfer(one, two, np.zeros(one.shape, dtype=bool), 10.0)).value / 1.8 - 1.0) > 0.1


def test_too_few_pixels_tell_nothing():
    tiny = np.ones((4, 4))
    assert not np.isfinite(gain(transfer_by_light(tiny, tiny, tiny < 0, 1.0)).value)
