from __future__ import annotations

import json

import numpy as np
import pytest

from builders import toys
from nightpipe.base.errors import StoreError
from nightpipe.base.recipe import Recipe
from nightpipe.engine.decisions import Decisions, make
from nightpipe.engine.execute import State
from nightpipe.engine.night import scan
from nightpipe.engine.run import EngineRun
from nightpipe.engine.store import Store
from nightpipe.io import codec
from nightpipe.model.frame import Frame


def loaded(out, outcome, output):
    return [codec.load(path) for path in Store(out).files(outcome.key, output)]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_night_is_reduced_with_right_numbers(raw, out):
    outcomes = toys.run_night(raw, out)
    assert {outcome.state for outcome in outcomes.values()} == {State.OK}
    (total,) = loaded(out, outcomes["gather:star_A"], "sum")
    assert np.all(total.data == (100 - 10) + (101 - 10))
    assert len(loaded(out, outcomes["measure:s00"], "parts")) == 2


def test_a_second_run_does_nothing(raw, out):
    toys.run_night(raw, out)
    assert toys.ran(toys.run_night(raw, out)) == []


def test_moving_the_raw_frames_changes_nothing(raw, out):
    toys.run_night(raw, out)
    raw.rename(raw.with_name("elsewhere"))
    assert toys.ran(toys.run_night(raw.with_name("elsewhere"), out)) == []


def test_a_changed_parameter_reruns_only_what_hangs_on_it(raw, out):
    toys.run_night(raw, out)
    changed = toys.ran(toys.run_night(raw, out, settings={"Split.parts": 3}))
    assert {name.split(":")[0] for name in changed} == {"measure", "gather"}
    decision = make(scan([raw]).named("s10"), "Subtract.offset", 1, "test", "me")
    changed = toys.ran(toys.run_night(raw, out, decisions=Decisions([decision])))
    assert changed == ["clean:s10", "measure:s10", "gather:star_B"]


def test_a_changed_raw_frame_reruns_only_what_hangs_on_it(raw, out):
    toys.run_night(raw, out)
    toys.write_frame(raw, "s00", "science", target="star A", level=300.0, hours=2)
    assert toys.ran(toys.run_night(raw, out)) == ["clean:s00", "measure:s00", "gather:star_A"]


def test_a_step_version_changes_the_key(raw, out, monkeypatch):
    toys.run_night(raw, out)
    monkeypatch.setattr(toys.Split, "version", 2)
    assert {name.split(":")[0] for name in toys.ran(toys.run_night(raw, out))} == {"measure", "gather"}


def test_caveats_are_inherited_and_lie_on_the_models(raw, out):
    (raw / "b0.fits").unlink()
    outcomes = toys.run_night(raw, out, settings={"Split.mood": "gloomy"})
    assert [caveat.code for caveat in outcomes["gather:star_A"].caveats] == ["bias.few", "split.gloomy"]
    assert outcomes["gather:star_A"].state is State.CAVEATS
    (total,) = loaded(out, outcomes["gather:star_A"], "sum")
    assert {caveat.code for caveat in total.caveats} == {"bias.few", "split.gloomy"}
    again = toys.run_night(raw, out, settings={"Split.mood": "gloomy"})
    assert again["gather:star_A"].caveats == outcomes["gather:star_A"].caveats


@pytest.mark.parametrize(("trouble", "state"), [("data", State.UNPROCESSABLE), ("bug", State.FAILED)])
def test_one_bad_frame_never_stops_a_night(raw, out, trouble, state):
    decision = make(scan([raw]).named("s00"), "Trouble.what", trouble, "test", "me")
    outcomes = toys.run_night(raw, out, decisions=Decisions([decision]))
    assert outcomes["clean:s00"].state is state
    assert outcomes["measure:s00"].state is State.BLOCKED
    assert outcomes["gather:star_A"].state is State.CAVEATS
    assert "input.failed" in [caveat.code for caveat in outcomes["gather:star_A"].caveats]
    assert outcomes["gather:star_B"].state is State.OK
    again = toys.run_night(raw, out, decisions=Decisions([decision]))
    assert toys.ran(again) == (["clean:s00"] if trouble == "bug" else []) + ["measure:s00"]


def test_an_unexpected_error_keeps_its_trace_and_a_known_one_its_words(raw, out):
    exposure = scan([raw]).named("s00")
    outcomes = toys.run_night(raw, out, decisions=Decisions([make(exposure, "Trouble.what", "bug", "test", "me")]))
    assert "ZeroDivisionError" in outcomes["clean:s00"].record["error"]["trace"]
    outcomes = toys.run_night(raw, out, decisions=Decisions([make(exposure, "Trouble.what", "data", "test", "me")]))
    assert outcomes["clean:s00"].message == "a frame with light; found: none; try: observe again"


def test_a_target_without_a_single_good_exposure_is_blocked(raw, out):
    outcomes = toys.run_night(raw, out, line={"Trouble.what": "data"})
    assert outcomes["gather:star_A"].state is State.BLOCKED
    told = outcomes["gather:star_A"].message
    assert "clean:s00: a frame with light" in told
    assert told.count("found:") == 1 + told.count("a frame with light")  # the root of it, not the chain to there


def test_an_optional_input_that_failed_is_done_without(raw, out):
    for number in range(3):
        path = raw / f"b{number}.fits"
        content = bytearray(path.read_bytes())
        header = content[:2880].replace(b"NAXIS1  =                   16", b"NAXIS1  =                   15")
        path.write_bytes(bytes(header) + bytes(content[2880:]))
    toys.write_frame(raw, "b0", "bias", level=10)
    outcomes = toys.run_night(raw, out)
    assert outcomes["bias:night"].state is State.FAILED
    assert outcomes["clean:s00"].state is State.CAVEATS
    assert "input.failed" in [caveat.code for caveat in outcomes["clean:s00"].caveats]


def test_a_frame_that_cannot_be_read_is_left_out_of_a_master(raw, out):
    plan = toys.plan_night(raw)
    path = raw / "b1.fits"
    path.write_bytes(path.read_bytes()[:2880])
    outcomes = toys.run_night(raw, out, plan=plan)
    assert outcomes["bias:night"].state is State.CAVEATS
    assert [caveat.code for caveat in outcomes["bias:night"].caveats] == ["frame.unreadable"]


def test_an_output_may_be_an_empty_set(raw, out):
    outcomes = toys.run_night(raw, out, settings={"Split.parts": 0})
    assert outcomes["measure:s00"].state is State.OK
    assert Store(out).files(outcomes["measure:s00"].key, "parts") == []


def test_evicted_intermediates_are_made_again_only_when_needed(raw, out):
    toys.run_night(raw, out)
    assert Store(out).evict() > 0
    assert toys.ran(toys.run_night(raw, out)) == []
    outcomes = toys.run_night(raw, out, settings={"Split.parts": 3})
    assert {name.split(":")[0] for name in toys.ran(outcomes)} == {"measure", "gather"}
    assert {outcome.state for outcome in outcomes.values()} == {State.OK}


def test_a_lost_product_is_made_again(raw, out):
    outcomes = toys.run_night(raw, out)
    Store(out).files(outcomes["gather:star_A"].key, "sum")[0].unlink()
    assert toys.ran(toys.run_night(raw, out)) == ["gather:star_A"]


def test_a_damaged_intermediate_fails_once_and_heals(raw, out):
    outcomes = toys.run_night(raw, out)
    Store(out).files(outcomes["measure:s00"].key, "parts")[0].write_bytes(b"rubbish")
    settings = {"Trouble.marker": "x"}
    Store(out).files(outcomes["clean:s00"].key, "frame")[0].write_bytes(b"rubbish")
    broken = toys.run_night(raw, out, settings={"Split.parts": 4})
    assert broken["measure:s00"].state is State.FAILED
    healed = toys.run_night(raw, out, settings={"Split.parts": 4})
    assert healed["measure:s00"].state is State.OK
    assert settings


def test_the_record_tells_how_it_was_made(raw, out):
    outcomes = toys.run_night(raw, out, line={"Subtract.offset": 2})
    record = outcomes["clean:s00"].record
    assert record["steps"][0]["step"] == "Subtract"
    assert record["steps"][0]["parameters"] == {"offset": 2.0, "repeat": 1}
    assert record["parameters"]["Subtract.offset"] == {"value": 2.0, "origin": "command line"}
    assert record["metrics"]["level"] == [88.0, "adu"]
    assert record["provenance"]["inputs"]["raw"][0]["sha256"] == scan([raw]).named("s00").sha256
    assert record["seconds"] >= 0
    assert record["peak_mb"] > 0


def test_products_carry_their_record(raw, out):
    outcomes = toys.run_night(raw, out)
    path = Store(out).files(outcomes["gather:star_A"].key, "sum")[0]
    assert json.loads(codec.load_record(path))["key"] == outcomes["gather:star_A"].key
    intermediate = Store(out).files(outcomes["clean:s00"].key, "frame")[0]
    assert codec.load_record(intermediate) == ""


def test_a_full_disk_is_a_clear_error_and_loses_nothing(raw, out, monkeypatch):
    toys.run_night(raw, out)
    plan = toys.plan_night(raw)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("nightpipe.engine.worker.codec.save", full)
        with pytest.raises(StoreError, match="space on the disk"):
            toys.run_night(raw, out, settings={"Split.parts": 3})
    assert toys.ran(toys.run_night(raw, out, plan=plan)) == []


def test_publishing_is_a_hard_link(raw, out):
    outcomes = toys.run_night(raw, out)
    store = Store(out)
    path = store.files(outcomes["bias:night"].key, "bias")[0]
    linked = store.publish(path, "calibrations/bias_night.fits")
    assert linked.samefile(path)
    assert store.publish(path, "calibrations/bias_night.fits") == linked


def test_warnings_of_python_go_into_the_record(raw, out, monkeypatch):
    import warnings

    def warned(step, frame):
        warnings.warn("odd numbers", RuntimeWarning, stacklevel=1)
        return (frame,)

    monkeypatch.setattr(toys.Split, "run", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        record = toys.run_night(raw, out)["measure:s00"].record
    assert any("odd numbers" in text for text in record["warnings"])


def test_a_recipe_may_keep_to_itself_what_matters_to_nothing_that_descends():
    recipe = Recipe("split", lambda run: {}, (), (), (toys.Split,), tells=("guide.",))
    frame = Frame(*np.ones((2, 4, 4), np.float32), np.zeros((4, 4), np.uint32), "adu")
    run = EngineRun(recipe, {"Split.mood": "gloomy"})
    run(toys.Split, frame=frame)
    run.caveat("bleak", "what the recipe itself says goes on")
    assert [caveat.code for caveat in run.caveats] == ["bleak"]
    assert run.steps[0]["caveats"] == ["split.gloomy: the parts look bleak"]
