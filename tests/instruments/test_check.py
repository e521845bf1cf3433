"""`nightpipe instrument check`: what was understood, and what is odd."""

from __future__ import annotations

import numpy as np
import pytest

from builders.headers import ALFOSC, but
from nightpipe.instruments.check import check


@pytest.fixture(name="levels")
def _levels():
    rng = np.random.default_rng(3)
    data = rng.normal(11600.0, 27.0, (1051, 400))
    data[:1031] += 400.0
    return data


def test_a_sound_frame_has_no_problems(levels):
    found = check(ALFOSC, "a.fits", levels)
    told = dict(found.understood)
    assert (found.instrument, found.type, found.problems) == ("alfosc", "science", ())
    assert told["recognised by"] == "INSTRUME = /^ALFOSC/"
    assert told["amplifier 1"] == "data [1:400,1:1026], overscan [1:400,1035:1051]"
    assert "7.040 A/pixel, centre 5894" in told["disperser"]
    assert "overscan 11600 +- 2" in told["levels of amplifier 1"]


def test_missing_cards_are_told():
    found = check(but(ALFOSC, RA=None, AIRMASS=None, DETWIN1=None), "a.fits")
    assert [problem.split(":")[0] for problem in found.problems] == ["ra", "airmass", "window"]


def test_an_error_is_told_with_what_could_be_read():
    found = check(but(ALFOSC, EXPTIME=None), "a.fits")
    assert "EXPTIME" in found.problems[0]
    assert ("disperser", "Grism_#4") in found.understood
    assert check(({"INSTRUME": "X"},), "a.fits").instrument == "unknown"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data.__setitem__(np.s_[1034:], data[1034:] * 1.1), "below the overscan"),
        (lambda data: data.__setitem__(np.s_[1034:], 11600.0), "scatters by 0.0 e-"),
        (lambda data: data.__setitem__(np.s_[:500], 9e5), "48.7 per cent of the pixels are saturated"),
    ],
)
def test_levels_that_cannot_be(levels, spoil, words):
    spoil(levels)
    assert any(words in problem for problem in check(ALFOSC, "a.fits", levels).problems)


def test_a_bias_with_light_and_a_flat_without(levels):
    bias = but(ALFOSC, SHSTAT="CLOSED", EXPTIME=0.0)
    assert "a bias frame +400 adu off" in check(bias, "a.fits", levels).problems[0]
    levels[:1031] -= 400.0
    assert check(but(ALFOSC, CLAMP3=1), "a.fits", levels).problems == ("amplifier 1: a flat without light",)
