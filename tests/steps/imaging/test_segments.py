"""Which pixels belong to which row of the catalogue."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from builders import imagefield
from nightpipe.io.images import write_segments
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.segments import MapSegments

SHAPE = (220, 240)


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(4)
    where = imagefield.wcs(SHAPE)
    light = imagefield.light(rng, 25, where, SHAPE, low=60.0)
    frame = imagefield.observed(rng, imagefield.expected(SHAPE, where, light, fwhm=3.5, exptime=100.0), exptime=100.0)
    ones = np.ones(SHAPE, np.float32)
    stack = Stack(frame.data / 100, frame.var / 1e4, frame.mask, ones, ones.astype(np.uint8), where, 100.0, 25.0,
                  np.ones((1, 1)), 1.0, ("a",))  # fmt: skip
    return stack, Detect().run(stack)


def test_each_source_lies_on_its_own_pixels(field):
    stack, sources = field
    labels = MapSegments().run(stack, sources, Detect()).labels
    assert len(sources) >= 20
    assert labels.dtype == np.int32
    at = labels[np.rint(sources.y).astype(int), np.rint(sources.x).astype(int)]
    assert np.mean(at == np.arange(len(sources)) + 1) > 0.95
    area = np.bincount(labels.ravel(), minlength=len(sources) + 1)[1:]
    assert (area == sources.columns["area"]).all()


def test_what_is_not_in_the_catalogue_has_no_label(field):
    stack, sources = field
    some = sources.take(np.arange(5))
    labels = MapSegments().run(stack, some, Detect()).labels
    assert set(np.unique(labels)) == set(range(6))
    none = sources.take(np.zeros(len(sources), bool))
    assert not MapSegments().run(stack, none, Detect()).labels.any()


def test_they_are_written_with_the_celestial_system(field, tmp_path):
    stack, sources = field
    write_segments(tmp_path / "s.fits", MapSegments().run(stack, sources, Detect()))
    with fits.open(tmp_path / "s.fits") as hdus:
        ra, dec = WCS(hdus["SEGMENTS"].header).all_pix2world(100.0, 50.0, 0)
        assert hdus["SEGMENTS"].data.max() == len(sources)
    assert (float(ra), float(dec)) == pytest.approx(stack.wcs.to_sky(100.0, 50.0), abs=1e-8)
