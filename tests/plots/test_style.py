"""What every figure is treated to before it is written."""

from nightpipe.plots.style import panels, save


def test_a_title_wider_than_its_axes_is_broken(tmp_path):
    figure, (left, right) = panels(1, 2, size=(8, 3))
    words = ", ".join(f"{wave}" for wave in range(5000, 5040))
    left.set_title(words)
    right.set_title("short")
    save(figure, tmp_path / "a.png")
    assert right.get_title() == "short"
    assert left.get_title().replace("\n", " ") == words
    box = left.title.get_window_extent()
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1 + 1
