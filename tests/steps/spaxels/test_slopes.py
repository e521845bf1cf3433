"""The scene's derivatives in closed form against differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.spaxelscene import spectra_of
from nightpipe.kernels.chorus import right_side
from nightpipe.model.scene import Body, Placed
from nightpipe.steps.spaxels.chromatic import Elements, Likelihood
from nightpipe.steps.spaxels.forced import at_places, force, gains_of, modes_of, solved
from nightpipe.steps.spaxels.pixels import pixels_of, scale_of
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


def test_modes_are_what_a_move_along_an_eigenvector_does_to_the_spectrum(like):
    spectra, _ = spectra_of(3, magnitude=16.0, target="star", hour=35.0)
    stage = like.stage
    theta = replace(like.priors, value=like.priors.value + 0.1 * like.priors.error)
    pixels = pixels_of(spectra, scale_of(spectra, 5500.0, 7000.0), np.zeros(len(spectra), dtype=bool))
    use = np.ones(len(pixels), dtype=bool)
    forced = force(pixels, gains_of(stage, theta, pixels), use)
    rng = np.random.default_rng(5)
    mix = rng.normal(0.0, 0.003, (theta.value.size, theta.value.size)) * like.priors.error[:, None]
    covariance = mix @ mix.T
    out = at_places(forced, 0)
    found = modes_of(forced, stage, theta, covariance, pixels, use, out)
    size, vector = np.linalg.eigh(covariance)
    gain = forced.score.gain
    unit = forced.parts / np.where(gain != 0, gain, 1.0)
    for k in np.argsort(size)[-4:]:
        moved = replace(theta, value=theta.value + np.sqrt(size[k]) * vector[:, k])
        change = ((gains_of(stage, moved, pixels) - gain) * unit).sum(axis=0)
        expected = out @ solved(forced.factor, right_side(forced.score, -change, 1.0 / pixels.var)[:, None])[:, 0]
        away = min(np.abs(found[k] - expected).max(), np.abs(found[k] + expected).max())
        assert away < 0.1 * np.abs(expected).max()
