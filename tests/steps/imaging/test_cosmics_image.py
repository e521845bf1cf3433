"""Cosmic rays in single images whose sky was taken off."""

from __future__ import annotations

import numpy as np
import pytest

from builders import imagefield
from nightpipe.model.flags import Flag
from nightpipe.steps.detector.linearity import grown
from nightpipe.steps.imaging.background import CosmicsImage

SHAPE = (256, 256)


def image(sky, *, cosmics=0, seed=3):
    """Return a frame whose sky was taken off: read noise is all that `read_var` has."""
    rng = np.random.default_rng(seed)
    where = imagefield.wcs(SHAPE)
    light = imagefield.light(rng, 30, where, SHAPE)
    electrons = imagefield.expected(SHAPE, where, light, fwhm=4.0, exptime=100.0)
    data = rng.poisson(electrons + sky) + rng.normal(0, 5.0, SHAPE)
    hit = np.zeros(SHAPE, bool)
    hit[rng.integers(5, 250, cosmics), rng.integers(5, 250, cosmics)] = True
    data = data + hit * 2000.0
    frame = imagefield.observed(rng, electrons, sky=sky)
    read = np.full(SHAPE, 25.0, np.float32)
    left = (data - sky).astype(np.float32)
    return frame.but(data=left, var=(np.maximum(data, 0) + 25.0).astype(np.float32), read_var=read), hit


@pytest.mark.parametrize("sky", [0.0, 200.0, 5000.0])
def test_the_noise_of_the_sky_that_was_taken_off_is_no_cosmic_ray(sky):
    frame, _ = image(sky)
    found = CosmicsImage().run(frame, 1).mask & np.uint32(Flag.COSMIC) != 0
    assert found.mean() < 2e-4


def test_hits_are_found_on_a_bright_sky():
    frame, hit = image(1500.0, cosmics=120)
    found = CosmicsImage().run(frame, 1).mask & np.uint32(Flag.COSMIC) != 0
    assert found[hit].mean() > 0.95
    assert (found & ~hit).mean() < 4e-3  # a pixel or two beside each


def test_a_stack_of_many_needs_no_search_and_a_person_may_switch_it_off():
    frame, _ = image(200.0, cosmics=50)
    assert CosmicsImage().run(frame, 3) is frame
    assert CosmicsImage(when="never").run(frame, 1) is frame
    assert CosmicsImage(when="always").run(frame, 3).mask.any()


def saturated(frame, limit):
    """Return the frame as a detector that is full at `limit` shows it."""
    full = frame.data > limit
    return frame.but(data=np.minimum(frame.data, np.float32(limit))).flagged(grown(full, 1), Flag.SATURATED), full


def test_the_flanks_of_saturated_stars_are_no_cosmic_rays_but_saturated_tracks_are():
    frame, _ = image(200.0)
    jj, ii = np.mgrid[: SHAPE[0], : SHAPE[1]]
    star = 3e5 * (1 + ((ii - 60.3) ** 2 + (jj - 200.6) ** 2) / 7.0) ** -2.5
    track = np.zeros(SHAPE)
    track[[100, 101, 102, 103], [150, 151, 153, 154]] = 4000.0
    track[102, 152] = 3e5
    frame, full = saturated(frame.but(data=(frame.data + star + track).astype(np.float32)), 6e4)
    assert full[200, 60]
    assert full[102, 152]
    done = CosmicsImage().run(frame, 1)
    found = done.mask & np.uint32(Flag.COSMIC) != 0
    assert not found[180:221, 40:81].any()
    assert not done.good[track > 0].any()
    assert found[100, 150]
