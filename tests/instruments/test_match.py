"""Conditions: equality, any-of, /regex/, range; and what an absent card means."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from nightpipe.instruments.match import Condition, When, holds, lacking, matches

CONDITION = TypeAdapter(Condition)
WHEN = TypeAdapter(When)


@pytest.mark.parametrize(
    ("condition", "value", "answer"),
    [
        ("open", " OPEN ", True),
        ("open", "opened", False),
        ("/^open/", "Open_(Lyot)", True),
        ("/lamp$/", "FLAT,LAMP", True),
        (1, 1, True),
        (1, 1.0, True),
        (1, True, True),
        (1, "1", True),
        (1, 0, False),
        (True, False, False),
        (["cal", "/^arc/"], "ARCS", True),
        (["cal", "arc"], "arcs", False),
        ({"max": 0.01}, 0.002, True),
        ({"max": 0.01}, 0.01, False),
        ({"min": 0.01}, 0.01, True),
        ({"min": 1, "max": 2}, "1.5", True),
        ({"min": 1}, "long", False),
    ],
)
def test_conditions(condition, value, answer):
    assert holds(CONDITION.validate_python(condition), value) is answer


@pytest.mark.parametrize("condition", ["/(/", {"above": 3}, ["/[/"]])
def test_what_is_no_condition_is_refused(condition):
    with pytest.raises((ValidationError, Exception), match=r"(?i)unterminated|missing|extra|valid"):
        CONDITION.validate_python(condition)


def test_all_conditions_must_hold_and_an_absent_card_fulfils_none():
    when = WHEN.validate_python({"A": 1, "B": "/x/"})
    assert matches(when, {"A": 1, "B": "axe"}.get)
    assert not matches(when, {"A": 1, "B": "b"}.get)
    assert not matches(when, {"A": 1}.get)


def test_lacking_names_the_cards_that_would_decide():
    when = WHEN.validate_python({"A": 1, "B": "/x/"})
    assert lacking(when, {"A": 1}.get) == ("B",)
    assert lacking(when, {"A": 2}.get) == ()
    assert lacking(when, {}.get) == ()
    assert lacking(when, {"A": 1, "B": "x"}.get) == ()
