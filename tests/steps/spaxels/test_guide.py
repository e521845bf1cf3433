from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.frames import clean
from nightpipe.io.guiders import guider_epoch
from nightpipe.model.detector import Amplifier
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Wcs
from nightpipe.recipes.ifuguide import field_pixel, offset_of
from nightpipe.steps.imaging.background import MatchNoise
from nightpipe.steps.spaxels.place import DrawFinder, PlaceTarget


class Chip:
    amplifiers = (Amplifier("r", (1040, 2045, 1015, 2045), (), "y", 1.8, 5.0),)


@pytest.mark.parametrize("turn", [0.0, 181.0])
def test_a_target_east_of_the_field_is_placed_there_whatever_the_camera_turns(turn):
    epoch = guider_epoch("sedm", 60565.0)
    step, angle = 0.394 / 3600, np.radians(turn)
    cd = ((-step * np.cos(angle), step * np.sin(angle)), (step * np.sin(angle), step * np.cos(angle)))
    wcs = Wcs((150.0, 30.0), (500.0, 500.0), cd)
    middle = wcs.to_sky(1039.5 - 1040, 968.5 - 1015)
    ra, dec = float(middle[0]) + 3.0 / 3600 / np.cos(np.radians(float(middle[1]))), float(middle[1]) - 2.0 / 3600
    sky = _field_sky(wcs, epoch)
    assert offset_of(sky, (ra, dec)) == pytest.approx((3.0, -2.0), abs=0.01)


def _field_sky(wcs, epoch):
    ra, dec = wcs.to_sky(*field_pixel(Chip(), epoch))
    return float(ra), float(dec)


def test_the_mean_of_the_frames_is_the_place_and_all_that_is_not_known_is_in_its_error():
    rng = np.random.default_rng(3)
    places = np.array([2.0, -1.0]) + rng.normal(0.0, 0.3, (9, 2))
    found = PlaceTarget(corner=2.0).run(places, plate=0.1, epoch=0.5, stars=40)
    assert (found.how, found.spread) == ("guider", 40.0)
    assert (found.east, found.north) == pytest.approx(tuple(places.mean(axis=0)))
    expected = np.cov(places.T) / 9 + np.eye(2) * (0.2**2 + 0.5**2)
    np.testing.assert_allclose(found.covariance, expected)
    assert PlaceTarget().run(places[:1], plate=0.0, epoch=0.5).error == pytest.approx(0.5)


def test_without_a_solution_the_place_is_the_middle_with_the_error_of_pointing_and_says_so():
    found = PlaceTarget(pointing=4.0).run(np.zeros((0, 2)), plate=0.0, epoch=0.5)
    assert (found.east, found.north, found.how, found.error) == (0.0, 0.0, "header", 4.0)
    assert [caveat.code for caveat in found.caveats] == ["guide.unsolved"]


def stack_with_star(at, crval, *, shape=(400, 400), level=0.0):
    """A quadrant whose star is at the sky `at`, and which sees no sky within its first 50 columns."""
    step = 0.394 / 3600
    wcs = Wcs(crval, (200.0, 200.0), ((step, 0.0), (0.0, -step)))
    rng = np.random.default_rng(1)
    data = rng.normal(level, 1.0, shape).astype(np.float32)
    x, y = (round(float(value)) for value in wcs.to_pixel(*at))
    if 0 <= x < shape[1] and 0 <= y < shape[0]:
        data[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] += 500.0
    count = np.ones(shape, np.uint8)
    count[:, :50] = 0
    zero = np.zeros(shape, np.float32)
    return Stack(data, zero + 1, np.zeros(shape, np.uint32), zero, count, wcs, 60.0, 25.0, np.ones((1, 1)), 1.0, ())


def test_the_finder_has_the_target_in_its_middle_north_up_and_east_left_whatever_the_camera_does():
    target = (150.0, 20.0)
    star = 150.0 + 30.0 / 3600 / np.cos(np.radians(20.0)), 20.0 + 12.0 / 3600
    picture = DrawFinder(reach=70.0, scale=1.0).run(
        (stack_with_star(star, target),), target, None, (1.0, 2.0), frames=3
    )
    row, column = np.unravel_index(np.nanargmax(picture.image), picture.image.shape)
    assert (70.0 - column, row - 70.0) == pytest.approx((30.0, 12.0), abs=1.6)
    assert (picture.east, picture.north, picture.frames) == (1.0, 2.0, 3)
    assert np.isnan(picture.image).any()
    assert "not solved" in picture.solved


def test_a_solution_moves_the_finder_and_quadrants_of_other_depth_look_alike():
    target = (150.0, 20.0)
    first = stack_with_star(target, target)
    off = 25.0 / 3600
    solved = replace(first.wcs, crval=(150.0, 20.0 + off))  # the telescope was 25 arcsec south of what it thought
    picture = DrawFinder(reach=50.0, scale=1.0).run((first,), target, solved, (0.0, 0.0), frames=1)
    row, column = np.unravel_index(np.nanargmax(picture.image), picture.image.shape)
    assert (50.0 - column, row - 50.0) == pytest.approx((0.0, 25.0), abs=1.6)
    second = stack_with_star(target, (150.0, 20.0 - 120.0 / 3600), level=400.0)
    both = DrawFinder(reach=100.0, scale=1.0).run((first, second), target, None, (0.0, 0.0), frames=1)
    south = both.image[:30]
    assert abs(np.nanmedian(south)) < 0.3
    assert np.nanstd(south) == pytest.approx(1.0, abs=0.2)


def test_noise_that_the_variance_lacks_is_added_and_none_is_taken_off():
    rng = np.random.default_rng(2)
    frame = clean(rng, 100.0, shape=(300, 300))
    frame = frame.but(data=rng.normal(0.0, 6.0, (300, 300)).astype(np.float32))
    raised = MatchNoise().run(frame.but(var=np.full((300, 300), 4.0, np.float32)))
    assert np.median(raised.var) == pytest.approx(36.0, rel=0.05)
    enough = frame.but(var=np.full((300, 300), 50.0, np.float32))
    assert MatchNoise().run(enough) is enough
