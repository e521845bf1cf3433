"""SEDM's headers: halves of nodded pairs."""

from __future__ import annotations

import numpy as np

from nightpipe.instruments import resolve
from nightpipe.instruments.registry import recognise
from nightpipe.simulate.ifu.headers import cards
from nightpipe.simulate.ifu.instrument import EPOCHS
from nightpipe.simulate.ifu.night import checked
from nightpipe.simulate.ifu.schedule import Planner


def exposures(**options):
    asked, epoch = checked(options), EPOCHS[options.get("epoch", "pixis")]
    shots = Planner(asked, (epoch.speed, epoch.fast), np.random.default_rng(1)).night()
    for shot in (one for one in shots if one.kind == "science"):
        header = {"NAXIS1": epoch.columns, **cards(shot, epoch, asked)}
        spec = recognise([header], "ifu.fits")
        yield spec, resolve.exposure(spec, [header], "ifu.fits")


def test_halves_of_a_pair_are_told_apart_and_single_exposures_have_no_half():
    assert [one.nod for _, one in exposures(pair=True)] == ["A", "B"]
    assert [one.nod for _, one in exposures()] == [""]
