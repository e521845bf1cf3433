"""The tutorials' code runs, in order, as it stands on the pages."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "tutorial": ("spectrum.png", ("caveats", "wave")),
    "tutorial-imaging": ("stack.png", ("AT2026sim", "mag_error", "limit", "ellipticity", "yes")),
}


@pytest.mark.night
@pytest.mark.parametrize("page", PAGES)
def test_the_tutorial_runs(page, tmp_path, monkeypatch, capsys):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    if page == "tutorial-imaging":
        monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path / "data"))
        monkeypatch.setenv("NIGHTPIPE_CATALOGUES", str(tmp_path / "catalogues"))
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}.md:{number}", "exec"), names)
    printed = capsys.readouterr().out
    figure, words = PAGES[page]
    assert [word for word in words if word not in printed] == []
    assert (tmp_path / figure).stat().st_size > 10_000
