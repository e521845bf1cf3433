"""Dithers fitted together: with a catalogue better than alone, without one true to each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.starfields import camera, cone, show
from nightpipe.base.errors import NoSolutionError
from nightpipe.maths.tan import separation, sky_of_plane
from nightpipe.steps.imaging.align import AlignFrames
from nightpipe.steps.imaging.solve import SolveAstrometry

EPOCH, SHAPE = 2024.5, (2048, 2048)
X, Y = (part.ravel() for part in np.meshgrid(np.linspace(20, 2027, 7), np.linspace(20, 2027, 7)))


def dithers(seed=1, *, centre=(150.0, 30.0), frames=4, latitude=15.0, step=0.01):
    rng = np.random.default_rng(seed)
    stars = cone(rng, latitude, centre, 0.3)
    base = camera(rng, centre, 12.0, SHAPE)
    cameras = []
    for _ in range(frames):
        ra, dec = sky_of_plane(*rng.uniform(-step, step, 2), centre)
        (a, b), (c, d) = (np.array(base.cd) * (1 + rng.normal(0, 2e-5, (2, 2)))).tolist()
        cameras.append(replace(base, crval=(float(ra), float(dec)), cd=((a, b), (c, d))))
    shown = [show(rng, stars, one, SHAPE, epoch=EPOCH).sources for one in cameras]
    return stars, cameras, shown


def errors(solution, true):
    return 3.6e6 * separation(*solution.wcs.to_sky(X, Y), *true.to_sky(X, Y))


@pytest.mark.parametrize("centre", [(150.0, 30.0), (0.001, -20.0), (77.0, 89.7)])
def test_together_they_are_better_than_alone(centre):
    stars, cameras, shown = dithers(centre=centre)
    alone = tuple(
        SolveAstrometry().run(one, SHAPE, stars, epoch=EPOCH, prior=true)
        for one, true in zip(shown, cameras, strict=True)
    )
    found = AlignFrames().run(tuple(shown), SHAPE, alone, stars, epoch=EPOCH)
    both = [[np.sqrt(np.mean(errors(one, true) ** 2)) for one, true in zip(part, cameras, strict=True)]
            for part in (alone, found.solutions)]  # fmt: skip
    assert np.mean(both[1]) < np.mean(both[0])
    assert max(both[1]) < 3.4
    assert {one.method for one in found.solutions} == {"joint"}
    assert max(found.catalogue_rms) < 0.01
    assert found.caveats == ()


def test_without_a_catalogue_they_are_true_to_each_other():
    _, cameras, shown = dithers(2, step=0.02)
    found = AlignFrames().run(tuple(shown), SHAPE, nominal=cameras[0])
    for k, true in enumerate(cameras):
        x, y = true.to_pixel(*cameras[0].to_sky(1023.5, 1023.5))
        assert found.shifts[k] == pytest.approx((x - 1023.5, y - 1023.5), abs=0.1)
    assert [caveat.code for caveat in found.caveats] == ["astrometry.relative"]
    assert np.isnan(found.catalogue_rms[0])


def test_a_frame_of_another_field_is_left_out_and_named():
    _, cameras, shown = dithers(3, frames=3)
    _, _, other = dithers(4, centre=(10.0, -50.0), frames=1)
    found = AlignFrames().run((shown[0], other[0], *shown[1:]), SHAPE, nominal=cameras[0])
    assert [number for number, _ in found.left_out] == [1]
    assert found.solutions[1] is None
    assert found.stars[1] == 0
    assert np.isnan(found.shifts[1]).all()


def test_a_frame_that_could_not_be_solved_alone_comes_in_with_the_others():
    stars, cameras, shown = dithers(5, frames=3)
    first, third = (SolveAstrometry().run(shown[k], SHAPE, stars, epoch=EPOCH, prior=cameras[k]) for k in (0, 2))
    found = AlignFrames().run(tuple(shown), SHAPE, (first, None, third), stars, epoch=EPOCH)
    assert np.sqrt(np.mean(errors(found.solutions[1], cameras[1]) ** 2)) < 5


def test_frames_without_stars_in_common_are_an_error():
    _, _, one = dithers(6, frames=1)
    _, _, other = dithers(7, centre=(10.0, -50.0), frames=1)
    with pytest.raises(NoSolutionError, match="frame 2"):
        AlignFrames().run((one[0], other[0]), SHAPE)
