"""The table of steps is complete and each entry is what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nightpipe.steps
from nightpipe.base.errors import ConfigError
from nightpipe.base.step import Step
from nightpipe.steps import STEPS, find_step

ROOM = Path(nightpipe.steps.__file__).parent


def defined() -> set[str]:
    """Return the names of all classes below `steps` that derive from Step."""
    names = set()
    for path in ROOM.glob("*/*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Step" for base in node.bases):
                names.add(node.name)
    return names


def test_every_step_is_in_the_table():
    assert set(STEPS) == defined()


@pytest.mark.parametrize("name", sorted(STEPS))
def test_entries_are_steps_that_can_be_built_and_explained(name):
    step = find_step(name)
    assert issubclass(step, Step)
    assert step.name() == name
    assert step.summary()
    assert len(step.model_fields) <= 12
    assert all(field.description for field in step.model_fields.values())
    step()


def test_unknown_names_are_told_what_there_is():
    with pytest.raises(ConfigError, match="Overscan"):
        find_step("Overscam")
