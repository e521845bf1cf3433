"""The scene's derivatives in closed form against differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.spaxelscene import spectra_of
from nightpipe.model.scene import Body, Placed
from nightpipe.steps.spaxels.chromatic import Elements, Likelihood
from nightpipe.steps.spaxels.scene import FitScene
from nightpipe.steps.spaxels.stage import priors_of, stage_of


@pytest.fixture(scope="module")
def like():
    spectra, _ = spectra_of(3, magnitude=16.0, target="star", hour=35.0)
    stage = stage_of(spectra, FitScene()._air(spectra)).with_body(galaxy=False).with_body(galaxy=True)
    bodies = (Body("star 1", -3.0, 2.0), Body("host", 1.5, 0.5))
    priors = priors_of(Placed(0.7, -0.4, np.eye(2), "guider"), stage.air, stage.galaxies, bodies)
    shape = (6, len(spectra))
    wave = np.repeat(np.linspace(4000.0, 9000.0, 6)[:, None], shape[1], axis=1)
    light = np.random.default_rng(1).uniform(50.0, 100.0, (4, *shape))
    return Likelihood(stage, Elements(np.ones(shape), np.ones(shape), wave, light), priors)


def test_every_parameter_moves_the_gains_as_differences_say(like):
    theta = replace(like.priors, value=like.priors.value + 0.1 * like.priors.error)
    gains, slopes = like.gains(theta), like.slopes(theta)
    assert "rho" in slopes[0]
    assert "east1" in slopes[2]
    assert slopes[1] == slopes[3] == {}
    for k, name in enumerate(theta.names):
        step = 1e-3 * min(like.priors.error[k], 1.0)
        value = theta.value.copy()
        value[k] += step
        there = replace(theta, value=value)
        exact, found = like.gains(there, gains, name), like.moved(there, gains, slopes, name, step)
        for before, after, seen in zip(gains, exact, found, strict=True):
            change = np.abs(after - before).max()
            assert np.abs(seen - after).max() <= 0.01 * change + 1e-9, name
