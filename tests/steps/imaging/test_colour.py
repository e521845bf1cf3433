"""Three bands on one grid, and the picture that keeps their colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders import imagefield as field
from builders.frames import exposure
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.run import PlainRun
from nightpipe.maths.register import image_shift
from nightpipe.model.flags import Flag
from nightpipe.model.stack import Stack
from nightpipe.plots.stack import composite, three_bands
from nightpipe.recipes.imagenew import colour
from nightpipe.steps.imaging.colour import MakeColour


def stack(band, flux, *, dx=0.0, seed=1):
    rng, shape = np.random.default_rng(seed), (96, 96)
    where = field.wcs(shape, dx=dx)
    x, y = (float(part) for part in where.to_pixel(*field.CENTRE))
    j, i = np.mgrid[: shape[0], : shape[1]]
    light = flux * np.exp(-0.5 * ((i - x) ** 2 + (j - y) ** 2) / 4.0)
    data = (light + rng.normal(0, 1, shape)).astype(np.float32)
    one = np.ones(shape, np.float32)
    return Stack(data, one, np.zeros(shape, np.uint32), one, one.astype(np.uint8), where, 10.0, 25.0, np.ones((1, 1)),
                 1.0, (band,), exposure=exposure(band=band))  # fmt: skip


def test_bands_are_ordered_and_brought_onto_one_grid():
    made = MakeColour().run([stack("g", 50.0), stack("z", 400.0, dx=5.3), stack("r", 100.0)])
    assert made.bands == ("z", "r", "g")
    peaks = [np.unravel_index(np.argmax(image), image.shape) for image in (made.red, made.green, made.blue)]
    assert max(np.ptp([peak[axis] for peak in peaks]) for axis in (0, 1)) <= 1
    picture = composite((made.red, made.green, made.blue))
    assert picture[peaks[0]][0] == picture[peaks[0]].max()
    assert picture[peaks[0]][2] == picture[peaks[0]].min()
    assert three_bands(made).axes[0].get_title().startswith("z, r, g")


def sky(band, *, wrong=(0.0, 0.0), seed=1):
    """Return a stack of sixty stars whose coordinates are off by `wrong` pixels."""
    rng, shape = np.random.default_rng(seed), (160, 160)
    j, i = np.mgrid[: shape[0], : shape[1]]
    places = np.random.default_rng(7).uniform(8, 152, (60, 2))
    light = sum(30.0 * np.exp(-0.5 * ((i - x) ** 2 + (j - y) ** 2) / 3.0) for x, y in places)
    one = stack(band, 0.0)
    where = field.wcs(shape)
    where = replace(where, crpix=(where.crpix[0] + wrong[0], where.crpix[1] + wrong[1]))
    flat = np.ones(shape, np.float32)
    data = (light + rng.normal(0, 1, shape)).astype(np.float32)
    return replace(one, data=data, var=flat, mask=np.zeros(shape, np.uint32), weight=flat,
                   count=flat.astype(np.uint8), wcs=where)  # fmt: skip


def test_stacks_whose_coordinates_disagree_are_laid_on_each_other_by_what_they_show():
    made = MakeColour().run([sky("g", wrong=(3.4, -5.2), seed=2), sky("z", seed=3), sky("r")])
    inner = (slice(10, -10), slice(10, -10))
    for image in (made.red, made.blue):
        assert np.corrcoef(image[inner].ravel(), made.green[inner].ravel())[0, 1] > 0.9
    (told,) = made.caveats
    assert told.code == "colour.moved"
    assert "the g stack was moved" in told.text


def test_a_missing_pixel_takes_the_colour_of_its_neighbours():
    red = sky("z", seed=3)
    mask = red.mask.copy()
    mask[80, 80], mask[:20, :20] = Flag.BAD, Flag.BAD
    data = np.where(mask != 0, np.float32(1e5), red.data + 500)
    made = MakeColour().run([sky("g", seed=2), replace(red, data=data, mask=mask), sky("r")])
    assert made.red[80, 80] == pytest.approx(500, rel=0.1)
    assert made.red[5, 5] == 1e5  # nothing is known there


def test_noise_moves_nothing():
    rng = np.random.default_rng(4)
    one, two = rng.normal(size=(2, 120, 130))
    assert image_shift(one, two, np.ones(one.shape, bool), 10) is None


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.25, -7.5), (-9.0, 4.0)])
def test_a_shift_is_found_to_a_tenth_of_a_pixel(shift):
    rng, (ny, nx) = np.random.default_rng(5), (150, 170)
    j, i = np.mgrid[:ny, :nx]
    places = rng.uniform(0, 170, (80, 2))

    def seen(dx, dy):
        light = sum(20.0 * np.exp(-0.5 * ((i - x - dx) ** 2 + (j - y - dy) ** 2) / 4.0) for x, y in places)
        return light + rng.normal(0, 1, (ny, nx))

    found = image_shift(seen(*shift), seen(0.0, 0.0), np.ones((ny, nx), bool), 12)
    assert found == pytest.approx(shift, abs=0.1)


def test_bands_that_were_asked_for():
    stacks = [stack(band, 50.0) for band in "griz"]
    assert MakeColour(bands="z,i,g").run(stacks).bands == ("z", "i", "g")
    with pytest.raises(NoSolutionError):
        MakeColour(bands="J,i,g").run(stacks)
    with pytest.raises(NoSolutionError):
        MakeColour().run(stacks[:2])


def test_bands_of_different_sky_make_no_picture():
    with pytest.raises(NoSolutionError, match="in common"):
        MakeColour().run([stack("g", 50.0), stack("z", 400.0, dx=90.0), stack("r", 100.0)])
    run = PlainRun()
    assert colour.function(run, stacks=(stack("g", 50.0), stack("z", 9.0, dx=90.0), stack("r", 9.0)))["colour"] == ()
    assert [caveat.code for caveat in run.caveats] == ["colour.none"]
