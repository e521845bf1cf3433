"""The PSF against the truth it was drawn with, at several places, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.starfield import field, observed, profile
from nightpipe.base.errors import NoSolutionError
from nightpipe.kernels.psf import Grid, values
from nightpipe.maths.psfwings import Wings
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.psf import ModelPsf, degree_for


@pytest.fixture(scope="module")
def modelled():
    scene = field(np.random.default_rng(1), grid=48, shape=(768, 768), least=8000, reach=40)
    return scene, ModelPsf().run(scene.frame, Detect().run(scene.frame))


def truth(x, y, dx, dy, shape=(768, 768), fwhm=3.2, vary=0.08):
    u, v = 2 * x / shape[1] - 1, 2 * y / shape[0] - 1
    fine = (np.arange(9) + 0.5) / 9 - 0.5
    wide, stretch = fwhm * (1 + vary * (0.6 * u + 0.4 * v * v)), vary * (u - v) * 0.3
    return np.mean([profile(dx + a, dy + b, wide, stretch) for a in fine for b in fine], axis=0)


@pytest.mark.parametrize("place", [(383.0, 383.0), (150.0, 600.0), (620.0, 180.0)])
def test_the_psf_is_the_truth_everywhere_on_the_field(modelled, place):
    _, psf = modelled
    axis = np.arange(-8, 9) - 0.3
    dy, dx = np.meshgrid(axis, axis, indexing="ij")
    expected = truth(*place, dx, dy)
    found = values(Grid(psf.basis, psf.oversampling, psf.degree, psf.shape), *place, dx, dy)
    assert np.abs(found - expected).max() < 0.03 * expected.max()
    assert (found * expected).sum() / (found**2).sum() == pytest.approx(1, abs=0.006)


def test_the_curve_of_growth_is_the_truth(modelled):
    _, psf = modelled
    r = np.linspace(0, 400, 400001)
    light = np.cumsum(2 * np.pi * r * profile(r, 0 * r, 3.2)) * (r[1] - r[0])
    for radius in (6, 9, 13, 20):
        assert np.interp(radius, *psf.growth.T) == pytest.approx(np.interp(radius, r, light), abs=0.006)
    assert psf.growth[-1, 1] > 0.998
    assert (np.diff(psf.growth[:, 1]) >= 0).all()


def test_width_and_fit_are_told(modelled):
    _, psf = modelled
    assert psf.fwhm == pytest.approx(3.3, abs=0.15)
    assert 0.8 < psf.chi < 1.3
    assert psf.stars > 100
    assert psf.caveats == ()


def test_few_stars_give_a_constant_psf_with_a_caveat():
    scene = field(np.random.default_rng(2), grid=70, shape=(160, 160), least=2e4, vary=0.0)
    psf = ModelPsf().run(scene.frame, Detect().run(scene.frame))
    assert psf.degree == 0
    assert "psf.few" in {c.code for c in psf.caveats}


def test_no_stars_are_refused():
    frame = observed(np.random.default_rng(2), np.zeros((128, 128)))
    with pytest.raises(NoSolutionError, match=r"without sources|three bright"):
        ModelPsf().run(frame, Detect().run(frame))


def test_saturated_stars_are_refused():
    scene = field(np.random.default_rng(4), grid=80, shape=(240, 240), least=8e5, most=9e5, saturation=20000)
    sources = Detect().run(scene.frame)
    with pytest.raises(NoSolutionError, match="three bright"):
        ModelPsf().run(scene.frame, replace(sources, caveats=()))


def test_degree_follows_the_number_of_stars():
    assert [degree_for(n) for n in (3, 8, 12, 500)] == [0, 1, 2, 3]


def test_wings_of_a_power_law_hold_its_light():
    radius = np.geomspace(3, 20, 8)
    wings = Wings(radius, 0.1 * radius**-4.0, 4.0, 0.0)
    assert wings.beyond(5.0) == pytest.approx(2 * np.pi * 0.1 / 2 / 25, rel=1e-3)
