"""Imports go downwards only, and the command line starts without anything heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"numpy", "scipy", "astropy", "numba", "sqlalchemy", "matplotlib", "jinja2", "sqlite3"}


def test_imports_go_downwards_only():
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def imported_by(*words):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True, timeout=60
    )
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize("words", [["--help"], ["reduce", "--help"], ["--version"], ["instrument", "--help"]])
def test_the_command_line_starts_light(words):
    seen = imported_by("-m", "nightpipe", *words)
    assert "typer" in seen
    assert seen & HEAVY == set()
    if words == ["--help"]:
        assert "pydantic" not in seen  # other words are parsed by it, in typer itself


def test_importing_the_package_costs_nothing():
    assert imported_by("-c", "import nightpipe") & (HEAVY | {"typer", "rich", "pydantic"}) == set()


def test_reduce_is_there_when_asked_for():
    import nightpipe
    from nightpipe.api.reduce import reduce

    assert nightpipe.reduce is reduce
    with pytest.raises(AttributeError, match="nothing"):
        _ = nightpipe.nothing


def test_steps_do_not_touch_files_clocks_or_plots():
    banned = ("pathlib", "os", "time", "datetime", "matplotlib", "logging", "subprocess", "socket", "random")
    offenders = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "src" / "nightpipe" / "steps").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(line.strip().startswith((f"import {name}", f"from {name} ", f"from {name}.")) for name in banned)
    ]
    assert offenders == []


def test_only_io_opens_fits():
    offenders = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "src" / "nightpipe").rglob("*.py"))
        if path.relative_to(ROOT / "src" / "nightpipe").parts[0] not in ("io", "simulate")
        and ("astropy.io" in path.read_text(encoding="utf-8"))
    ]
    assert offenders == []
