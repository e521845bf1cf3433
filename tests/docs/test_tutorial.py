"""The tutorial's code runs, in order, as it stands on the page."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.night
def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}:{number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "caveats" in printed
    assert "wave" in printed
    assert (tmp_path / "spectrum.png").stat().st_size > 10_000
