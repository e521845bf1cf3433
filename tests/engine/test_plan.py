from __future__ import annotations

import pytest

from builders import toys
from nightpipe.base.errors import ConfigError, PlanError
from nightpipe.engine.builder import Builder, Wishes
from nightpipe.engine.config import Layer
from nightpipe.engine.decisions import Decisions, make
from nightpipe.engine.night import scan
from nightpipe.engine.plan import Plan


def test_the_plan_is_ordered_complete_and_shares_masters(raw):
    plan = toys.plan_night(raw)
    ids = [node.id for node in plan.nodes]
    assert ids[0] == "bias:night"
    assert len([one for one in ids if one.startswith("bias")]) == 1
    assert ids.count("clean:s00") == 1
    for node in plan.nodes:
        assert all(ids.index(need) < ids.index(node.id) for need in node.needs)
    assert len(plan.raws) == 7


def test_the_plan_comes_back_from_json(raw):
    plan = toys.plan_night(raw)
    assert Plan.from_json(plan.to_json()) == plan


def test_objects_leave_only_what_they_need(raw):
    plan = toys.plan_night(raw, objects=("STARA",))
    assert {node.target for node in plan.nodes} == {"", "star A"}
    assert "bias:night" in [node.id for node in plan.nodes]


def test_an_unknown_object_is_told_the_known_ones(raw):
    with pytest.raises(PlanError, match="star A"):
        toys.plan_night(raw, objects=("star Z",))


def test_decisions_reach_their_exposure_only(raw):
    exposure = scan([raw]).named("s00")
    decisions = Decisions([make(exposure, "Subtract.offset", 4, "too bright", "me")])
    plan = toys.plan_night(raw, decisions=decisions)
    assert plan.node("clean:s00").parameters["Subtract.offset"].value == 4
    assert "me" in plan.node("clean:s00").parameters["Subtract.offset"].origin
    assert plan.node("clean:s01").parameters["Subtract.offset"].value == 0


def test_decisions_reach_products_by_name(raw):
    for name in ("bias:night", "night", "calibrations/bias_night"):
        plan = toys.plan_night(raw, decisions=Decisions([make(name, "Average.weight", 2, "why not", "me")]))
        assert plan.node("bias:night").parameters["Average.weight"].value == 2


def test_set_beats_a_decision_and_says_so(raw):
    exposure = scan([raw]).named("s00")
    decisions = Decisions([make(exposure, "Subtract.offset", 4, "too bright", "me")])
    plan = toys.plan_night(raw, decisions=decisions, command_line=Layer("command line", {"Subtract.offset": 9}))
    assert plan.node("clean:s00").parameters["Subtract.offset"].value == 9
    assert any("beats the decision on s00" in note for note in plan.notes)


def test_a_decision_that_meets_nothing_is_told(raw):
    plan = toys.plan_night(raw, decisions=Decisions([make("s99", "Subtract.offset", 4, "?", "me")]))
    assert any("s99" in note for note in plan.notes)


def test_a_wrong_parameter_fails_before_anything_runs(raw):
    with pytest.raises(ConfigError, match=r"Subtract\.offset"):
        toys.plan_night(raw, command_line=Layer("command line", {"Subtract.offst": 9}))


def test_planner_mistakes_are_errors(raw):
    night = scan([raw])
    builder = Builder(night, toys.BOOK, Wishes())
    one = builder.raw(night.named("s00"))
    with pytest.raises(PlanError, match="one raw"):
        builder.node("clean", inputs={})
    with pytest.raises(PlanError, match="inputs of recipe clean"):
        builder.node("clean", inputs={"row": one})
    node = builder.node("clean", inputs={"raw": one})
    with pytest.raises(PlanError, match="an output"):
        builder.node("measure", inputs={"frame": node["fram"]})
    with pytest.raises(PlanError, match="a recipe"):
        builder.node("cleen", inputs={"raw": one})


def test_nothing_to_reduce_is_told(tmp_path):
    toys.write_frame(tmp_path, "b0", "bias")
    with pytest.raises(PlanError, match="only bias"):
        toys.plan_night(tmp_path)
