"""Figures of a lenslet unit: what they mark, where, and that none fails on gaps."""

from __future__ import annotations

import numpy as np
import pytest

from builders import field
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.frame import Frame
from nightpipe.model.spaxels import SpaxelFlat, SpaxelSet, SpaxelWaves
from nightpipe.model.warp import Warp
from nightpipe.plots import lenslets
from nightpipe.plots.hexagons import corners, hexmap
from nightpipe.plots.style import panels

N = 12


def spaxels():
    """Return a dozen short spectra, one repaired, one dead."""
    state = np.zeros(N, np.int64)
    state[3], state[5] = 1, 2
    y = np.linspace(30.0, 170.0, N)
    q, r, east, north = (part[:N] for part in field.places())
    ones = np.ones((N, 1))
    span, offset = np.tile([20.0, 180.0], (N, 1)), np.linspace(-4, 4, 9)
    return SpaxelSet(q, r, east, north, np.full(N, 100.0), span, np.c_[y, 0.01 * ones], 1.1 * ones, offset,
                     np.linspace(0, 1, 9), state, np.ones(N), (200, 200))  # fmt: skip


def waves(rms):
    """Return wavelengths with this scatter."""
    smooth = np.zeros(N, bool)
    smooth[0] = True
    return SpaxelWaves(np.array([3700.0, 9300.0]), np.array([-100.0, 100.0]), 100.0, np.ones((N, 2)), np.ones((N, 1)),
                       (4047.7, 9165.2), rms, np.full(N, 14), smooth, np.array([5000.0, 6000.0]),
                       np.full((N, 2), np.nan), ("Hg", "Xe"))  # fmt: skip


def spectra():
    """Return native spectra of a sky."""
    wave = np.tile(np.linspace(3800.0, 9200.0, 150), (N, 1))
    flux = np.ones((N, 150), np.float32)
    q, r, east, north = (part[:N] for part in field.places())
    return SpaxelSpectra(flux, flux, np.zeros(flux.shape, np.uint32), wave, np.full(wave.shape, 36.0),
                         np.zeros(N, np.int64), np.full(wave.shape, 60.0), east, north, q, r)  # fmt: skip


def test_neighbouring_hexagons_share_corners():
    _, _, east, north = field.places(2)
    edges = corners(east, north).reshape(-1, 2)
    far = np.hypot(*(edges[:, None] - edges[None]).T)
    assert (np.sort(far, axis=1)[:, 1] < 1e-6).sum() > 20


def test_a_map_leaves_out_what_is_no_number_and_has_east_on_the_left():
    _, _, east, north = field.places(3)
    _, (axis,) = panels(1)
    picture = hexmap(axis, east, north, np.where(east > 0, np.nan, 1.0))
    assert len(picture.get_paths()) == int((east <= 0).sum())
    assert axis.get_xlim()[0] > axis.get_xlim()[1]


def test_calibrations_are_drawn_with_their_counts_and_numbers():
    made = spaxels()
    ones = np.ones((200, 200), np.float32)
    dome = Frame(ones, ones, np.zeros((200, 200), np.uint32), "electron")
    assert lenslets.geometry(dome, made).axes[0].get_title() == "12 lenslets: 10 measured, 1 repaired, 1 dead"
    titles = [axis.get_title() for axis in lenslets.dispersion_map(waves(np.full(N, 1.25)), made).axes]
    assert "median 1.25 A; 1 from the surface alone" in titles
    lenslets.dispersion_map(waves(np.full(N, np.nan)), made)
    flat = SpaxelFlat(np.array([4000.0, 9000.0]), np.ones((N, 2)), np.ones((N, 2)))
    assert [axis.get_title() for axis in lenslets.flat_map(flat, made).axes[:3]] == ["4500 A", "6500 A", "8500 A"]


@pytest.mark.parametrize(("accepted", "word"), [(True, ""), (False, "NOT ACCEPTED")])
def test_flexure_tells_errors_and_whether_it_was_believed(accepted, word):
    error = np.diag([1e-4, 4e-4, 1e-12])
    warp = Warp.rigid((2048, 2048), 0.31, -0.6, 1e-5, error, lines=(5578.9,), accepted=accepted)
    title = lenslets.flexure(warp, spaxels(), spectra()).axes[0].get_title()
    assert "dx +0.310 +- 0.010" in title
    assert title.endswith(word)


def test_the_field_shows_its_star():
    cube = field.cube(2.0, 1.0)
    light = lenslets.band_light(cube, (5000.0, 8000.0))
    brightest = int(np.argmax(light))
    assert np.hypot(cube.east[brightest] - 2.0, cube.north[brightest] - 1.0) < 0.6
    assert len(lenslets.field(cube).axes) == 3
