"""Plans of imaging nights, from headers alone: who tells whose sky, what is measured, what goes together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders.frames import detector, exposure
from nightpipe.engine.builder import Builder, Wishes
from nightpipe.engine.config import Layer
from nightpipe.engine.night import Night, Seen
from nightpipe.instruments.registry import instrument
from nightpipe.instruments.resolve import overrides
from nightpipe.model.exposure import FrameType, Setup
from nightpipe.recipes.book import BOOK
from nightpipe.recipes.planskies import batches


def seen(name, *, arm="C0", band="J", target="SN", kind=FrameType.IMAGE, minute=0, known="rimas", **changes):
    spec = instrument(known)
    one = exposure(
        kind, name=name, instrument=known, target=target, setup=Setup(mode="image", arm=arm, filter=band),
        mjd=59000.0 + minute / 1440, ra=150.0, dec=2.0, object_ra=150.0, object_dec=2.0, band=band, **changes,
    )  # fmt: skip
    return Seen(one, detector(), None, spec, overrides(spec, one))


def plan(frames, **assignments):
    line = Layer("command line", {name.replace("__", "."): value for name, value in assignments.items()})
    return Builder(Night(tuple(frames)), BOOK, Wishes(command_line=line)).plan()


def runs(made, recipe):
    return [node for node in made.nodes if node.recipe == recipe]


def measured(made, name):
    return next(node for node in runs(made, "measure") if node.exposure == name)


def test_infrared_images_get_their_sky_from_the_others_through_the_filter():
    made = plan([seen(f"j{k}", minute=k) for k in range(4)] + [seen(f"h{k}", band="H", minute=k) for k in range(4)])
    skies = runs(made, "skyframes")
    assert [len(node.inputs["frames"]) for node in skies] == [4, 4]
    assert measured(made, "j1").inputs["skies"] == (skies[0]["skies"],)
    assert measured(made, "h1").inputs["skies"] == (skies[1]["skies"],)


def test_skies_by_target_by_night_or_not_at_all():
    frames = [seen(f"{who}{k}", target=who, minute=k) for who in ("one", "two") for k in range(3)]
    assert [len(node.inputs["frames"]) for node in runs(plan(frames), "skyframes")] == [6]
    assert len(runs(plan(frames, FramesSky__among="target"), "skyframes")) == 2
    assert runs(plan(frames, FramesSky__among="none"), "skyframes") == []


def test_too_few_images_for_a_sky_are_told():
    made = plan([seen("j0"), seen("j1", minute=1)])
    assert runs(made, "skyframes") == []
    assert [caveat.code for caveat in measured(made, "j0").caveats] == ["sky.few"]


def test_optical_images_keep_their_own_sky_and_red_ones_of_alfosc_lose_their_fringes():
    frames = [seen(f"z{k}", known="alfosc", band="z'SDSS_832_LP", arm="", minute=k, target=f"t{k}") for k in range(4)]
    made = plan([*frames, seen("g0", known="alfosc", band="g'SDSS_478_137", arm="")])
    (fringes,) = runs(made, "fringes")
    assert len(fringes.inputs["frames"]) == 4
    assert measured(made, "z2").inputs["fringe"] == (fringes["fringe"],)
    assert measured(made, "g0").inputs["fringe"] == ()
    assert runs(made, "skyframes") == []


@pytest.mark.parametrize("count", [1, 10, 11, 25])
def test_long_sequences_are_cut_evenly(count):
    parts = batches([seen(f"e{k}", minute=k).exposure for k in range(count)], 10)
    assert sum(map(len, parts)) == count
    assert max(map(len, parts)) <= 10
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_light_is_measured_by_filter_and_all_filters_go_together():
    made = plan([seen("j0"), seen("h0", band="H")])
    curves = runs(made, "lightcurve")
    assert len(curves) == 2
    (together,) = runs(made, "lightcurves")
    assert together.inputs["curves"] == tuple(node["curves"] for node in curves)
    assert runs(plan([seen("j0")]), "lightcurves") == []


def test_images_of_one_target_far_apart_are_two_fields():
    far = seen("j1", minute=1)
    made = plan([seen("j0"), replace(far, exposure=replace(far.exposure, dec=4.0))])
    assert len(runs(made, "imagestack")) == 2


def test_three_bands_of_one_field_make_a_picture():
    three = plan([seen("j0"), seen("h0", band="H"), seen("y0", band="Y")])
    (colour,) = runs(three, "colour")
    assert len(colour.inputs["stacks"]) == 3
    assert runs(plan([seen("j0"), seen("h0", band="H")]), "colour") == []


def test_a_night_of_calibrations_alone_makes_image_masters():
    flats = [seen(f"f{k}", kind=FrameType.SKY_FLAT, minute=k) for k in range(4)]
    darks = [seen(f"d{k}", kind=FrameType.DARK, minute=30 + k) for k in range(3)]
    made = plan(flats + darks)
    assert len(runs(made, "imageflat")) == 1
    assert len(runs(made, "dark")) == 1
    assert runs(made, "flat") == []
    assert len(runs(plan(darks), "dark")) == 1
