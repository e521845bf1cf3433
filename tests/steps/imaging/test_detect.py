"""Detection: completeness, positions, bits, and what is said of images without usable stars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from builders.starfield import field, observed
from nightpipe.model.flags import Flag
from nightpipe.steps.imaging.detect import EDGE, EXTENDED, MASKED, SATURATED, Detect


def matched(truth, sources, within=1.5):
    distance, index = cKDTree(np.c_[truth.x, truth.y]).query(np.c_[sources.x, sources.y])
    return distance < within, index


@pytest.fixture(scope="module")
def scene():
    return field(np.random.default_rng(5), 150, (640, 640), fwhm=3.4)


@pytest.fixture(scope="module")
def sources(scene):
    return Detect().run(scene.frame)


def test_finds_the_stars_and_hardly_anything_else(scene, sources):
    ok, index = matched(scene, sources)
    lone = cKDTree(np.c_[scene.x, scene.y]).query(np.c_[scene.x, scene.y], k=2)[0][:, 1] > 12
    bright = np.flatnonzero((scene.flux > 2000) & lone)
    assert np.isin(bright, index[ok]).mean() > 0.98
    assert np.count_nonzero(~ok) <= 0.03 * len(sources) + 1


def test_positions_have_the_errors_they_claim(scene, sources):
    ok, index = matched(scene, sources)
    use = ok & (sources.quality == 0) & (sources.flux < 150 * sources.flux_error)
    pulls = np.r_[
        (sources.x - scene.x[index])[use] / sources.x_error[use],
        (sources.y - scene.y[index])[use] / sources.y_error[use],
    ]
    assert abs(np.median(pulls)) < 0.25
    assert 0.8 < 1.4826 * np.median(np.abs(pulls)) < 1.3


def test_total_fluxes_of_bright_stars_are_right_within_aperture_limits(scene, sources):
    ok, index = matched(scene, sources)
    use = ok & (sources.quality == 0) & (sources.flux > 50 * sources.flux_error)
    assert np.median(100 * sources.flux[use] / scene.flux[index[use]]) == pytest.approx(1, abs=0.03)


def test_stars_have_their_width_and_are_not_extended(scene, sources):
    star = sources.columns["star"] > 0
    assert np.median(sources.columns["fwhm"][star]) == pytest.approx(3.4, rel=0.1)
    assert np.mean((sources.quality & EXTENDED) != 0) < 0.05
    assert sources.caveats == ()


def test_galaxies_are_extended():
    rng = np.random.default_rng(3)
    light = field(rng, 60, (512, 512), fwhm=3.0, vary=0.0).frame.data - 300
    jj, ii = np.mgrid[:512, :512]
    places = rng.uniform(40, 470, (12, 2))
    for x, y in places:
        r = np.hypot(ii - x, (jj - y) / 0.7)
        light = light + 2e4 * np.exp(-r / 3.0) / (2 * np.pi * 9 * 0.7)
    found = Detect().run(observed(rng, np.maximum(light, 0)))
    distance, index = cKDTree(np.c_[found.x, found.y]).query(places)
    near = distance < 2
    assert near.sum() >= 11
    assert ((found.quality[index[near]] & EXTENDED) != 0).mean() > 0.9


def test_bits_of_edge_saturation_and_masks():
    rng = np.random.default_rng(8)
    scene = field(rng, grid=64, shape=(384, 384), least=2e4, most=2e6, saturation=30000, vary=0.0)
    mask = scene.frame.mask.copy()
    victim = np.argmin(np.abs(scene.flux - 5e4))
    mask[int(scene.y[victim]), int(scene.x[victim]) + 1] |= np.uint32(Flag.BAD)
    frame = replace(scene.frame, mask=mask, data=scene.frame.data[:, :])
    found = Detect().run(frame)
    _, index = cKDTree(np.c_[found.x, found.y]).query(np.c_[scene.x, scene.y])
    peak = scene.flux * 0.075
    assert ((found.quality[index[peak > 60000]] & SATURATED) != 0).all()
    assert ((found.quality[index[peak < 15000]] & SATURATED) == 0).all()
    assert found.quality[index[victim]] & MASKED
    assert found.mask[index[victim]] & np.uint32(Flag.BAD)
    cut = Detect().run(cropped(frame, int(scene.x[0]) + 1))
    assert (cut.quality[cut.x < 3] & EDGE).all()
    assert (cut.x < 3).any()


def cropped(frame, x0):
    return replace(
        frame, data=frame.data[:, x0:].copy(), var=frame.var[:, x0:].copy(), mask=frame.mask[:, x0:].copy(),
        read_var=None,
    )  # fmt: skip


def test_blank_sky_has_no_sources():
    found = Detect().run(observed(np.random.default_rng(2), np.zeros((256, 256))))
    assert len(found) <= 1
    assert any(c.code.startswith("detect.") for c in found.caveats)


def test_all_saturated_is_said():
    scene = field(np.random.default_rng(4), grid=80, shape=(240, 240), least=8e5, most=9e5, saturation=20000)
    found = Detect().run(scene.frame)
    assert "detect.saturated" in {c.code for c in found.caveats}


def test_trailed_stars_are_said():
    rng = np.random.default_rng(6)
    scene = field(rng, 40, (384, 384), fwhm=3.0, least=5000)
    light = scene.frame.data - 300
    smeared = np.mean([np.roll(light, k, axis=1) for k in range(8)], axis=0)
    found = Detect().run(observed(rng, np.maximum(smeared, 0)))
    assert "detect.trailed" in {c.code for c in found.caveats}


def test_wrong_variance_is_said(scene):
    frame = replace(scene.frame, var=scene.frame.var / 4, read_var=None)
    assert "detect.noise" in {c.code for c in Detect().run(frame).caveats}


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30))
def test_shifting_the_image_shifts_the_sources(dx, dy):
    scene = field(np.random.default_rng(9), grid=70, shape=(280, 280), least=1e4)
    frame = scene.frame
    rolled = replace(frame, **{n: np.roll(getattr(frame, n), (dy, dx), (0, 1)) for n in ("data", "var", "mask")})
    a, b = Detect().run(frame), Detect().run(rolled)
    distance, _ = cKDTree(np.c_[b.x, b.y]).query(np.c_[a.x + dx, a.y + dy])
    inside = (a.x + dx < 270) & (a.y + dy < 270)
    assert np.median(distance[inside]) < 0.02
