from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders import imagefield as field
from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.maths.robust import mad_std
from nightpipe.model.flags import Flag
from nightpipe.steps.imaging.background import SubtractBackground
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.fringe import BuildFringe, Defringe
from nightpipe.steps.imaging.skyframe import BackgroundSky, FramesSky, RemoveSky

SHAPE = (256, 256)


def pattern():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 1.0 + 0.2 * np.sin(x / 9 + y / 23) * (x / 256) + 0.001 * (x - 128)


def night(count=9, *, level=2000.0, drift=0.15, faint=400.0, seed=1, structure=None):
    """Return dithered frames on a drifting, structured sky, and the sky in each."""
    rng = np.random.default_rng(seed)
    places = [field.wcs(SHAPE, dx=rng.uniform(-25, 25), dy=rng.uniform(-25, 25)) for _ in range(count)]
    stars = field.light(rng, 40, places[0], SHAPE, low=2, high=faint)
    shape = pattern() if structure is None else structure
    frames, skies = [], []
    for k, where in enumerate(places):
        sky = level * (1 + drift * np.sin(k)) * shape
        light = field.expected(SHAPE, where, stars, fwhm=3.5, exptime=100)
        made = field.observed(rng, light, sky=0.0)
        noise = rng.poisson(sky) - sky
        frame = replace(made, data=(made.data + sky + noise).astype("f4"), var=(made.var + sky).astype("f4"),
                        exposure=replace(made.exposure, mjd=59000 + k / 1440, path=f"/raw/s{k}.fits"))  # fmt: skip
        frames.append(frame)
        skies.append(sky)
    return frames, skies, (places, stars)


def test_sky_from_the_other_frames_is_that_of_the_scene():
    frames, truth, _ = night()
    skies = FramesSky().run(frames)
    assert len(skies) == len(frames)
    for frame, sky, true in zip(frames, skies, truth, strict=True):
        good = sky.mask == 0
        assert good.mean() > 0.98
        rest = (sky.data - true)[good]
        assert abs(np.median(rest)) < 3.0
        assert np.std(rest) < 1.3 * np.sqrt(np.median(sky.var)) + 1.0
        assert sky.frames != ()
        assert sky.level == pytest.approx(np.median(true), rel=0.03)
        clean = RemoveSky().run(frame, sky)
        assert abs(np.median(clean.data)) < 5
        assert (clean.var > frame.var).mean() > 0.98
    assert all(len(sky.frames) == len(frames) - 1 for sky in skies)


def test_two_passes_leave_less_of_faint_objects_in_the_sky_than_one():
    frames, truth, (places, stars) = night(faint=60.0, seed=4)
    light = field.expected(SHAPE, places[0], stars, fwhm=3.5, exptime=100)
    core = light > 0.2 * light.max()
    two = FramesSky().run(frames)[0]
    assert abs((two.data - truth[0])[core].mean()) < 0.02 * light[core].mean()


def test_running_window_and_every_frame_used():
    frames, _, _ = night(count=7)
    skies = FramesSky(window=2).run(frames)
    assert skies[3].frames == ("s1", "s2", "s4", "s5")
    assert skies[0].frames == ("s1", "s2", "s3", "s4")
    assert {name for sky in skies for name in sky.frames} == {f"s{k}" for k in range(7)}
    still, truth, _ = night(count=4, drift=0.0)
    shifted = FramesSky(match="shift").run(still)
    assert all(abs(np.median(sky.data - true)) < 5 for sky, true in zip(shifted, truth, strict=True))


def test_one_bad_frame_does_not_spoil_the_sky():
    frames, truth, _ = night()
    spoiled = [
        *frames[:4],
        frames[4].but(data=frames[4].data + np.float32(3e4) * (np.indices(SHAPE)[0] < 128)),
        *frames[5:],
    ]
    sky = FramesSky().run(spoiled)[0]
    assert mad_std((sky.data - truth[0])[sky.mask == 0]) < 25


def test_too_few_frames_are_refused_and_own_background_serves():
    frames, truth, _ = night(count=2)
    with pytest.raises(BadFrameError, match="BackgroundSky"):
        FramesSky().run(frames)
    flat, true, _ = night(count=1, structure=np.ones(SHAPE))
    sky = BackgroundSky().run(flat[0])
    assert abs(np.median(sky.data) - np.median(true[0])) < 3
    assert np.std(sky.data) < 6
    with pytest.raises(BadFrameError, match="none"):
        BackgroundSky().run(flat[0].flagged(np.ones(SHAPE, bool), Flag.BAD))
    with pytest.raises(BadFrameError, match="shape"):
        RemoveSky().run(flat[0], replace(sky, data=sky.data[:5]))
    assert truth


def test_the_sky_of_a_large_image_is_told_by_a_part_of_it():
    rng = np.random.default_rng(3)
    shape = (2100, 2000)
    plane = 500 + 0.01 * np.arange(2000) + 4.0 * (np.arange(2000) % 2)  # odd columns read higher
    data = (plane + rng.normal(0, 20, shape)).astype("f4")
    data[rng.random(shape) < 0.01] += 5000
    frame = replace(field.observed(rng, np.zeros((8, 8)), sky=0.0), data=data, var=data, mask=np.zeros(shape, "u4"),
                    read_var=None)  # fmt: skip
    left = SubtractBackground().run(frame).data
    assert abs(np.median(left)) < 0.5
    assert abs(np.median(left[:, :300]) - np.median(left[:, -300:])) < 0.3


def unflattened(seed=7):
    """Two frames without a flat: response from pixel to pixel, hot pixels that know no sky, a dark corner, no bias."""
    rng = np.random.default_rng(seed)
    response = pattern() * rng.normal(1, 0.06, SHAPE) * np.where(np.indices(SHAPE).sum(axis=0) < 120, 0.8, 1.0)
    hot = np.where(rng.random(SHAPE) < 0.01, rng.exponential(2000, SHAPE), 0.0)
    places = [field.wcs(SHAPE, dx=-20, dy=3), field.wcs(SHAPE, dx=25, dy=-15)]
    stars = field.light(rng, 12, places[0], SHAPE, low=60, high=600, margin=40)
    frames = []
    for k, (where, level) in enumerate(zip(places, (3000.0, 2400.0), strict=True)):
        light = (field.expected(SHAPE, where, stars, fwhm=3.5, exptime=100) + level) * response + hot
        made = field.observed(rng, light, sky=0.0, name=f"u{k}")
        guess = np.float32(0.75 * level)  # what passed for the pedestal took photons with it
        var = (np.maximum(made.data - guess, 0) + 25).astype("f4")
        frames.append(made.but(data=made.data - guess, var=var, caveats=(Caveat("flat.none", "no flat"),)))
    return frames, places, stars


def test_without_a_flat_the_pattern_of_the_detector_is_no_source():
    frames, places, stars = unflattened()
    for frame, sky, where in zip(frames, FramesSky(least=2).run(frames), places, strict=True):
        clean = RemoveSky().run(frame, sky)
        found, holes = Detect().run(clean), Detect().run(clean.but(data=-clean.data))
        x, y = where.to_pixel(stars.ra, stars.dec)
        apart = np.hypot(found.x - x[:, None], found.y - y[:, None])
        inside = (x > 5) & (x < SHAPE[1] - 6) & (y > 5) & (y < SHAPE[0] - 6)
        shown = inside & (
            sky.mask[np.clip(np.rint(y), 0, 255).astype(int), np.clip(np.rint(x), 0, 255).astype(int)] == 0
        )
        assert (apart.min(axis=1) < 2)[shown].all()
        assert shown.sum() >= 8
        assert (apart.min(axis=0) > 3).sum() <= 2
        assert len(holes) <= 2


def fringes(count=8, seed=2):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    shape = 0.03 * np.sin(np.hypot(x - 40, y + 30) / 4)
    frames, amplitudes = [], []
    for k in range(count):
        level, strength = rng.uniform(1500, 3000), rng.uniform(0.7, 1.3)
        where = field.wcs(SHAPE, centre=(150 + k, 20))
        stars = field.light(rng, 25, where, SHAPE, low=20, high=1000)
        light = field.expected(SHAPE, where, stars, fwhm=3.5, exptime=100)
        sky = level * (1 + strength * shape)
        made = field.observed(rng, light + sky, sky=0.0, name=f"f{k}")
        frames.append(made)
        amplitudes.append(level * strength)
    return frames, np.array(amplitudes), shape


def test_fringes_are_found_scaled_and_removed():
    frames, amplitudes, shape = fringes()
    fringe = BuildFringe().run(frames)
    good = fringe.mask == 0
    slope = float((fringe.data * shape)[good].sum() / (shape**2)[good].sum())
    assert slope == pytest.approx(1.0, abs=0.2)  # the mean strength of these frames
    assert np.corrcoef(fringe.data[good], shape[good])[0, 1] > 0.9  # the rest is noise
    found, left = [], []
    for frame, amplitude in zip(frames, amplitudes, strict=True):
        clean = Defringe().run(frame, fringe)
        found.append(clean.header["NPFRINGE"] * slope / amplitude)
        blank = np.abs(clean.data - np.median(clean.data)) < 150  # stars are not fringes
        rest = np.where(blank, clean.data - np.median(clean.data), 0)
        left.append(float((rest * shape).sum() / (shape**2)[blank].sum()) / amplitude)
    np.testing.assert_allclose(found, 1.0, atol=0.06)
    np.testing.assert_allclose(left, 0.0, atol=0.12)


def test_frame_without_fringes_is_left_as_it_is():
    frames, _, _ = fringes()
    fringe = BuildFringe().run(frames)
    rng = np.random.default_rng(9)
    blank = field.observed(rng, np.full(SHAPE, 2000.0), sky=0.0)
    clean = Defringe(least=8.0).run(blank, fringe)
    assert [caveat.code for caveat in clean.caveats] == ["fringe.none"]
    np.testing.assert_array_equal(clean.data, blank.data)
    with pytest.raises(BadFrameError, match="frames"):
        BuildFringe().run(frames[:2])


def test_each_sky_names_its_image_and_the_level_of_both_skies_is_kept():
    frames, truth, _ = night(count=3)
    skies = FramesSky().run(frames)
    assert [sky.of for sky in skies] == ["s0", "s1", "s2"]
    assert all(len(sky.frames) == 2 for sky in skies)
    clean = SubtractBackground().run(RemoveSky().run(frames[0], skies[0]))
    assert clean.header["NPSKY"] == pytest.approx(np.median(truth[0]), rel=0.01)
