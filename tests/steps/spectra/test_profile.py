"""Profiles: empirical, parametric, blended, assumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.slit import Scene, Star, build, with_star
from builders.slitrun import reduced, searched
from nightpipe.steps.spectra.find import PlaceSource
from nightpipe.steps.spectra.profile import FitProfile


@pytest.mark.parametrize(
    "changes", [{}, {"beta": 2.5}, {"gradient": -0.15}, {"slope": 0.03, "bow": 3.0}, {"fwhm": 2.5}], ids=str
)
def test_an_empirical_profile_meets_the_truth(changes):
    done = reduced(with_star(2e4, **changes), seed=3)
    profile, truth = done.profiles[0], done.built.truth.profiles[0]
    assert profile.kind == "empirical"
    assert np.abs(profile.values - truth / truth.sum(axis=0)).max() < 0.012
    np.testing.assert_allclose(profile.values.sum(axis=0), 1.0, rtol=1e-5)
    assert (profile.values >= 0).all()
    star = done.built.scene.stars[0]
    width = star.width(np.arange(240.0), 240)
    assert np.abs(profile.fwhm / np.hypot(width, 0.7) - 1).max() < 0.12


def test_a_faint_profile_is_a_moffat_of_about_the_right_width():
    done = reduced(with_star(60.0), seed=2)
    assert done.profiles[0].kind == "moffat"
    assert np.median(done.profiles[0].fwhm) == pytest.approx(5.0, rel=0.25)
    assert done.profiles[0].caveats == ()


def test_masked_pixels_leave_no_trace_in_the_profile():
    done = reduced(replace(with_star(2e4), masked=0.1), seed=5)
    truth = done.built.truth.profiles[0]
    assert np.abs(done.profiles[0].values - truth).max() < 0.012


def test_blended_sources_share_a_shape_and_say_so():
    done = reduced(replace(Scene(), stars=(Star(35.0, 2000.0), Star(45.0, 1600.0))), seed=1)
    assert [profile.kind for profile in done.profiles] == ["moffat", "moffat"]
    assert "profile.blended" in {caveat.code for caveat in done.profiles[0].caveats}


def test_a_forced_profile_is_assumed():
    built = build(with_star(3000.0))
    sky, _ = searched(built)
    source = PlaceSource().run(frame=built.frame, sky=sky, wave=built.wave, slit=built.slit, slit_arcsec=-8.0)
    profile = FitProfile().run(frame=built.frame, sky=sky, source=source, slit=built.slit)
    assert "profile.assumed" in {caveat.code for caveat in profile.caveats}
    assert np.median(profile.fwhm) == pytest.approx(source.fwhm)
