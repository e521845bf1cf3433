"""Cosmic rays are found; sky lines, stars and emission lines stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.frames import clean
from builders.scenes import sky, star, tracks
from nightpipe.model.flags import Flag
from nightpipe.steps.detector.cosmics import Cosmics, RejectRepeats
from nightpipe.steps.detector.scene import scene, shift_between

NY, NX = 160, 320
COSMIC = np.uint32(Flag.COSMIC)


def exposed(rng, truth, rays=None, **facts):
    """Return a frame of Poisson `truth`, plus cosmic rays."""
    frame = clean(rng, truth, shape=(NY, NX), **facts)
    return frame if rays is None else frame.but(data=frame.data + rays.astype(np.float32))


def hits(frame):
    return (frame.mask & COSMIC) != 0


def faint_limit(truth, times=5.0):
    return times * np.sqrt(truth + 25)


@pytest.mark.parametrize("what", ["sky", "faint star", "bright star"])
def test_tracks_are_found_and_nothing_else(what):
    rng = np.random.default_rng(len(what))
    truth = sky(NY, NX) + (0 if what == "sky" else star(NY, NX, flux=300.0 if what == "faint star" else 40000.0))
    rays = tracks(rng, (NY, NX), 60)
    found = hits(Cosmics().run(exposed(rng, truth, rays)))
    struck = rays > faint_limit(truth)
    assert (found & struck).sum() / struck.sum() > 0.9
    assert (found & (rays < 1)).sum() < 0.0006 * NY * NX  # noise beside a track may join it


@pytest.mark.parametrize("fwhm", [2.0, 2.6, 4.0])
def test_undersampled_lines_and_stars_are_not_eaten(fwhm):
    rng = np.random.default_rng(int(10 * fwhm))
    truth = sky(NY, NX, fwhm=fwhm) + star(NY, NX, flux=30000.0, fwhm=fwhm)
    assert hits(Cosmics().run(exposed(rng, truth))).sum() <= 8


def test_emission_line_of_a_faint_object_stays():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:NY, :NX]
    blob = 400 * np.exp(-0.5 * ((y - 90) / 1.8) ** 2 - 0.5 * ((x - 200) / 1.5) ** 2)
    found = hits(Cosmics().run(exposed(rng, sky(NY, NX) + blob)))
    assert not found[85:96, 195:206].any()


def test_data_are_not_touched_and_flagged_pixels_stay_flagged():
    rng = np.random.default_rng(4)
    frame = exposed(rng, sky(NY, NX), tracks(rng, (NY, NX), 20))
    frame.mask[10:20, 10:20] = Flag.BAD
    after = Cosmics().run(frame)
    assert np.array_equal(after.data, frame.data)
    assert np.array_equal(after.var, frame.var)
    assert np.array_equal(after.mask & ~COSMIC, frame.mask)
    assert not hits(after)[10:20, 10:20].any()


def test_a_storm_carries_a_caveat():
    rng = np.random.default_rng(5)
    frame = exposed(rng, sky(NY, NX, lines=()), tracks(rng, (NY, NX), 400, charge=600.0))
    assert "cosmics.many" in {c.code for c in Cosmics(most=0.01).run(frame).caveats}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), level=st.floats(0, 5000), masked=st.floats(0, 1))
def test_never_unmasks(seed, level, masked):
    rng = np.random.default_rng(seed)
    frame = exposed(rng, np.full((NY, NX), level), tracks(rng, (NY, NX), 5))
    frame.mask[rng.random((NY, NX)) < masked] = Flag.NO_DATA
    for after in (Cosmics().run(frame), RejectRepeats().run(frame, (frame,))):
        assert np.all(after.mask & frame.mask == frame.mask)
        assert np.isfinite(after.data).all()


def repeats(rng, *, rows=(60.0, 60.0), fluxes=(600.0, 600.0), extra=(0.0, 0.0), rays=None, exptimes=(100.0, 100.0)):
    """Return two exposures of one target; the first is hit by `rays`."""
    made = []
    for k in range(2):
        truth = sky(NY, NX, level=60.0 * (1 + 0.4 * k)) + star(NY, NX, row=rows[k], flux=fluxes[k], fwhm=4 + 2 * k)
        made.append(exposed(rng, truth + extra[k], rays if k == 0 else None, exptime=exptimes[k]))
    return made


def test_repeats_find_what_one_frame_cannot_tell():
    """A blurred hit, as wide as a star, passes as an object in one frame, not in two."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:NY, :NX]
    blob = 700 * np.exp(-0.5 * ((y - 120) / 1.9) ** 2 - 0.5 * ((x - 100) / 1.9) ** 2)
    one, two = repeats(rng, rays=blob)
    alone = hits(Cosmics().run(one))
    both = hits(RejectRepeats().run(Cosmics().run(one), (Cosmics().run(two),)))
    core = blob > 350
    assert (alone & core).sum() < 0.3 * core.sum()
    assert (both & core).sum() > 0.9 * core.sum()


def test_real_features_are_never_rejected():
    """An emission line on a moving object, other seeing, other sky, other exposure time."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:NY, :NX]
    lines = [
        800 * k * np.exp(-0.5 * ((y - row) / 2.0) ** 2 - 0.5 * ((x - 220) / 1.5) ** 2)
        for row, k in ((60, 1), (85, 0.6))
    ]
    one, two = repeats(rng, rows=(60.0, 85.0), fluxes=(600.0, 360.0), extra=lines, exptimes=(100.0, 60.0))
    for frame, other in ((one, two), (two, one)):
        assert hits(RejectRepeats().run(frame, (other,))).sum() <= 3


def test_three_exposures_need_all_others_to_disagree():
    rng = np.random.default_rng(8)
    rays = np.zeros((NY, NX))
    rays[100:104, 150:153] = 900.0
    one, two = repeats(rng, rays=rays)
    alike = one.but(data=two.data + rays.astype(np.float32))
    assert not hits(RejectRepeats().run(one, (two, alike)))[100:104, 150:153].any()
    assert hits(RejectRepeats().run(one, (two, two)))[100:104, 150:153].all()


def test_flagged_pixels_of_the_others_are_no_witnesses():
    rng = np.random.default_rng(9)
    rays = np.zeros((NY, NX))
    rays[100, 150] = 900.0
    one, two = repeats(rng, rays=rays)
    two.mask[95:106, 145:156] = Flag.BAD
    assert not hits(RejectRepeats().run(one, (two,)))[100, 150]
    assert not hits(RejectRepeats().run(one, ())).any()


def test_scene_follows_lines_objects_and_absorption():
    rng = np.random.default_rng(10)
    truth = sky(NY, NX) + star(NY, NX, flux=20000.0)
    frame = exposed(rng, truth)
    model = scene(frame.data, frame.good, rows=40, columns=25).model
    off = (model - truth) / np.sqrt(truth + 25 + (0.04 * truth) ** 2)
    assert np.percentile(np.abs(off), 99) < 2


def test_shift_between_profiles():
    one = np.exp(-0.5 * ((np.arange(200) - 60) / 3.0) ** 2)
    two = np.exp(-0.5 * ((np.arange(200) - 145) / 4.0) ** 2)
    assert shift_between(one, two) == 85
    assert shift_between(two, one) == -85
    assert shift_between(np.zeros(200), two) == 0


@pytest.mark.peer
def test_better_than_astroscrappy_on_the_same_frames():
    """Completeness at least astroscrappy's, false hits at most."""
    astroscrappy = pytest.importorskip("astroscrappy")
    rng = np.random.default_rng(11)
    truth = sky(NY, NX) + star(NY, NX, flux=5000.0)
    ours, theirs = [], []
    for _ in range(4):
        rays = tracks(rng, (NY, NX), 60)
        frame = exposed(rng, truth, rays)
        peer, _ = astroscrappy.detect_cosmics(frame.data, gain=1.0, readnoise=5.0, satlevel=1e9)
        struck = rays > faint_limit(truth)
        for found, score in ((hits(Cosmics().run(frame)), ours), (peer, theirs)):
            score.append(((found & struck).sum() / struck.sum(), (found & (rays < 1)).sum()))
    complete, false = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    assert complete[0] >= false[0]
    assert complete[1] <= false[1]
