"""Three bands on one grid, and the picture that keeps their colours."""

from __future__ import annotations

import numpy as np
import pytest

from builders import imagefield as field
from builders.frames import exposure
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.run import PlainRun
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
