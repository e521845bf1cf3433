from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from builders import imagefield as field
from builders.pulls import bounds, told
from nightpipe.base.errors import BadFrameError
from nightpipe.maths.covariance import variance_factor
from nightpipe.model.flags import Flag
from nightpipe.steps.imaging.grid import Grid, common_grid
from nightpipe.steps.imaging.stack import StackImages

SHAPE = (220, 240)
FWHM = (3.0, 3.2, 3.6, 4.0, 3.1)
CLEAR = (1.0, 0.9, 0.8, 0.95, 0.7)


def places(seed=1, *, turn=2.0, distortion=0.5, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return [
        field.wcs(shape, dx=rng.uniform(-9, 9), dy=rng.uniform(-9, 9), turn=rng.uniform(-turn, turn),
                  distortion=distortion)
        for _ in FWHM
    ]  # fmt: skip


def lone(rng, where, count=16):
    """Return stars on a loose lattice, so that no aperture holds two."""
    side = int(np.sqrt(count))
    x, y = (np.stack(np.meshgrid(np.linspace(45, 195, side), np.linspace(45, 175, side))) +
            rng.uniform(-3, 3, (2, side, side))).reshape(2, -1)  # fmt: skip
    ra, dec = where.to_sky(x, y)
    return field.Light(ra, dec, np.exp(rng.uniform(np.log(300), np.log(5000), x.size)))


@cache
def scene(seed=1, *, noiseless=False, cosmics=0, **options):
    rng = np.random.default_rng(seed)
    solved = places(seed, **options)
    stars = lone(rng, solved[0])
    frames = []
    for k, where in enumerate(solved):
        electrons = field.expected(SHAPE, where, stars, fwhm=FWHM[k], exptime=100, clear=CLEAR[k])
        frame = field.observed(rng, electrons, name=f"f{k}", cosmics=cosmics)
        frames.append(replace(frame, data=electrons.astype("f4")) if noiseless else frame)
    return frames, solved, stars


def stacked(frames, solved, step=None, **changes):
    given = {
        "astrometry": [field.astrometry(one) for one in solved],
        "zeropoints": [field.zeropoint(25 + 2.5 * np.log10(clear)) for clear in CLEAR],
        "seeing": [size * field.SCALE for size in FWHM],
    } | changes
    return (step or StackImages()).run(frames, **given)


def ratios(stack, stars, radius=10):
    x, y = stack.wcs.to_pixel(stars.ra, stars.dec)
    return np.array([field.aperture(stack.data, a, b, radius) for a, b in zip(x, y, strict=True)]) / stars.rate


def test_fluxes_of_stars_are_true_to_a_thousandth():
    stack = stacked(*scene(noiseless=True)[:2])
    np.testing.assert_allclose(ratios(stack, scene(noiseless=True)[2]), 1.0, atol=1e-3)
    assert stack.zp == 25.0
    assert stack.count.max() == len(FWHM)
    assert stack.exptime == 500


@pytest.mark.parametrize("scale", [0.25, 0.45])
def test_fluxes_are_true_on_other_pixels(scale):
    frames, solved, stars = scene(noiseless=True)
    stack = stacked(frames, solved, StackImages(scale=scale))
    np.testing.assert_allclose(ratios(stack, stars, 3.0 / scale), 1.0, atol=2e-3)
    assert stack.wcs.scale == pytest.approx(scale, rel=1e-3)


def test_cosmic_rays_are_rejected_and_cores_are_not():
    frames, solved, stars = scene(2, cosmics=20)
    stack = stacked(frames, solved)
    x, y = stack.wcs.to_pixel(stars.ra, stars.dec)
    counts = stack.count[np.round(y).astype(int), np.round(x).astype(int)]
    assert (counts == len(FWHM)).all()
    clean = stacked(*scene(2)[:2])
    sky = (stack.count >= 3) & (clean.count >= 3)
    chi = (stack.data / np.sqrt(np.where(stack.var > 0, stack.var, 1)))[sky & (clean.data < 3 * np.sqrt(clean.var))]
    assert (chi > 7).sum() <= 6  # three hits of five cannot be told from light
    dirty = stacked(frames, solved, StackImages(clip=0))
    assert (dirty.data > 8 * np.sqrt(dirty.var)).sum() > (stack.data > 8 * np.sqrt(stack.var)).sum() + 100


def test_order_of_frames_does_not_matter():
    frames, solved, _ = scene(2, cosmics=20)
    grid = common_grid(solved, [SHAPE] * len(FWHM))
    one, zps = stacked(frames, solved, grid=grid), [field.zeropoint(25 + 2.5 * np.log10(clear)) for clear in CLEAR]
    two = stacked(frames[::-1], solved[::-1], grid=grid, zeropoints=zps[::-1],
                  seeing=[size * field.SCALE for size in FWHM[::-1]])  # fmt: skip
    np.testing.assert_allclose(one.data, two.data, atol=1e-4)
    np.testing.assert_array_equal(one.mask, two.mask)
    assert one.covariance == pytest.approx(two.covariance)


def test_pixels_bad_in_all_frames_stay_bad_and_all_is_finite():
    frames, solved, _ = scene()
    bad = np.zeros(SHAPE, np.uint32)
    bad[100:112, 100:112] = Flag.SATURATED
    whole = stacked([replace(one, mask=bad, data=np.where(bad != 0, np.nan, one.data)) for one in frames],
                    [solved[0]] * len(FWHM))  # fmt: skip
    x, y = (round(float(p)) for p in whole.wcs.to_pixel(*solved[0].to_sky(106, 106)))
    assert whole.mask[y, x] & Flag.SATURATED
    assert whole.count[y, x] == 0
    assert all(np.isfinite(part).all() for part in (whole.data, whole.var, whole.weight))
    assert ((whole.mask != 0) == (whole.count == 0)).all()


def test_frames_are_left_out_with_a_reason():
    frames, solved, _ = scene()
    sizes = [1.0, 1.1, 1.0, 3.0, 0.9]
    zps = [field.zeropoint(zp) for zp in (25, 25, 22, 25, 25)]
    known = [field.astrometry(one, matches=2 if k == 0 else 50) for k, one in enumerate(solved)]
    stack = stacked(frames, solved, astrometry=known, seeing=sizes, zeropoints=zps)
    assert dict(stack.left_out).keys() == {"f0", "f2", "f3"}
    assert "2 stars" in dict(stack.left_out)["f0"]
    assert "cloud" in dict(stack.left_out)["f2"]
    assert "seeing 3.00" in dict(stack.left_out)["f3"]
    assert stack.frames == ("f1", "f4")
    assert [one.code for one in stack.caveats] == ["stack.few"]


def test_what_cannot_be_stacked_is_refused():
    frames, solved, _ = scene()
    with pytest.raises(BadFrameError, match="solution"):
        StackImages().run(frames, [])
    with pytest.raises(BadFrameError, match="electrons"):
        stacked([replace(one, unit="adu") for one in frames], solved)
    with pytest.raises(BadFrameError, match="good enough"):
        stacked(frames, solved, astrometry=[field.astrometry(one, 1) for one in solved])
    far = [field.wcs(SHAPE, centre=(150.0 + 5 * k, 20.0)) for k in range(len(FWHM))]
    with pytest.raises(BadFrameError, match="one field"):
        stacked(frames, far)


def test_grid_reaches_over_zero_hours_and_near_the_pole():
    for centre in ((359.999, 10.0), (0.001, -30.0), (120.0, 89.95)):
        solved = [field.wcs(SHAPE, dx=d, centre=centre) for d in (-20, 20)]
        grid = common_grid(solved, [SHAPE] * 2)
        assert grid.shape[0] == pytest.approx(SHAPE[0], abs=3)
        assert grid.shape[1] == pytest.approx(SHAPE[1] + 40, abs=3)
        common = common_grid(solved, [SHAPE] * 2, extent="common")
        assert common.shape[1] == pytest.approx(SHAPE[1] - 40, abs=3)


def test_another_stacks_grid_is_taken():
    frames, solved, _ = scene()
    stack = stacked(frames, solved, grid=Grid(solved[0], (50, 60)))
    assert stack.data.shape == (50, 60)
    assert stack.wcs is solved[0]


@pytest.mark.pulls
@pytest.mark.parametrize(("turn", "distortion"), [(0.0, 0.0), (3.0, 0.5)])
def test_sums_in_apertures_scatter_as_the_stated_covariance_says(turn, distortion):
    rng = np.random.default_rng(5)
    pulls: dict[int, list[float]] = {2: [], 5: []}
    for seed in range(12):
        solved = places(seed, turn=turn, distortion=distortion)
        frames = [field.observed(rng, np.zeros(SHAPE), name=f"f{k}") for k in range(len(FWHM))]
        stack = stacked(frames, solved)
        for radius, found in pulls.items():
            found.extend(sums(stack, radius, rng))
    for radius, found in pulls.items():
        every = np.array(found)
        off = bounds(len(every))
        print(told(f"{radius} pixel", every))
        assert abs(every.mean()) < off[0], told(f"{radius} pixel", every)
        assert abs(every.std() - 1) < max(off[1], 0.05), told(f"{radius} pixel", every)
        assert len(every) > 1500


def sums(stack, radius, rng):
    """Return pulls of sums in apertures that do not touch one another."""
    box = 2 * radius + 7
    found = []
    for y in range(0, stack.data.shape[0] - box, box):
        for x in range(0, stack.data.shape[1] - box, box):
            cut = (slice(y, y + box), slice(x, x + box))
            if stack.count[cut].min() < len(FWHM):
                continue
            weight = field.circle((box, box), box / 2 + rng.uniform(-1, 1), box / 2 + rng.uniform(-1, 1), radius)
            var = (weight**2 * stack.var[cut]).sum() * variance_factor(stack.correlation, weight)
            found.append(float((weight * stack.data[cut]).sum() / np.sqrt(var)))
    return found
