from __future__ import annotations

import tomllib

import pytest

from builders import toys
from nightpipe.api.settings import flattened, parse_assignment, read_settings, set_layer
from nightpipe.api.settings_file import settings_text
from nightpipe.base.errors import ConfigError
from nightpipe.base.plain import toml_value
from nightpipe.engine.config import Layer, Vocabulary, resolve, step_values


def values(settings):
    return {name: setting.value for name, setting in settings.items()}


def test_the_last_layer_wins_and_is_named():
    layers = [Layer("instrument toycam", {"Subtract.offset": 1}), Layer("settings x", {"Subtract.offset": 2.5})]
    found = resolve(toys.clean, layers)
    assert (found["Subtract.offset"].value, found["Subtract.offset"].origin) == (2.5, "settings x")
    assert (found["Subtract.repeat"].value, found["Subtract.repeat"].origin) == (1, "default")
    assert found["Subtract[second].offset"].origin == "recipe clean"


def test_special_names_beat_general_ones_whatever_their_layer():
    layers = [Layer("settings", {"Subtract[second].offset": 7}), Layer("command line", {"Subtract.offset": 2})]
    found = values(resolve(toys.clean, layers))
    assert step_values(found, "Subtract")["offset"] == 2
    assert step_values(found, "Subtract", "second")["offset"] == 7


def test_a_place_on_the_slit_is_heard_only_there():
    found = values(resolve(toys.clean, [Layer("decision", {"Subtract.offset@slit=-3.2": 9})]))
    assert step_values(found, "Subtract")["offset"] == 0
    assert step_values(found, "Subtract", place="-3.2")["offset"] == 9


def test_parameters_of_other_recipes_are_passed_over():
    assert "Average.weight" not in resolve(toys.clean, [Layer("settings", {"Average.weight": 2})])


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Subtract.ofset", "Subtract.offset"),
        ("subtract.offset", "Subtract.offset"),
        ("Avrage.weight", "Average.weight"),
    ],
)
def test_an_unknown_name_fails_with_what_comes_nearest(name, advice):
    with pytest.raises(ConfigError, match=advice):
        Vocabulary(toys.BOOK.recipes).check_layer(Layer("command line", {name: 1}))


@pytest.mark.parametrize("value", [2000, "many", True and [1]])
def test_an_impossible_value_fails_naming_parameter_and_origin(value):
    with pytest.raises(ConfigError, match=r"Subtract\.offset.*settings mine"):
        Vocabulary(toys.BOOK.recipes).check_layer(Layer("settings mine", {"Subtract.offset": value}))


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("A.b=3", "A.b", 3),
        ("A.b = 3.5", "A.b", 3.5),
        ("A[x].b=true", "A[x].b", True),
        ("A.b=[1, 2]", "A.b", [1, 2]),
        ("A.b=median", "A.b", "median"),
        ("A.b@slit=-3.2=4", "A.b@slit=-3.2", 4),
        ("A.b=4.5@slit=+3.20", "A.b@slit=+3.20", 4.5),
        ("A.b=a=b", "A.b", "a=b"),
    ],
)
def test_assignments_are_read(text, name, value):
    assert parse_assignment(text) == (name, value)


@pytest.mark.parametrize("text", ["A.b", "=3", ""])
def test_what_is_no_assignment_is_refused(text):
    with pytest.raises(ConfigError, match=r"Step\.parameter=value"):
        parse_assignment(text)


def test_the_settings_file_lists_everything_and_changes_nothing():
    text = settings_text(toys.BOOK.recipes)
    assert not any(tomllib.loads(text).values())  # empty tables: every value is commented out
    for name in Vocabulary(toys.BOOK.recipes).names():
        assert name.split(".")[1] in text
    assert "[adu]" in text
    assert ">= -1000" in text
    assert "calm | gloomy" in text


def test_the_settings_file_uncommented_gives_the_defaults():
    lines = settings_text(toys.BOOK.recipes).splitlines()
    steps = [line.removeprefix("# ").split("    # ")[0] for line in lines if " = " in line and "    # " in line]
    tables = "\n".join(
        line if line.startswith("[") else line.removeprefix("# ").split("    # ")[0]
        for line in lines
        if line.startswith("[") or (" = " in line and "    # " in line)
    )
    assert len(steps) == len(Vocabulary(toys.BOOK.recipes).names())
    layer = Layer("file", flattened(tomllib.loads(tables), "file"))
    for recipe in toys.BOOK.recipes:
        assert values(resolve(recipe, [layer])) == values(resolve(recipe, []))


def test_settings_are_read_from_tables_labels_and_places(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[Subtract]\noffset = 3\n"offset@slit=2" = 4\n["Subtract[second]"]\nrepeat = 2\n')
    assert read_settings(path).values == {
        "Subtract.offset": 3,
        "Subtract.offset@slit=2": 4,
        "Subtract[second].repeat": 2,
    }


@pytest.mark.parametrize("text", ["offset = 3", "[Subtract\n", "\x00"])
def test_settings_that_are_not_settings_are_refused(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_settings(path)


def test_toml_values_come_back():
    for value in (True, 3, 2.5, 'a "b"', [1, 2], ["x"]):
        assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value


def test_set_is_a_layer():
    assert set_layer(["A.b=1", "A.c=x"]).values == {"A.b": 1, "A.c": "x"}
