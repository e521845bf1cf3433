from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from builders import toys
from nightpipe.api.decide import decide
from nightpipe.api.inspect import described, reasons
from nightpipe.api.products import load_models
from nightpipe.api.reduce import Request, planned, reduce_with
from nightpipe.api.reduction import Status
from nightpipe.api.setoffiles import keeper, read_frames, tag_type
from nightpipe.api.table import edits, table_text
from nightpipe.base.errors import ConfigError, LockedError, PlanError, StoreError
from nightpipe.engine import decisions
from nightpipe.engine.execute import State
from nightpipe.engine.lock import locked
from nightpipe.model.exposure import FrameType


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def reduced(raw, out, **wishes):
    return reduce_with(toys.BOOK, raw, Request(out, figures=False, workers=1, **wishes))


def test_products_lie_under_human_names_and_load(raw, out):
    reduction = reduced(raw, out)
    assert reduction.status is Status.WELL
    assert (out / "star_A" / "star_A_2d.fits").exists()
    assert (out / "calibrations" / "bias_night.fits").exists()
    target = reduction["star A"]
    assert target.exposures == ("s00", "s01")
    assert np.all(target.products[0].model.data == 181)
    assert [one.name for one in reduction.calibrations] == ["calibrations/bias_night"]


def test_targets_are_found_by_name_whatever_its_blanks(raw, out):
    reduction = reduced(raw, out)
    assert reduction["STARA"] is reduction["star A"]
    with pytest.raises(PlanError, match="star A"):
        _ = reduction["star Z"]


def test_a_second_call_does_nothing_and_gives_the_same(raw, out):
    first = reduced(raw, out)
    path = out / "star_A" / "star_A_2d.fits"
    changed = path.stat().st_mtime_ns
    second = reduced(raw, out)
    assert second.ran == ()
    assert path.stat().st_mtime_ns == changed
    assert second.summary["targets"] == first.summary["targets"]


def test_a_product_that_someone_removed_comes_back(raw, out):
    reduced(raw, out)
    (out / "star_A" / "star_A_2d.fits").unlink()
    assert reduced(raw, out).ran == ()
    assert (out / "star_A" / "star_A_2d.fits").exists()


def test_a_changed_result_replaces_the_product(raw, out):
    reduced(raw, out)
    reduction = reduced(raw, out, assignments=("Subtract.offset=2",))
    assert np.all(reduction["star A"].products[0].model.data == 177)
    assert np.all(load_models(out, "star_A/star_A_2d")[0].data == 177)


def test_exposures_tell_what_became_of_them(raw, out):
    (raw / "cut.fits").write_bytes((raw / "s00.fits").read_bytes()[:1000])
    toys.write_frame(raw, "a1", "arc", hours=1)
    reduction = reduced(raw, out)
    states = {one.name: one.state for one in reduction.exposures}
    assert states["s00"] is State.OK
    assert states["b1"] is State.OK
    assert states["cut.fits"] is State.UNPROCESSABLE
    assert states["a1"] is State.SKIPPED
    assert reduction.status is Status.SOME_FAILED


def test_an_unknown_frame_among_known_ones_is_no_failure(raw, out):
    toys.write_frame(raw, "alien", "science", INSTRUME="UNHEARD")
    reduction = reduced(raw, out)
    assert reduction.status is Status.WELL
    assert next(one for one in reduction.exposures if one.name == "alien.fits").state is State.SKIPPED


@pytest.mark.parametrize(
    ("assignment", "status"),
    [("Split.mood=gloomy", Status.CAVEATS), ("Trouble.what=data", Status.NOTHING), ("Split.parts=3", Status.WELL)],
)
def test_the_status_tells(raw, out, assignment, status):
    assert reduced(raw, out, assignments=(assignment,)).status is status


def test_one_failed_exposure_is_status_11(raw, out):
    reduced(raw, out)
    decide(toys.BOOK, out, "s00", ["Trouble.what=data"], why="test", who="me")
    reduction = reduced(raw, out)
    assert reduction.status is Status.SOME_FAILED
    assert next(one for one in reduction.exposures if one.name == "s00").state is State.UNPROCESSABLE


def test_the_summary_is_as_documented(raw, out):
    reduction = reduced(raw, out, assignments=("Split.mood=gloomy",))
    summary = json.loads((out / "summary.json").read_text())
    assert summary == json.loads(json.dumps(reduction.summary))
    text = (Path(__file__).parents[2] / "docs" / "summary-schema.md").read_text()
    assert f"schema {summary['schema']}" in text
    for name in _names(summary):
        assert f"`{name}`" in text, f"docs/summary-schema.md does not speak of {name}"


def _names(value, skip=("metrics", "timing")):
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            if name not in skip:
                yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def test_the_log_of_a_target_names_inputs_steps_and_origins(raw, out):
    reduction = reduced(raw, out, assignments=("Subtract.offset=2",))
    text = reduction["star A"].log.read_text()
    assert "step Subtract v1" in text
    assert "offset = 2.0  (command line)" in text
    assert "b0.fits (sha256 " in text
    assert "bias b0: taken" in text
    assert "star B" not in text


def test_caveats_of_other_targets_name_their_exposure(raw, out):
    from nightpipe.api.reduction import _placed
    from nightpipe.base.caveat import Caveat

    reduced(raw, out)
    decide(toys.BOOK, out, "s00", ["Split.mood=gloomy"], why="test", who="me")
    reduction = reduced(raw, out)
    (caveat,) = reduction["star A"].caveats
    assert caveat.text == "the parts look bleak"
    told = _placed(caveat, ("s10", "s11"), reduction.plan, reduction.outcomes)
    assert told == Caveat("split.gloomy", "s00: the parts look bleak")


def test_decisions_are_checked_kept_and_replayed(raw, out):
    reduced(raw, out)
    decide(toys.BOOK, out, "s00", ["Subtract.offset=4"], why="cloud", who="Ann")
    reduction = reduced(raw, out)
    assert reduction.ran == ("clean:s00", "measure:s00", "gather:star_A")
    assert np.all(reduction["star A"].products[0].model.data == 177)
    assert reduced(raw, out).ran == ()
    decide(toys.BOOK, out, "s00", ["Subtract.offset"], why="no cloud", who="Ann", withdraw=True)
    assert np.all(reduced(raw, out)["star A"].products[0].model.data == 181)
    assert (out / "decisions.toml").read_text().count("[[decision]]") == 2


@pytest.mark.parametrize(
    ("exposure", "assignment", "advice"),
    [
        ("s0", "Subtract.offset=4", "s00"),
        ("s00", "Subtract.ofset=4", "Subtract.offset"),
        ("s00", "Subtract.offset=4000", "1000"),
        ("s00", "Frame.type=sience", "science"),
        ("s00", "Frame.use=maybe", "Frame.use=true"),
        ("s00", "Frame.colour=red", "Frame.type"),
    ],
)
def test_a_decision_that_cannot_be_is_refused_and_not_kept(raw, out, exposure, assignment, advice):
    reduced(raw, out)
    with pytest.raises(ConfigError, match=advice):
        decide(toys.BOOK, out, exposure, [assignment], why="?", who="me")
    assert not (out / "decisions.toml").exists()


def test_decisions_may_precede_the_reduction(raw, out):
    with pytest.raises(ConfigError, match="--raw"):
        decide(toys.BOOK, out, "s00", ["Subtract.offset=4"], why="?", who="me")
    decide(toys.BOOK, out, "s00", ["Subtract.offset=4"], why="?", who="me", raw=[raw])
    assert reduced(raw, out).plan.node("clean:s00").parameters["Subtract.offset"].value == 4


def test_a_place_goes_with_the_exposure_or_the_parameter(raw, out):
    reduced(raw, out)
    (one,) = decide(toys.BOOK, out, "s00@slit=3.2", ["Subtract.offset=4"], why="?", who="me")
    (two,) = decide(toys.BOOK, out, "s00", ["Subtract.offset=4@slit=3.2"], why="?", who="me")
    assert one.parameter == two.parameter == "Subtract.offset@slit=3.2"


def tabled(raw, out):
    return planned(toys.BOOK, raw, Request(out))


def test_an_unedited_plan_table_decides_nothing(raw, out):
    toys.write_frame(raw, "odd", "science", target="a|b  c", hours=6)
    night, plan = tabled(raw, out)
    assert edits(table_text(night, plan), night, plan, who="me") == []


def test_an_edited_plan_table_becomes_decisions(raw, out, tmp_path):
    night, plan = tabled(raw, out)
    text = table_text(night, plan)
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.endswith("s01.fits"):
            lines[number] = "# " + line
        if line.endswith("s10.fits"):
            lines[number] = line.replace("star B", "star C")
        if line.startswith("match") and " s11 " in line:
            lines[number] = line.replace("b0, b1, b2", "b0")
    table = tmp_path / "plan.txt"
    table.write_text("\n".join(lines))
    reduction = reduced(raw, out, plan=table)
    made = {(one.exposure, one.parameter): one.value for one in decisions.read(out).standing}
    assert made == {("s01", "Frame.use"): False, ("s10", "Frame.target"): "star C", ("s11", "Match.bias"): ["b0"]}
    assert {target.name for target in reduction.targets} == {"star A", "star B", "star C"}
    assert reduction["star A"].exposures == ("s00",)
    again = (out / "decisions.toml").read_text()
    reduced(raw, out, plan=table)
    assert (out / "decisions.toml").read_text() == again


def test_a_dropped_frame_comes_back_when_its_line_is_uncommented(raw, out):
    reduced(raw, out)
    decide(toys.BOOK, out, "s01", ["Frame.use=false"], why="?", who="me")
    night, plan = tabled(raw, out)
    text = table_text(night, plan)
    assert "# dropped | " in text
    made = edits(text.replace("# dropped | ", "dropped | "), night, plan, who="me")
    decisions.append(out, made)
    assert len(reduced(raw, out)["star A"].exposures) == 2


def test_a_broken_plan_table_is_refused(raw, out):
    night, plan = tabled(raw, out)
    text = table_text(night, plan).replace("science |", "sience  |", 1)
    with pytest.raises(ConfigError, match="sience"):
        edits(text, night, plan, who="me")


def test_two_reductions_into_one_folder_are_refused(raw, out):
    with locked(out / ".nightpipe"), pytest.raises(LockedError, match="process"):
        reduced(raw, out)


def test_the_ledger_comes_back_from_the_products(raw, out):
    reduced(raw, out)
    (out / ".nightpipe" / "ledger.sqlite").unlink()
    reduction = reduced(raw, out)
    assert reduction.ran == ()
    from nightpipe.engine.ledger import Ledger

    ledger = Ledger(out)
    assert {row["path"] for row in ledger.rows("products")} >= {"star_A/star_A_2d.fits", "calibrations/bias_night.fits"}
    ledger.close()


def test_show_and_why_read_the_record(raw, out):
    reduced(raw, out, assignments=("Split.mood=gloomy",))
    shown = "\n".join(described(out, "star_A/star_A_2d"))
    assert "gather of star A, caveats" in shown
    assert "caveat split.gloomy" in shown
    told = "\n".join(reasons(out, str(out / "star_A" / "star_A_2d.fits")))
    assert "step Subtract v1" in told
    assert "mood = 'gloomy'  (command line)" in told
    assert "bias:night" in told
    with pytest.raises(PlanError, match="star_A/star_A_2d"):
        list(described(out, "star_Q"))
    with pytest.raises(StoreError, match="carries no record"):
        list(described(out, str(raw / "s00.fits")))


def test_one_recipe_alone_runs_what_it_needs(raw, out):
    reduction = reduced(raw, out, keep=keeper(toys.BOOK, "bias"))
    assert [node.id for node in reduction.plan.nodes] == ["bias:night"]
    assert reduction.status is Status.WELL
    with pytest.raises(PlanError, match="recipe"):
        keeper(toys.BOOK, "baias")


def test_a_set_of_files_retypes_by_tag(raw, out):
    sof = raw / "night.sof"
    sof.write_text("b0.fits BIAS\nb1.fits BIAS # fine\n\ns00.fits OBJECT_SLIT\ns01.fits STD\n")
    listed = read_frames([sof])
    assert listed.masters == ()
    assert [path.name for path in listed.raw] == ["b0.fits", "b1.fits", "s00.fits", "s01.fits"]
    night, _ = planned(toys.BOOK, listed.raw, Request(out, extra=listed.retyped))
    assert night.named("s01").type is FrameType.STANDARD
    assert tag_type("flat_lamp") is FrameType.FLAT
    with pytest.raises(ConfigError, match="BIAS"):
        tag_type("BAIS")


def test_progress_is_told_once_a_node(raw, out):
    told = []
    request = Request(out, figures=False, workers=1)
    reduce_with(toys.BOOK, raw, request, lambda done, total, outcome: told.append((done, total, outcome.node.id)))
    assert [one[0] for one in told] == list(range(1, len(told) + 1))
    assert told[-1][0] == told[-1][1]


def test_who_reduced_is_recorded(raw, out):
    reduced(raw, out, who="Ann")
    assert json.loads((out / "summary.json").read_text())["by"] == "Ann"


@pytest.fixture(name="tonight")
def _tonight(raw, tmp_path):
    """A night without calibrations, 20 days after that of `raw`."""
    folder = tmp_path / "tonight"
    toys.write_frame(folder, "s90", "science", target="star A", level=100.0, hours=480.0)
    return folder


def test_an_earlier_night_lends_its_masters(raw, tonight, out, tmp_path):
    reduced(raw, tmp_path / "earlier")
    reduction = reduced(tonight, out, masters=(tmp_path / "earlier",))
    assert np.all(reduction["star A"].products[0].model.data == 90)
    assert reduction.status is Status.CAVEATS
    (told,) = [one for one in reduction["star A"].caveats if one.code == "bias.kept"]
    assert told.text == "bias made before, 20.0 d earlier: bias_night.fits"
    assert reduced(tonight, out, masters=(tmp_path / "earlier",)).ran == ()


def test_frames_of_the_night_come_before_earlier_masters(raw, tonight, out, tmp_path):
    reduced(raw, tmp_path / "earlier")
    for number in range(3):
        toys.write_frame(tonight, f"b9{number}", "bias", level=20.0, hours=479.0 + number / 10)
    reduction = reduced(tonight, out, masters=(tmp_path / "earlier",))
    assert np.all(reduction["star A"].products[0].model.data == 80)


def test_masters_of_another_setup_or_detector_do_not_serve(raw, tonight, out, tmp_path):
    from dataclasses import replace

    from nightpipe.engine.kept import choose
    from nightpipe.engine.night import scan
    from nightpipe.io.masters import find

    reduced(raw, tmp_path / "earlier")
    (master,) = [one for one in find([tmp_path / "earlier"]) if one.output == "bias"]
    (seen,) = scan([tonight]).frames
    assert choose([master], seen, FrameType.BIAS, "bias")[0] is master
    assert choose([replace(master, detector="loaner")], seen, FrameType.BIAS, "bias")[0] is None
    binned = replace(master, exposure=replace(master.exposure, setup=replace(master.exposure.setup, binning=(2, 2))))
    refused, why = choose([binned], seen, FrameType.BIAS, "bias")
    assert refused is None
    assert "binning 2x2, wanted 1x1" in why.reasons[0].text


def test_a_folder_without_masters_is_an_error(raw, out):
    with pytest.raises(ConfigError, match="none in"):
        reduced(raw, out, masters=(raw,))


def test_a_master_in_a_set_of_files_is_told_by_its_tag(raw, tonight, out, tmp_path):
    reduced(raw, tmp_path / "earlier")
    moved = tonight / "renamed.fits"
    moved.write_bytes((tmp_path / "earlier" / "calibrations" / "bias_night.fits").read_bytes())
    sof = tonight / "night.sof"
    sof.write_text("s90.fits OBJECT\nrenamed.fits MASTER_BIAS\n")
    listed = read_frames([sof])
    assert listed.masters == (moved,)
    reduction = reduced(listed.raw, out, extra=listed.retyped, masters=listed.masters)
    assert np.all(reduction["star A"].products[0].model.data == 90)
    sof.write_text("renamed.fits MASTER_FLAT\n")
    with pytest.raises(ConfigError, match="its record says bias"):
        read_frames([sof])
    sof.write_text("renamed.fits MASTER_BAIS\n")
    with pytest.raises(ConfigError, match="MASTER_BIAS"):
        read_frames([sof])
    sof.write_text("s90.fits MASTER_BIAS\n")
    with pytest.raises(ConfigError, match="no product of nightpipe"):
        read_frames([sof])
