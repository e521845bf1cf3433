"""Expressions strip by strip are those of the whole image."""

from __future__ import annotations

import numpy as np

from nightpipe.maths import strips
from nightpipe.maths.noise import expected_signal
from nightpipe.maths.strips import by_strips, marked


def test_strips_make_the_whole(monkeypatch):
    monkeypatch.setattr(strips, "PIXELS", 30)
    rng = np.random.default_rng(1)
    data, other, along = rng.random((23, 7)), rng.random((23, 7)), rng.random((23, 1))
    total, above = by_strips(lambda a, b, c, d, _: (a + d * b * c, a > b), data, other, along, 2.0, None)
    np.testing.assert_array_equal(total, data + 2.0 * other * along)
    np.testing.assert_array_equal(above, data > other)
    assert above.dtype == np.bool_


def test_marked_looks_at_the_bits_that_are_asked_for():
    mask = np.array([[0, 1, 2, 3, 4]], np.uint32)
    assert marked(mask, 2).tolist() == [[False, False, True, True, False]]


def test_a_mean_of_neighbours_does_not_see_the_strips(monkeypatch):
    rng = np.random.default_rng(2)
    data, good = rng.normal(20, 3, (40, 11)).astype(np.float32), rng.random((40, 11)) > 0.2
    whole = expected_signal(data, good)
    monkeypatch.setattr(strips, "PIXELS", 33)
    np.testing.assert_array_equal(expected_signal(data, good), whole)
