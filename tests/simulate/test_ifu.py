"""Simulated lenslet spectra: light is kept, lines fall where the law puts them, headers say what was done."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from astropy.io import fits

from nightpipe.simulate.ifu.exposures import AIR, ccd, read, scene, shaded
from nightpipe.simulate.ifu.headers import cards, file_name
from nightpipe.simulate.ifu.instrument import EPOCHS, along, efficiency
from nightpipe.simulate.ifu.lattice import lattice
from nightpipe.simulate.ifu.night import checked, write_ifu_night
from nightpipe.simulate.ifu.paint import WAVE, along_columns
from nightpipe.simulate.ifu.schedule import Planner
from nightpipe.simulate.ifu.sources import Seeing, Source, shares
from nightpipe.simulate.ifu.weather import Weather


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
    assert all(shot.altitude > 20 for shot in sky)
    written = cards(sky[0], known, asked)
    assert written["OBJECT"] == "ZTF26sima [A]"
    assert written["IMGTYPE"] == "Science"
    raw, _ = read(ccd(known, np.random.default_rng(2)), shots[0], None, np.random.default_rng(3), cosmics=False)
    assert raw.shape == (2048, known.columns)
    assert raw.std() == pytest.approx(known.noise[shots[0].speed] / known.gain, rel=0.2)


def planned(seed=1, **options):
    """Return the exposures of a night."""
    return Planner(checked(options), (0.1, 2.0), np.random.default_rng(seed)).night()


def test_a_moving_target_stays_and_what_stands_still_is_trailed():
    asked = {"rate": 120.0, "neighbour": 18.0, "pair": True, "offset": "0,0"}
    first, second = (shot for shot in planned(**asked) if shot.kind == "science")
    gap = (second.start - first.start).total_seconds()
    assert (second.ra - first.ra) * 3600.0 * np.cos(np.radians(first.dec)) == pytest.approx(120.0 * gap / 3600.0)
    target, neighbour = (source for source, _ in scene(first, checked(asked), 1))
    _, later = (source for source, _ in scene(second, checked(asked), 1))
    assert (target.east, target.trail) == (0.0, 0.0)
    assert neighbour.trail == pytest.approx(120.0 * first.exptime / 3600.0)
    assert neighbour.east - later.east == pytest.approx(120.0 * gap / 3600.0, rel=0.02)
    written = cards(first, EPOCHS["pixis"], checked(asked))
    assert written["RA_RATE"] == written["ORA_RAT"] == 120.0


def test_a_trailed_star_is_as_wide_as_its_trail():
    made = lattice(np.random.default_rng(1), dead=0)
    still, moved = (
        shares(made, Source("star", 0.0, 0.0, trail=trail), Seeing(1.4, (0.1, 0.1), 1.0, 0.0, AIR))[:, 400]
        for trail in (0.0, 8.0)
    )
    spread = [np.sqrt((one * made.east**2).sum() / one.sum()) for one in (still, moved)]
    assert spread[1] ** 2 - spread[0] ** 2 == pytest.approx(8.0**2 / 12.0, rel=0.15)
    assert moved.sum() == pytest.approx(still.sum(), rel=0.02)


def test_a_full_night_begins_with_the_focus():
    kinds = [shot.kind for shot in planned(size="full")]
    assert kinds.count("bias") == 20
    assert kinds.count("focus") == 3
    assert kinds.index("focus") < kinds.index("standard") < kinds.index("science")
    focus = next(shot for shot in planned(size="full") if shot.kind == "focus")
    assert cards(focus, EPOCHS["pixis"], checked({}))["OBJECT"] == "Focus: SAO110707"


def test_the_weather_varies_and_its_cards_agree():
    written = [cards(shot, EPOCHS["pixis"], checked({})) for seed in (1, 2) for shot in planned(seed)]
    assert len({one["IN_AIR"] for one in written}) > 5
    assert all(one["IN_DEW"] <= one["IN_AIR"] for one in written)
    assert Weather(12.0, 100.0).dew == pytest.approx(12.0, abs=1e-6)
    assert Weather().air.pressure == pytest.approx(625.0)


def test_a_standard_may_be_as_old_as_asked():
    shots = planned(age=5.0)
    star, target = (next(shot for shot in shots if shot.kind == kind) for kind in ("standard", "science"))
    assert (target.start - star.start).total_seconds() / 3600.0 == pytest.approx(5.0, abs=0.2)


def test_lenslets_behind_a_hair_are_dark_in_lamps_alone():
    made = lattice(np.random.default_rng(1), dead=0)
    hidden = shaded(made).response < 0.05
    assert 6 <= hidden.sum() <= 16


@pytest.mark.slow
def test_a_full_andor_night_is_written_whole(tmp_path):
    truth = write_ifu_night(tmp_path / "raw", seed=3, size="full", epoch="andor", target="star")
    names = sorted(path.name for path in (tmp_path / "raw").iterdir())
    headers = [fits.getheader(tmp_path / "raw" / name) for name in names if name.startswith("ifu")]
    counts = Counter(header["OBJECT"].split(" ")[1] for header in headers if "Calib" in header["OBJECT"])
    assert counts == {"bias": 10, "dome": 5, "Hg": 5, "Xe": 5, "Cd": 5}
    assert {(header["NAXIS1"], header["PSCANX1"], header["OSCANX0"]) for header in headers} == {(2088, 20, 2069)}
    assert {header["GAIN"] for header in headers} == {0.9}
    assert json.loads((truth / "sedm.json").read_text())["detector"]["gain"] == pytest.approx(0.93)
    rainbow = [fits.getheader(tmp_path / "raw" / name)["OBJECT"] for name in names if name.startswith("rc")]
    assert rainbow[0].startswith("ACQ-ZTF26sima")
    assert len(rainbow) > 3
    star = next(header for header in headers if header["IMGTYPE"] == "Standard")
    raw = fits.getdata(tmp_path / "raw" / next(n for n in names if star["UTC"][11:19].replace(":", "_") in n))
    assert raw[:, 2069:].mean() == pytest.approx(raw[:, :20].mean(), abs=1.0)
    assert raw[:, 20:2068].max() > raw[:, :20].max() + 500
