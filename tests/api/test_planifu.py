"""What is planned for a night of a lenslet unit, from headers alone."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from astropy.io import fits

from nightpipe.api.reduce import Request, planned
from nightpipe.base.errors import PlanError
from nightpipe.recipes.book import BOOK
from nightpipe.simulate.ifu.headers import cards, file_name
from nightpipe.simulate.ifu.instrument import EPOCHS
from nightpipe.simulate.ifu.night import checked
from nightpipe.simulate.ifu.schedule import Planner


def written(folder, *, seed=1, days=0, only=lambda shot: True, **options):
    """Write the headers of a night, its pixels left out."""
    folder.mkdir(parents=True, exist_ok=True)
    asked, epoch = checked(options), EPOCHS["pixis"]
    shots = Planner(asked, (epoch.speed, epoch.fast), np.random.default_rng(seed)).night()
    for shot in filter(only, shots):
        moved = type(shot)(**vars(shot) | {"start": shot.start + timedelta(days=days)})
        hdu = fits.PrimaryHDU(np.full((4, 4), shot.number, np.uint16))
        hdu.header.update({key: value for key, value in cards(moved, epoch, asked).items() if value is not None})
        hdu.writeto(folder / file_name(moved))
    return folder


def plan_of(raw, tmp_path, **wishes):
    _, plan = planned(BOOK, raw, Request(tmp_path / "out", **wishes))
    return plan


def of(plan, recipe):
    return [node for node in plan.nodes if node.recipe == recipe]


def test_a_night_needs_one_set_of_masters_and_each_exposure_its_cube(tmp_path):
    plan = plan_of(written(tmp_path / "raw", targets=2), tmp_path)
    assert {name: len(of(plan, name)) for name in ("spaxels", "spaxelwave", "spaxelflat", "cube", "ifucalibrate")} == {
        "spaxels": 1, "spaxelwave": 1, "spaxelflat": 1, "cube": 3, "ifucalibrate": 3,
    }  # fmt: skip
    assert len(of(plan, "bias")) == 2  # one for each speed
    assert len(of(plan, "sensitivity")) == 1
    assert not of(plan, "extract")


def test_the_slow_speed_knows_the_gain_of_the_fast_one_and_has_its_own_where_it_was_lit(tmp_path):
    raw = written(tmp_path / "raw")
    noise = {node.id: node.inputs for node in of(plan_of(raw, tmp_path), "noise")}
    (slow,) = [inputs for inputs in noise.values() if inputs["other"]]
    assert slow["biases"]
    assert not slow["flats"]
    assert noise[slow["other"][0].node]["flats"]
    lit = written(tmp_path / "lit")
    for path in sorted(written(tmp_path / "more", days=0.007, only=lambda shot: shot.kind == "dome").glob("*.fits"))[
        :2
    ]:
        fits.setval(path, "ADCSPEED", value=0.1)
        path.rename(lit / path.name)
    plan = plan_of(lit, tmp_path)
    assert sorted(len(node.inputs["flats"]) for node in of(plan, "noise")) == [2, 3]
    assert not any(node.inputs["other"] for node in of(plan, "noise"))
    assert len(of(plan, "spaxels")[0].inputs["frames"]) == 3  # those of one speed: bias and noise are one's
    refused = [why for why in of(plan, "spaxels")[0].reasons if not why.taken and "read at" in why.text]
    assert len(refused) == 2
    assert "calibrations.speeds" in {one.code for one in of(plan, "cube")[0].caveats}


def test_halves_of_a_pair_know_each_other(tmp_path):
    plan = plan_of(written(tmp_path / "raw", pair=True), tmp_path)
    light = [node for node in of(plan, "spectrophotometry") if node.target == "ZTF26sima"]
    first, second = (node.inputs["partner"][0].node for node in light)
    assert first == f"cube:{light[1].exposure}"
    assert second == f"cube:{light[0].exposure}"
    assert len(of(plan, "ifucombine")) == 1


def test_half_a_pair_stands_alone_with_a_caveat(tmp_path):
    raw = written(tmp_path / "raw", pair=True, only=lambda shot: shot.letter == "A")
    (light,) = [node for node in of(plan_of(raw, tmp_path), "spectrophotometry") if node.target == "ZTF26sima"]
    assert light.inputs["partner"] == ()
    assert "pair.incomplete" in {caveat.code for caveat in light.caveats}


def test_without_lamps_a_note_says_what_to_give(tmp_path):
    raw = written(tmp_path / "raw", only=lambda shot: shot.kind in ("bias", "standard", "science"))
    with pytest.raises(PlanError, match="--calibrations"):
        plan_of(raw, tmp_path)
    raw = written(tmp_path / "more", only=lambda shot: shot.lamp == "")
    with pytest.raises(PlanError, match="dome and lamps"):
        plan_of(raw, tmp_path)


def test_another_nights_lamps_serve_with_a_caveat_and_refused_ones_do_not(tmp_path):
    raw = written(tmp_path / "raw")
    written(raw, days=-3, only=lambda shot: shot.kind in ("bias", "dome", "lamp"))
    plan = plan_of(raw, tmp_path)
    (own,) = of(plan, "spaxels")
    domes = dict.fromkeys(own.raws, "spaxels: the dome is saturated")
    (other,) = of(plan_of(raw, tmp_path, refused=domes), "spaxels")
    assert not set(other.raws) & set(own.raws)
    cube = next(node for node in of(plan_of(raw, tmp_path, refused=domes), "cube"))
    told = {caveat.code: caveat.text for caveat in cube.caveats}
    assert "3.2 d earlier" in told["calibrations.other_night"]
    assert "the dome is saturated" in told["calibrations.refused"]


def test_a_night_of_calibrations_alone_makes_their_masters(tmp_path):
    plan = plan_of(written(tmp_path / "raw", targets=0, standards=0), tmp_path)
    assert {name: len(of(plan, name)) for name in ("spaxels", "spaxelwave", "spaxelflat", "arc", "flat")} == {
        "spaxels": 1, "spaxelwave": 1, "spaxelflat": 1, "arc": 0, "flat": 0,
    }  # fmt: skip
