from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.lenslets import Made, frame, geometry, lenslets, light, shot, wavelengths, window
from nightpipe.io.references import sky_lines
from nightpipe.steps.spaxels.flexure import FlexSpaxels

FLEXURE = (-0.42, -0.83, 2e-5)
TRUE = np.array([0.42, -0.83, -2e-5])
"""The same on the oriented frame, whose columns run the other way."""


def seen(seed=5, flexure=FLEXURE, **options):
    """An exposure, with the geometry and wavelengths of the calibrations before it, on a quarter of the detector."""
    shining = light(shot(flexure=flexure), seed, **options)
    base = lenslets()
    whole = Made(frame(shining, seed), geometry(base), wavelengths(base), shining)
    return window(whole, (500, 1524), (500, 1524))


@pytest.fixture(scope="module")
def scene():
    return seen(target="blank")


@pytest.fixture(scope="module")
def found(scene):
    return FlexSpaxels().run(scene.frame, scene.spaxels, scene.waves, sky_lines())


def test_the_shift_is_found_within_its_error(found):
    value, error = np.transpose(found.told())
    pull = (value - TRUE) / error
    assert (np.abs(pull) < 3.3).all()
    assert error[0] < 0.04
    assert error[1] < 0.01
    assert found.accepted
    assert not found.caveats


def test_many_lines_took_part(found):
    assert len(found.lines) >= 4
    assert any(abs(line - 5578.9) < 1 for line in found.lines)
    assert found.chi2_dof < 2


def test_it_gives_the_same_twice(scene, found):
    again = FlexSpaxels().run(scene.frame, scene.spaxels, scene.waves, sky_lines())
    assert again.told() == found.told()


def test_a_bright_target_and_moonlight_do_not_pull():
    one = seen(seed=6, target="star", magnitude=13.0, moon=1.0)
    found = FlexSpaxels().run(one.frame, one.spaxels, one.waves, sky_lines())
    assert found.told()[0][0] == pytest.approx(TRUE[0], abs=0.05)
    assert found.told()[1][0] == pytest.approx(TRUE[1], abs=0.01)


def test_without_sky_lines_the_rows_are_found_and_the_columns_left(scene):
    lines = sky_lines()
    far = replace(lines, wave=lines.wave[:1], intensity=lines.intensity[:1], species=lines.species[:1])
    found = FlexSpaxels().run(scene.frame, scene.spaxels, scene.waves, far)
    assert not found.accepted
    assert found.told()[0][0] == 0.0
    assert found.told()[1][0] == pytest.approx(TRUE[1], abs=0.02)
    assert [caveat.code for caveat in found.caveats] == ["flexure.spaxels"]
    assert found.told()[0][1] > 0.1


def test_without_light_nothing_moves(scene):
    rng = np.random.default_rng(1)
    dark = scene.frame.but(data=rng.normal(0, 4.6, scene.frame.shape).astype("f4"), var=scene.frame.read_var)
    found = FlexSpaxels().run(dark, scene.spaxels, scene.waves, sky_lines())
    assert not found.accepted
    assert [value for value, _ in found.told()] == [0.0, 0.0, 0.0]
    assert len(found.caveats) == 2


def test_a_shift_beyond_what_is_searched_is_not_believed(scene):
    found = FlexSpaxels(max_shift=0.1).run(scene.frame, scene.spaxels, scene.waves, sky_lines())
    assert not found.accepted
