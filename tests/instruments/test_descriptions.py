"""The packaged descriptions, the template, and what is said of one that is wrong."""

from __future__ import annotations

from importlib.resources import files

import pytest

from nightpipe.base.errors import ConfigError
from nightpipe.instruments.hooks import HOOKS
from nightpipe.instruments.registry import all_instruments, instrument, parse, site, sites
from nightpipe.instruments.template import template
from nightpipe.model.exposure import FrameType

TEXTS = {
    entry.name: entry.read_text(encoding="utf-8")
    for entry in files("nightpipe").joinpath("instruments", "toml").iterdir()
    if entry.name.endswith(".toml")
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_description_costs_under_150_lines(name):
    assert TEXTS[name].count("\n") < 150
    assert max(map(len, TEXTS[name].splitlines())) < 240


@pytest.mark.parametrize("spec", all_instruments(), ids=lambda spec: spec.name)
def test_a_description_is_complete(spec):
    assert spec.site in sites() or spec.name == "generic"
    wanted = {FrameType.BIAS, FrameType.FLAT, *((FrameType.ARC,) if spec.dispersers else (FrameType.SKY_FLAT,))}
    made = {FrameType.SCIENCE if spec.dispersers else FrameType.IMAGE}
    assert wanted | ({FrameType.STANDARD} if spec.dispersers else set()) <= set(spec.calibrations)
    assert {rule.type for rule in spec.frames} >= wanted | made
    hooks = {entry.hook for entries in spec.cards.values() for entry in entries if entry.hook}
    assert hooks <= set(HOOKS)
    for entry in spec.dispersers:
        assert entry.range[0] < entry.range[1]
        assert entry.lamps
    for camera in spec.detectors:
        assert camera.linear_to < camera.saturation
        assert camera.source


def test_every_hook_is_used():
    used = {e.hook for spec in all_instruments() for entries in spec.cards.values() for e in entries}
    assert set(HOOKS) == used - {""}


def test_the_template_is_valid_as_it_stands():
    spec = parse(template("MYCAM"), "template")
    assert spec.name == "MYCAM"
    assert "lapalma, palomar, lick" in template("MYCAM")


def test_own_descriptions_are_found_in_a_folder(tmp_path, monkeypatch):
    (tmp_path / "mycam.toml").write_text(template("MYCAM"))
    monkeypatch.setenv("NIGHTPIPE_INSTRUMENTS", str(tmp_path))
    all_instruments.cache_clear()
    try:
        assert instrument("mycam").title == "Telescope/MYCAM"
    finally:
        monkeypatch.undo()
        all_instruments.cache_clear()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "MYCAM"', "name = MYCAM", "in TOML.*mine.toml"),
        ("exptime = ", "exposure = ", "cards.exposure"),
        ('type = "bias"', 'type = "biass"', r"frames\.0\.type"),
        ("gain = 1.0", "gain = -1.0", r"greater than 0.*detectors\.0\.amplifiers\.0\.gain"),
        ("saturation = 60000", "saturaton = 60000", "saturat"),
        ("dispersion = 3.5, ", "", "grism1 needs"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(old, new, message):
    text = template("MYCAM")
    assert old in text
    with pytest.raises(ConfigError, match=message):
        parse(text.replace(old, new, 1), "mine.toml")


def test_unknown_names_list_the_known():
    with pytest.raises(ConfigError, match="alfosc, arcsat, dbsp, generic, kast"):
        instrument("fors")
    with pytest.raises(ConfigError, match="lapalma"):
        site("mars")
