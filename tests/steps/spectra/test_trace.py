"""Slit edges on a flat."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from nightpipe.base.errors import BadFrameError
from nightpipe.model.frame import Frame
from nightpipe.steps.spectra.trace import FindSlit, WholeSlit

SHAPE = (200, 400)


def flat(lower=20.3, upper=170.6, tilt=3.0, dust=(), level=20000.0, seed=1, vignetting=0.4):
    ny, nx = SHAPE
    y, x = np.mgrid[:ny, :nx].astype(float)
    low, high = lower + tilt * (x / (nx - 1) - 0.5), upper + tilt * (x / (nx - 1) - 0.5)
    light = ndtr((y - low) / 0.8) * ndtr((high - y) / 0.8) * (1 - vignetting * ((y - ny / 2) / ny * 2) ** 2)
    light *= 0.3 + x / nx
    for row, width in dust:
        light[row : row + width] *= 0.1
    image = level * light + 100.0
    data = np.random.default_rng(seed).poisson(image)
    return Frame(data.astype("f4"), image.astype("f4"), np.zeros(SHAPE, dtype="u4"), "electron")


def edges(slit, x):
    trace = slit.traces[0]
    return trace.lower(x), trace.upper(x), trace.centre(x)


def test_edges_to_a_fraction_of_a_pixel_tilt_and_all():
    slit = FindSlit().run(flat())
    x = np.array([20.0, 200.0, 380.0])
    lower, upper, centre = edges(slit, x)
    tilt = 3.0 * (x / 399 - 0.5)
    assert slit.measured
    assert not slit.caveats
    assert np.max(np.abs(lower - 20.3 - tilt)) < 0.15
    assert np.max(np.abs(upper - 170.6 - tilt)) < 0.15
    assert np.allclose(centre, (lower + upper) / 2)


def test_dust_across_the_slit_makes_no_second_slit():
    slit = FindSlit().run(flat(dust=((60, 6), (110, 12))))
    lower, upper, _ = edges(slit, np.array([200.0]))
    assert len(slit) == 1
    assert abs(lower[0] - 20.3) < 0.15
    assert abs(upper[0] - 170.6) < 0.15


def test_a_window_inside_the_slit_is_the_slit():
    slit = FindSlit().run(flat(lower=-50, upper=300))
    lower, upper, _ = edges(slit, np.array([0.0, 399.0]))
    assert not slit.measured
    assert [caveat.code for caveat in slit.caveats] == ["slit.edges"]
    assert np.all(lower == -0.5)
    assert np.all(upper == 199.5)


def test_one_edge_outside_the_window_is_named():
    slit = FindSlit().run(flat(lower=-50))
    assert slit.measured
    assert "lower" in slit.caveats[0].text
    assert abs(edges(slit, np.array([200.0]))[1][0] - 170.6) < 0.15


def test_a_dark_flat_is_refused():
    frame = flat().but(data=np.zeros(SHAPE, dtype="f4"))
    with pytest.raises(BadFrameError, match="light"):
        FindSlit().run(frame)


def test_whole_slit_is_not_measured():
    slit = WholeSlit().run(flat())
    assert not slit.measured
    assert edges(slit, np.array([3.0]))[2][0] == pytest.approx(99.5)
