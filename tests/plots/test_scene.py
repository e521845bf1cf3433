"""Figures of a scene: how the target's place is marked, and the three kinds of the verification."""

from __future__ import annotations

import numpy as np
import pytest

from builders import field, fieldscene
from nightpipe.model.classification import Overlay
from nightpipe.model.exposure import FrameType
from nightpipe.model.references import Standard
from nightpipe.model.scene import Finder
from nightpipe.plots import scene
from nightpipe.plots.classify import as_seen


@pytest.mark.parametrize(
    ("how", "marker", "colour"), [("guider", "+", scene.MARK), ("brightest", "o", scene.MARK), ("person", "x", "black")]
)
def test_the_centre_is_a_cross_a_circle_or_a_persons_black_cross(how, marker, colour):
    axis = scene.spaxel_map(field.cube(), fieldscene.scene(how)).axes[0]
    marks = [line for line in axis.lines if line.get_marker() == marker]
    assert [(line.get_xdata()[0], line.get_ydata()[0], line.get_color()) for line in marks] == [(1.0, -0.5, colour)]


def test_profile_and_refraction_are_drawn():
    top, bottom = scene.profile(fieldscene.scene()).axes
    assert 'FWHM 1.90" at 6000 A' in top.get_title()
    assert bottom.get_ylabel() == "data - model"
    assert "chi2 0.90" in scene.refraction(fieldscene.scene()).axes[1].get_title()


def standard(scale=1.0):
    """Return a table that a star of 2e-16 agrees with up to a factor."""
    wave = np.arange(3000.0, 10500.0, 10.0)
    flux = scale * 2e-16 * (1.0 + 0.3 * np.sin(wave / 400.0))
    return Standard("Feige 34", (), 0.0, 0.0, wave, flux, np.zeros(wave.size), "made up")


def test_a_standard_is_compared_with_its_table_in_shape_and_level():
    wave, ratio = scene.ratio_to(field.spectrum(), standard(0.5))
    inner = (wave > 4000) & (wave < 9000)
    assert ratio[inner] == pytest.approx(2.0, rel=0.02)
    figure = scene.calibration_check(field.spectrum(), standard(0.5))
    assert figure.axes[1].get_title().endswith("level 2.000")


def test_the_verification_has_three_kinds():
    given = (fieldscene.scene(), field.cube(), fieldscene.grade(2, 1))
    alone = scene.verify(field.spectrum(), *given)
    assert len(alone.axes) == 4  # finder, map, profile, spectrum
    star = scene.verify(field.spectrum(kind=FrameType.STANDARD), *given, standard=standard())
    assert star.axes[-1].get_ylabel() == "shape / table"
    assert star.axes[0].get_title().startswith("refraction: lift 1.10")  # a standard has no guider
    assert "quality 2 (faint)" in star.get_suptitle()
    picture = Finder(np.zeros((50, 50), np.float32), 60.0, 2.0, -3.0, 4, "12 stars")
    assert (
        "finder: 4 frames of the guider, 12 stars"
        in scene.verify(field.spectrum(), *given, finder=picture).axes[0].get_title()
    )


def test_a_template_is_drawn_as_coarse_as_the_spectrum():
    wave = np.arange(4000.0, 8000.0, 5.0)
    noisy = Overlay("x", wave, 1.0 + 0.3 * (-1.0) ** np.arange(wave.size))
    assert np.abs(as_seen(noisy, np.arange(4000.0, 8000.0, 25.0)) - 1.0)[5:-5].max() < 0.01
    np.testing.assert_allclose(as_seen(noisy, np.arange(4000.0, 8000.0, 1.0)), noisy.flux, atol=0.02)
