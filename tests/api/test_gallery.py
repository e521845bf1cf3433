"""Figures: several at once give the same as one by one, and one that fails is told and costs nothing else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nightpipe.api import gallery
from nightpipe.api.outputs import Drawing
from nightpipe.plots.style import panels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure


def line(number: int) -> Figure:
    """A figure of one line; the third cannot be drawn."""
    if number == 3:
        raise ValueError("nothing to show")
    figure, (axis,) = panels(1, size=(3.0, 2.0))
    axis.plot(np.arange(5.0) * number)
    return figure


def drawings(folder: Path) -> Iterator[Drawing]:
    """Fourteen figures."""
    for number in range(14):
        yield Drawing(f"line {number}", folder / f"line_{number}", f"key{number}", partial(line, number))


def test_processes_draw_what_one_process_draws(tmp_path):
    numbers = [number for number in range(14) if number != 3]
    for name, processes in (("one", 1), ("two", 2)):
        drawn = gallery.draw_all(partial(drawings, tmp_path / name), numbers, processes=processes)
        assert not drawn.failed
        assert (drawn.elsewhere > 0) == (processes > 1)
    made = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(made) == 13
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in made)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_figure_that_fails_is_named_and_the_others_are_drawn(tmp_path, processes):
    with pytest.warns(gallery.FigureWarning, match=r"line_3 \(line 3\) was not drawn: .*nothing to show"):
        drawn = gallery.draw_all(partial(drawings, tmp_path), range(14), processes=processes)
    assert list(drawn.failed) == [3]
    assert len(list(tmp_path.glob("*.png"))) == 13


def test_a_full_disk_is_no_failed_figure(tmp_path):
    (tmp_path / "barred").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="barred"):
        gallery.draw_all(partial(drawings, tmp_path / "barred"), [0, 1])


def test_only_what_shows_something_else_is_due(tmp_path):
    drawing = next(drawings(tmp_path))
    drawing.path.with_suffix(".png").write_bytes(b"")
    assert gallery.fresh(drawing, {"line": "key0"}, "line", pdf=False)
    assert not gallery.fresh(drawing, {"line": "other"}, "line", pdf=False)
    assert not gallery.fresh(drawing, {"line": "key0"}, "line", pdf=True)
