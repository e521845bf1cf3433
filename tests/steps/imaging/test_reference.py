"""Which reference serves, and which regions a source lies in."""

from __future__ import annotations

import numpy as np
import pytest

from builders import imagefield as field
from builders.frames import exposure
from nightpipe.base.errors import ConfigError, NoSolutionError
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.reference import ChooseReference
from nightpipe.steps.imaging.regions import RankSources


def stack(name, *, dx=0.0, band=""):
    image = np.zeros((128, 128), np.float32)
    one = np.ones((1, 1))
    return Stack(image, image + 1, image.astype(np.uint32), image + 1, image.astype(np.uint8) + 1,
                 field.wcs((128, 128), dx=dx), 10.0, 25.0, one, 1.0, (name,), exposure=exposure(band=band))  # fmt: skip


def test_the_reference_that_covers_most_is_taken():
    near, far = stack("near", dx=20.0), stack("far", dx=60.0)
    assert ChooseReference().run(stack("new"), [far, near], ["", ""]).frames == ("near",)


def test_a_reference_of_another_band_is_none():
    other, same = stack("other"), stack("same", dx=50.0)
    assert ChooseReference().run(stack("new", band="r"), [other, same], ["i", "r"]).frames == ("same",)
    with pytest.raises(NoSolutionError, match=r"other \(i\) 100%"):
        ChooseReference().run(stack("new", band="r"), [other], ["i"])


def test_a_reference_elsewhere_is_none():
    with pytest.raises(NoSolutionError, match="elsewhere"):
        ChooseReference().run(stack("new"), [stack("elsewhere", dx=4000.0)], [""])


def test_names_lose_their_checksums():
    assert ChooseReference(files="/a/b.fits@12ab; /c.fits").paths == ("/a/b.fits", "/c.fits")


def test_classes_of_bat_and_xrt():
    ra = 10.0 + np.array([0.0, 0.02, 1.0]) / np.cos(np.radians(5.0))
    nothing = np.zeros(3)
    found = Sources(nothing, nothing, nothing, nothing, nothing, nothing, nothing.astype(np.uint32),
                    nothing.astype(np.int32), {"ra": ra, "dec": np.full(3, 5.0)})  # fmt: skip
    step = RankSources(bat="10.0,5.0,2.5", xrt="00:40:00,+05:00:00,4")
    assert list(step.run(found, step.regions()).columns["class"]) == [2, 1, 0]
    with pytest.raises(ConfigError):
        RankSources(bat="10.0,5.0").regions()
