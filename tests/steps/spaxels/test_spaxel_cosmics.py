"""Cosmic rays among lenslet spectra: what L.A.Cosmic finds and eats, and what the profile's residual nets after it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from builders.lenslets import IfuOptions, Made, frame, geometry, lenslets, made, shot, wavelengths, window
from nightpipe.instruments.registry import instrument
from nightpipe.model.flags import Flag
from nightpipe.simulate.cosmics import expected_count, tracks
from nightpipe.simulate.ifu.exposures import lit
from nightpipe.steps.detector.cosmics import Cosmics
from nightpipe.steps.spaxels.extract import ExtractSpaxels

X, Y = (500, 1500), (500, 1500)


def cosmics() -> Cosmics:
    """Return the step as the instrument's description sets it."""
    chosen = {name: value for override in instrument("sedm").overrides for name, value in override.set.items()}
    return Cosmics(**{name.removeprefix("Cosmics."): v for name, v in chosen.items() if name.startswith("Cosmics.")})


@cache
def scene(kind: str) -> Made:
    if kind == "dome":
        shining = lit(shot("dome", exptime=180.0), lenslets(), IfuOptions(), 1)
        return window(Made(frame(shining, 3), geometry(lenslets()), wavelengths(lenslets()), shining), X, Y)
    faint = {"science": (18.0, 1800.0), "standard": (11.0, 240.0)}[kind]
    return window(made(3, exposure=shot(exptime=faint[1]), magnitude=faint[0], target="star"), X, Y)


@cache
def hit(kind: str):
    """Return a frame with the cosmic rays of an hour, their charge, and that in units of the pixels' noise."""
    one, rng = scene(kind), np.random.default_rng(7)
    ny, nx = one.frame.shape
    count = int(expected_count(1.7, (ny, nx), (13.5, 13.5), 3600.0))
    cosmic = tracks((ny, nx), (13.5, 13.5), 16.0, count, rng)
    data = one.frame.data + rng.poisson(cosmic).astype("f4")
    struck = replace(one.frame, data=data, var=(np.maximum(data, 0) + one.frame.read_var).astype("f4"))
    return struck, cosmic, cosmic / np.sqrt(np.maximum(one.frame.data, 0.0) + 21.0)


@pytest.mark.parametrize("kind", ["science", "standard"])
def test_lacosmic_finds_the_hits_and_leaves_the_spectra(kind):
    struck, cosmic, strength = hit(kind)
    found = (cosmics().run(struck).mask & np.uint32(Flag.COSMIC)) > 0
    assert found[strength > 5].mean() > 0.98
    assert (found & (strength < 0.5)).mean() < 1e-3
    expected = scene(kind).light.image[:, ::-1][Y[0] : Y[1], X[0] : X[1]]
    bright = expected > np.percentile(expected, 99.5)
    assert (found & (cosmic == 0))[bright].mean() < 0.01


def test_lacosmic_would_eat_a_dome():
    """Spectra that bright have edges to it: calibrations are cleaned by their median, and by the profile."""
    struck, cosmic, _ = hit("dome")
    assert ((cosmics().run(struck).mask & np.uint32(Flag.COSMIC)) > 0)[cosmic == 0].mean() > 0.01


@pytest.mark.parametrize(("kind", "least"), [("science", 0.95), ("standard", 0.95), ("dome", 0.8)])
def test_the_profile_nets_what_was_missed(kind, least):
    one, (struck, _, strength) = scene(kind), hit(kind)
    clean, dirty = (ExtractSpaxels().run(f, one.spaxels, one.waves) for f in (one.frame, struck))
    assert clean.meta["rejected_pixels"] < 20
    assert dirty.meta["rejected_pixels"] > least * np.count_nonzero(strength > 5)
    good = clean.good & dirty.good
    off = np.abs(dirty.flux - clean.flux)[good] / np.sqrt(clean.var[good])
    assert np.mean(off > 5) < 1e-3


def test_both_nets_together_leave_nothing():
    one, (struck, _, _) = scene("science"), hit("science")
    clean, dirty = (ExtractSpaxels().run(f, one.spaxels, one.waves) for f in (one.frame, cosmics().run(struck)))
    good = clean.good & dirty.good
    off = np.abs(dirty.flux - clean.flux)[good] / np.sqrt(clean.var[good])
    assert np.mean(off > 5) < 1e-4
    assert np.mean(clean.good & ~dirty.good) < 0.02
