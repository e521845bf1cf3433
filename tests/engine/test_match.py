from __future__ import annotations

from dataclasses import replace

import pytest

from builders import toys
from nightpipe.base.errors import ConfigError
from nightpipe.engine.decisions import Decisions, make
from nightpipe.engine.match import associate
from nightpipe.engine.night import scan
from nightpipe.model.exposure import FrameType


def matched(folder, name, kind, decisions=None):
    night = scan([folder])
    return associate(night, night.named(name), kind, decisions)


def names(match):
    return [one.name for one in match.exposures]


def test_all_biases_of_the_night_serve(raw):
    match = matched(raw, "s00", FrameType.BIAS)
    assert names(match) == ["b0", "b1", "b2"]
    assert match.caveats == ()
    assert all(reason.taken for reason in match.reasons)


def test_few_frames_are_a_caveat(raw):
    (raw / "b0.fits").unlink()
    assert [caveat.code for caveat in matched(raw, "s00", FrameType.BIAS).caveats] == ["bias.few"]


def test_no_frames_are_a_caveat_and_no_error(raw):
    match = matched(raw, "s00", FrameType.ARC)
    assert match.exposures == ()
    assert [caveat.code for caveat in match.caveats] == ["arc.missing"]


def test_the_nearest_arc_is_taken_and_the_other_told_why_not(raw):
    toys.write_frame(raw, "a_early", "arc", hours=0.5)
    toys.write_frame(raw, "a_late", "arc", hours=2.5)
    match = matched(raw, "s00", FrameType.ARC)
    assert names(match) == ["a_late"]
    refused = next(reason for reason in match.reasons if not reason.taken)
    assert refused.candidate == "a_early"
    assert "1.5 h earlier" in refused.text


def test_lamps_lit_one_after_the_other_are_one_set(raw):
    toys.write_frame(raw, "a_he", "arc", hours=2.5)
    toys.write_frame(raw, "a_ne", "arc", hours=2.6)
    assert names(matched(raw, "s00", FrameType.ARC)) == ["a_he", "a_ne"]


def test_a_key_is_relaxed_with_a_caveat_that_says_what_differs(raw):
    toys.write_frame(raw, "a1", "arc", hours=2.5, SLIT="s9")
    match = matched(raw, "s00", FrameType.ARC)
    assert names(match) == ["a1"]
    assert match.caveats[0].code == "arc.relaxed_slit"
    assert "s9" in match.caveats[0].text


def test_the_right_slit_beats_the_nearer_arc(raw):
    toys.write_frame(raw, "near", "arc", hours=2.1, SLIT="s9")
    toys.write_frame(raw, "right", "arc", hours=5)
    match = matched(raw, "s00", FrameType.ARC)
    assert names(match) == ["right"]
    assert match.caveats == ()
    assert "slit s9, wanted s1" in next(one.text for one in match.reasons if not one.taken)


def test_a_key_that_must_agree_is_never_relaxed(raw):
    toys.write_frame(raw, "a1", "arc", hours=2.1)
    night = scan([raw])
    science = night.named("s00")
    other = replace(science, setup=replace(science.setup, disperser="g2"))
    frames = tuple(replace(one, exposure=other) if one.exposure is science else one for one in night.frames)
    match = associate(replace(night, frames=frames), other, FrameType.ARC)
    assert match.exposures == ()
    assert "disperser g1, wanted g2" in match.reasons[0].text


def test_frames_too_old_are_refused(raw):
    for number in range(3):
        (raw / f"b{number}.fits").unlink()
    toys.write_frame(raw, "old", "bias", hours=24 * 9)
    match = matched(raw, "s00", FrameType.BIAS)
    assert match.exposures == ()
    assert "older than 7 d" in match.reasons[0].text


def test_the_nights_own_biases_are_preferred(raw):
    toys.write_frame(raw, "later", "bias", hours=60)
    match = matched(raw, "s00", FrameType.BIAS)
    assert names(match) == ["b0", "b1", "b2"]
    assert "another lies nearer" in next(one.text for one in match.reasons if one.candidate == "later")


def test_a_decision_overrides_the_rule(raw):
    toys.write_frame(raw, "a_early", "arc", hours=0.5)
    toys.write_frame(raw, "a_late", "arc", hours=2.5)
    exposure = scan([raw]).named("s00")
    chosen = Decisions([make(exposure, "Match.arc", ["a_early"], "the late one is weak", "me")])
    assert names(matched(raw, "s00", FrameType.ARC, chosen)) == ["a_early"]
    none = Decisions([make(exposure, "Match.arc", "none", "both are weak", "me")])
    assert matched(raw, "s00", FrameType.ARC, none).caveats[0].code == "arc.missing"
    wrong = Decisions([make(exposure, "Match.arc", ["a_lost"], "typo", "me")])
    with pytest.raises(ConfigError, match="a_lost"):
        matched(raw, "s00", FrameType.ARC, wrong)


def test_a_calibration_belongs_to_its_own_set(raw):
    sets = {tuple(names(matched(raw, name, FrameType.BIAS))) for name in ("b0", "b1", "b2")}
    assert sets == {("b0", "b1", "b2")}
