from __future__ import annotations

import pytest

from builders import toys
from nightpipe.base.errors import ConfigError, PlanError
from nightpipe.engine.decisions import Decisions, make
from nightpipe.engine.night import scan
from nightpipe.model.exposure import FrameType


def test_a_folder_is_recognised_in_order_of_time(raw):
    night = scan([raw])
    assert [one.name for one in night.exposures] == ["b0", "b1", "b2", "s00", "s01", "s10", "s11"]
    assert len(night.of(FrameType.BIAS)) == 3
    assert night.named("s10").target == "star B"


def test_bad_files_are_skipped_with_a_reason(raw):
    (raw / "cut.fits").write_bytes((raw / "s00.fits").read_bytes()[:1500])
    (raw / "empty.fits").touch()
    (raw / "notes.txt").write_text("not a frame")
    toys.write_frame(raw, "alien", "science", INSTRUME="UNHEARD")
    night = scan([raw])
    assert len(night.frames) == 7
    assert {one.path.rsplit("/", 1)[-1] for one in night.skipped} == {"cut.fits", "empty.fits", "alien.fits"}
    assert {one.path.rsplit("/", 1)[-1] for one in night.skipped if one.fault} == {"cut.fits", "empty.fits"}
    assert all(one.reason for one in night.skipped)


def test_an_output_folder_of_ours_is_passed_over(raw):
    (raw / "reduced" / ".nightpipe").mkdir(parents=True)
    toys.write_frame(raw / "reduced" / "star", "product", "science")
    assert "product" not in [one.name for one in scan([raw]).exposures]


@pytest.mark.parametrize("content", ["nothing", "text"])
def test_a_folder_without_frames_says_so(tmp_path, content):
    if content == "text":
        (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(PlanError, match="none under"):
        scan([tmp_path])


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(PlanError, match="does not exist"):
        scan([tmp_path / "nowhere"])


def test_decisions_retype_rename_and_drop(raw):
    night = scan([raw])
    s00, s01, b0 = (night.named(name) for name in ("s00", "s01", "b0"))
    decisions = Decisions(
        [
            make(s00, "Frame.type", "standard", "it is one", "me"),
            make(s01, "Frame.target", "star C", "mistyped", "me"),
            make(b0, "Frame.use", False, "light leak", "me"),
        ]
    )
    after = scan([raw], decisions)
    assert after.named("s00").type is FrameType.STANDARD
    assert after.named("s01").target == "star C"
    assert [one.reason for one in after.skipped] == ["dropped by decision"]


def test_a_decision_on_another_file_of_that_name_is_not_applied_and_says_so(raw):
    decision = make(scan([raw]).named("s00"), "Frame.target", "star C", "mistyped", "me")
    toys.write_frame(raw, "s00", "science", target="star A", hours=2, level=555.0)
    night = scan([raw], Decisions([decision]))
    assert night.named("s00").target == "star A"
    assert night.frame(night.named("s00")).caveats[0].code == "decision.other_file"


def test_an_impossible_type_is_refused(raw):
    decision = make(scan([raw]).named("s00"), "Frame.type", "sience", "typo", "me")
    with pytest.raises(ConfigError, match="science"):
        scan([raw], Decisions([decision]))
