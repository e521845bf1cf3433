"""The report on a phone: wide tables scroll within themselves, the page stays as wide as the screen."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from nightpipe.api.columns import IMAGES, TargetTable
from nightpipe.api.report import Figure, Section, write_report

SUMMARY = {"status": "caveats", "targets": [{}], "timing": {"wall_s": 12.0}, "exposures": [
    {"file": "/raw/a_very_long_name_of_a_raw_frame_20190501_081040.fits", "type": "image", "setup": "C1 i 1x1",
     "state": "caveats", "caveats": [{"code": "flat.none", "text": "no flat " * 20}]},
]}  # fmt: skip


class Boxes(HTMLParser):
    """Notes for each table the classes of what it lies in, and the text of the page."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append(list(self.open))
        if tag in ("div", "section", "details"):
            self.open.append(dict(attrs).get("class") or tag)

    def handle_endtag(self, tag):
        if tag in ("div", "section", "details"):
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("page")
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(folder / "flats.png")
    row = ("AT2026sim_with_a_long_name", "C1 i", "3/3", "180", "1.23", "0.041", "25.123 +- 0.004", "22.34", "3",
           "AT2026sim/AT2026sim_C1_i.fits")  # fmt: skip
    target = Section("AT2026sim_C1_i", rows=(("zero point", "25.12"),), caveats=("flat.none: no flat",))
    flats = Section("selectflats C1_i", figures=(Figure("C1_i: flats that serve", folder / "flats.png"),))
    path = write_report(
        folder / "report.html", title="RATIR: 2013-07-16", summary=SUMMARY, targets=[target], calibrations=[flats],
        tables=[TargetTable("Images", IMAGES, (row,), (0,))], version="1",
    )  # fmt: skip
    return Path(path).read_text(encoding="utf-8")


def test_every_table_scrolls_within_itself(page):
    seen = Boxes()
    seen.feed(page)
    assert len(seen.tables) == 2
    assert all("scroll" in around for around in seen.tables)
    style = re.search(r"\.scroll \{([^}]*)\}", page)
    assert style
    assert "overflow-x:auto" in style[1]
    assert "max-width:100%" in style[1]


def test_the_page_is_as_wide_as_the_screen(page):
    assert 'name="viewport" content="width=device-width' in page
    assert re.search(r"img \{[^}]*max-width:100%", page)
    assert "overflow-wrap:anywhere" in page
    assert not re.search(r"(?<!max-)(?<!min-)width:\s*[4-9]\d\dpx", page)


def test_flats_are_shown_small_among_the_calibrations(page):
    seen = Boxes()
    seen.feed(page)
    assert "selectflats C1_i" in " ".join(seen.words)
    assert 'alt="C1_i: flats that serve"' in page
    assert 'src="data:image/png;base64,' in page
