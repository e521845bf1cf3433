"""The reference pages say what the code says, and every public thing is on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightpipe.cli import reference

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["commands.md", "recipes.md", "steps.md", "instruments.md"])
def test_the_reference_page_is_up_to_date(name):
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == reference.pages()[name], "run `nightpipe docs --out docs/reference` and commit the pages"


def test_every_parameter_has_help():
    from nightpipe.recipes.book import BOOK

    silent = [
        f"{step.name()}.{name}"
        for recipe in BOOK.recipes
        for step in recipe.steps
        for name, info in step.model_fields.items()
        if not info.description
    ]
    assert silent == []


def test_no_step_has_more_than_twelve_parameters():
    from nightpipe.recipes.book import BOOK

    many = {step.name() for recipe in BOOK.recipes for step in recipe.steps if len(step.model_fields) > 12}
    assert many == set()


def test_every_instrument_has_a_page():
    from nightpipe.instruments.registry import all_instruments

    missing = [spec.name for spec in all_instruments() if not (DOCS / "instruments" / f"{spec.name}.md").is_file()]
    assert missing == []
