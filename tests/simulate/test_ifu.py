"""Simulated lenslet spectra: light is kept, lines fall where the law puts them, headers say what was done."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.simulate.ifu.exposures import AIR, ccd, read
from nightpipe.simulate.ifu.headers import cards, file_name
from nightpipe.simulate.ifu.instrument import EPOCHS, along, efficiency
from nightpipe.simulate.ifu.lattice import lattice
from nightpipe.simulate.ifu.night import checked
from nightpipe.simulate.ifu.paint import WAVE, along_columns
from nightpipe.simulate.ifu.schedule import Planner
from nightpipe.simulate.ifu.sources import Seeing, Source, shares


def test_the_dispersion_is_that_of_the_prism():
    step = 1.0 / (along(np.array([4251.0, 5001.0, 9001.0])) - along(np.array([4250.0, 5000.0, 9000.0])))
    assert step == pytest.approx([-14.5, -19.0, -44.0], rel=0.05)  # red lies at low x
    assert efficiency(np.array([3000.0, 7250.0, 10300.0])) == pytest.approx([0.0, 0.1845, 0.0], abs=1e-3)


def test_lenslets_are_many_and_neighbours_lie_a_pitch_apart():
    made = lattice(np.random.default_rng(1))
    assert 1350 < len(made) < 1650
    first = np.flatnonzero((made.q == 0) & (made.r == 0))[0]
    beside = np.flatnonzero((made.q == 1) & (made.r == 0))[0]
    assert np.hypot(made.east[first] - made.east[beside], made.north[first] - made.north[beside]) == pytest.approx(
        0.635, rel=0.01
    )
    assert made.y[beside] - made.y[first] == pytest.approx(7.0, abs=0.8)


def test_lines_and_continuum_keep_their_light_and_place():
    made = lattice(np.random.default_rng(1))
    k = int(np.argmin(np.hypot(made.x - 1000, made.y - 1000)))
    line = np.array([5578.887])
    first, light = along_columns(made, k, np.zeros(WAVE.size), line, np.array([1000.0]))
    columns = first + np.arange(light.size)
    assert light.sum() == pytest.approx(1000.0, rel=1e-6)
    assert (light * columns).sum() / 1000.0 == pytest.approx(made.column(k, line)[0], abs=2e-3)
    _, flat = along_columns(made, k, np.ones(WAVE.size), line, np.zeros(1))
    assert flat.sum() == pytest.approx(WAVE[-1] - WAVE[0], rel=2e-3)


def test_a_star_within_the_field_is_caught_whole_and_refracted():
    made = lattice(np.random.default_rng(1), dead=0)
    found = shares(made, Source("star", 0.5, -0.8), Seeing(1.6, (0.3, 0.3), 1.5, 40.0, AIR))
    blue, red = (int(np.argmin(np.abs(WAVE - wave))) for wave in (4200.0, 9000.0))
    assert found[:, blue].sum() == pytest.approx(0.985, abs=0.02)
    shift = (found[:, blue] * made.north).sum() / found[:, blue].sum()
    shift -= (found[:, red] * made.north).sum() / found[:, red].sum()
    assert shift > 0.6


@pytest.mark.parametrize("epoch", ["pixis", "andor"])
def test_frames_and_headers_are_those_of_their_epoch(epoch):
    asked = checked({"epoch": epoch, "targets": 2})
    known = EPOCHS[epoch]
    shots = Planner(asked, (known.speed, known.fast), np.random.default_rng(1)).night()
    names = {file_name(shot) for shot in shots}
    assert len(names) == len(shots)
    sky = [shot for shot in shots if shot.kind == "science"]
    assert all(shot.altitude > 30 for shot in sky)
    written = cards(sky[0], known, asked)
    assert written["OBJECT"] == "ZTF26sima [A]"
    assert written["IMGTYPE"] == "Science"
    raw, _ = read(ccd(known, np.random.default_rng(2)), shots[0], None, np.random.default_rng(3), cosmics=False)
    assert raw.shape == (2048, known.columns)
    assert raw.std() == pytest.approx(known.noise[shots[0].speed] / known.gain, rel=0.2)
