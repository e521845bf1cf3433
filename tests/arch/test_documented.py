"""Every command, recipe, step, parameter and instrument tells what it is."""

from __future__ import annotations

import pytest
from typer.main import get_command

from nightpipe.cli.main import app
from nightpipe.recipes.book import BOOK
from nightpipe.steps import STEPS, find_step


def commands(command, path="nightpipe"):
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


COMMANDS = dict(commands(get_command(app)))


def test_the_commands_are_all_there():
    names = "reduce init plan recipe show why decide clean simulate doctor"
    wanted = {f"nightpipe {name}" for name in names.split()}
    wanted |= {f"nightpipe instrument {name}" for name in ("list", "check", "new")}
    wanted |= {f"nightpipe data {name}" for name in ("list", "get")}
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_has_help(name):
    command = COMMANDS[name]
    assert command.help
    assert [one.name for one in command.params if one.name != "help" and not getattr(one, "help", "")] == []


def test_every_recipe_is_documented_and_consistent():
    import inspect

    for recipe in BOOK.recipes:
        assert recipe.summary, recipe.name
        names = tuple(inspect.signature(recipe.function).parameters)
        assert names == ("run", *recipe.inputs), recipe.name
        assert set(recipe.many) | set(recipe.optional) <= set(recipe.inputs), recipe.name


def test_recipe_names_and_steps_are_unique():
    assert len({recipe.name for recipe in BOOK.recipes}) == len(BOOK.recipes)
    classes = {step for recipe in BOOK.recipes for step in recipe.steps}
    assert len({step.name() for step in classes}) == len(classes)


def test_every_step_that_a_recipe_calls_is_in_the_table():
    for recipe in BOOK.recipes:
        for step in recipe.steps:
            assert find_step(step.name()) is step


@pytest.mark.parametrize("name", sorted(STEPS))
def test_every_step_is_documented(name):
    step = find_step(name)
    assert step.summary()
    assert step.run.__doc__
    assert len(step.model_fields) <= 12
    assert [field for field, info in step.model_fields.items() if not info.description] == []


def test_the_defaults_of_recipes_are_parameters_that_exist():
    from nightpipe.engine.config import resolve

    for recipe in BOOK.recipes:
        resolve(recipe, [])


def test_the_instruments_overrides_are_parameters_that_exist():
    from nightpipe.engine.config import Layer, Vocabulary
    from nightpipe.instruments.registry import all_instruments

    vocabulary = Vocabulary(BOOK.recipes)
    for spec in all_instruments():
        for override in spec.overrides:
            vocabulary.check_layer(Layer(f"instrument {spec.name}", override.set))
