from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builders import toys
from nightpipe.cli import main as cli
from nightpipe.cli.tables import print_end, print_plan


def run(*words, env=None):
    """Run the command line in this process; return exit status."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(words))
    return stopped.value.code or 0


@pytest.fixture
def toy_book(monkeypatch, tmp_path):
    """Let the commands use toy recipes on toy frames."""
    from nightpipe.instruments import registry
    from nightpipe.recipes import book

    folder = tmp_path / "instruments"
    folder.mkdir()
    (folder / "toycam.toml").write_text(toys.TOML)
    monkeypatch.setenv("NIGHTPIPE_INSTRUMENTS", str(folder))
    monkeypatch.setenv("NIGHTPIPE_WHO", "Tester")
    registry.all_instruments.cache_clear()
    monkeypatch.setattr(book, "BOOK", toys.BOOK)
    monkeypatch.setattr("nightpipe.api.figures.drawn", lambda reduction, **_: reduction)
    monkeypatch.setattr("nightpipe.api.pages.write_page", lambda _reduction: None)
    yield
    registry.all_instruments.cache_clear()


@pytest.fixture
def raw(tmp_path):
    return str(toys.write_night(tmp_path / "raw", targets=("star A",)))


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


def test_reduce_ends_with_a_table_and_its_status(toy_book, raw, out, capsys):
    assert run("reduce", raw, "--out", out, "--workers", "1") == 0
    told = capsys.readouterr().out
    assert "star_A" in told
    assert "ok: 1 targets" in told
    assert run("reduce", raw, "--out", out, "--set", "Split.mood=gloomy", "--workers", "1") == 10
    assert "split.gloomy: the parts look bleak" in capsys.readouterr().out
    assert run("reduce", raw, "--out", out, "--set", "Trouble.what=data", "--workers", "1") == 12


def test_silent_says_nothing(toy_book, raw, out, capsys):
    assert run("reduce", raw, "--out", out, "--silent", "--set", "Trouble.what=data", "--workers", "1") == 12
    told = capsys.readouterr()
    assert told.out + told.err == ""


def test_init_writes_settings_that_reduce_takes(toy_book, raw, out, tmp_path, capsys):
    path = tmp_path / "mine.toml"
    assert run("init", raw, "--settings", str(path)) == 0
    assert "[Split]" in path.read_text()
    path.write_text(path.read_text().replace('# mood = "calm"', 'mood = "gloomy"'))
    assert run("reduce", raw, "--out", out, "--settings", str(path), "--workers", "1") == 10
    assert run("init", raw, "--settings", str(path)) == 12
    assert "exists" in capsys.readouterr().err


def test_plan_shows_and_writes_the_table(toy_book, raw, out, tmp_path, capsys):
    table, plan = tmp_path / "plan.txt", tmp_path / "plan.json"
    assert run("plan", raw, "--out", out, "--plan", str(table), "--json", str(plan)) == 0
    told = capsys.readouterr().out
    assert "bias taken: b0, b1, b2: same setup" in told
    assert "clean:s00  <- raw: s00.fits; bias: bias:night/bias" in told
    assert "match" in table.read_text()
    assert json.loads(plan.read_text())["nodes"]


def test_decide_show_why_and_clean(toy_book, raw, out, capsys):
    run("reduce", raw, "--out", out, "--workers", "1")
    assert run("decide", "s00", "Subtract.offset=4", "--why", "cloud", "--out", out) == 0
    assert run("reduce", raw, "--out", out, "--workers", "1") == 0
    capsys.readouterr()
    assert run("show", "star_A/star_A_2d", "--out", out) == 0
    assert "gather of star A" in capsys.readouterr().out
    assert run("why", f"{out}/star_A/star_A_2d.fits") == 0
    assert "(decision by Tester: cloud)" in capsys.readouterr().out
    assert run("clean", out) == 0
    assert "dropped" in capsys.readouterr().out
    assert run("clean", raw) == 12


def test_a_frame_that_was_dropped_can_be_taken_again(toy_book, raw, out, capsys):
    for value, left in (("false", 1), ("true", 0)):
        run("reduce", raw, "--out", out, "--workers", "1")
        assert run("decide", "s00", f"Frame.use={value}", "--why", "cloud", "--out", out) == 0
        run("reduce", raw, "--out", out, "--workers", "1")
        assert capsys.readouterr().out.count("dropped by decision") >= left
    summary = json.loads((Path(out) / "summary.json").read_text())
    assert not [one for one in summary["exposures"] if "dropped" in one["reason"]]


def test_recipe_runs_one_alone(toy_book, raw, out, capsys):
    assert run("recipe", "bias", raw, "--out", out, "--workers", "1") == 0
    told = capsys.readouterr().out
    assert "1 of 1 runs" in told
    assert "calibrations/bias_night.fits" in told
    assert run("recipe", "bais", raw, "--out", out) == 12
    assert "bias" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["reduce", "EMPTY"], "found:  none under"),
        (["reduce", "nowhere"], "does not exist"),
        (["reduce", "RAW", "--set", "Subtract.ofset=3"], "try:    did you mean Subtract.offset"),
        (["reduce", "RAW", "--set", "Subtract.offset"], "wanted: Step.parameter=value"),
        (["reduce", "RAW", "--settings", "absent.toml"], "a readable settings file"),
        (["reduce", "RAW", "--object", "star Z"], "star A"),
        (["show", "star_Q"], "a product"),
    ],
)
def test_errors_are_three_lines_without_a_traceback(toy_book, raw, out, tmp_path, capsys, words, told):
    (tmp_path / "empty").mkdir()
    words = [raw if word == "RAW" else str(tmp_path / "empty") if word == "EMPTY" else word for word in words]
    assert run(*words, "--out", out) == 12
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 4


def test_debug_shows_where_an_error_arose(toy_book, out):
    from nightpipe.base.errors import PlanError

    with pytest.raises(PlanError):
        cli.main(["reduce", "nowhere", "--out", out, "--debug"])


def test_an_unexpected_error_is_told_in_a_line(toy_book, raw, out, capsys, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setattr("nightpipe.api.reduce.scan", broken)
    assert run("reduce", raw, "--out", out) == 1
    assert "ZeroDivisionError: one over nothing" in capsys.readouterr().err


def test_instruments_are_listed_checked_and_begun(toy_book, raw, tmp_path, capsys):
    assert run("instrument", "list") == 0
    assert "toycam" in capsys.readouterr().out
    assert run("instrument", "check", raw) in (0, 10)
    assert "toycam" in capsys.readouterr().out
    path = tmp_path / "new.toml"
    assert run("instrument", "new", "mycam", "--out", str(path)) == 0
    assert 'name = "mycam"' in path.read_text()
    assert run("instrument", "new", "mycam", "--out", str(path)) == 12


def test_data_is_listed(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path))
    assert run("data", "list") == 0
    assert "dbsp-quicklook" in capsys.readouterr().out
    assert run("data", "path", "dbsp-quicklook") == 12
    assert run("data", "get", "nothing") == 12


@pytest.mark.slow
def test_the_doctor_looks_at_this_machine(capsys, tmp_path):
    assert run("doctor", "--out", str(tmp_path)) in (0, 10)
    told = capsys.readouterr().out
    assert "kernels" in told
    assert "FAULT" not in told


def test_help_is_quick():
    import time

    begun = time.process_time()
    done = subprocess.run([sys.executable, "-m", "nightpipe", "--help"], capture_output=True, text=True, check=True)
    assert "reduce" in done.stdout
    assert time.process_time() - begun < 1


def test_tables_are_importable():
    assert callable(print_end)
    assert callable(print_plan)
