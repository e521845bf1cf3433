from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.spaxelscene import spectra_of
from nightpipe.base.errors import ConfigError
from nightpipe.model.exposure import FrameType
from nightpipe.model.flags import Flag
from nightpipe.model.scene import Placed, Reason
from nightpipe.model.warp import Warp
from nightpipe.steps.spaxels.aperture import ApertureSpectrum
from nightpipe.steps.spaxels.choose import ChooseScene
from nightpipe.steps.spaxels.forcedspectrum import ForcedSpectrum
from nightpipe.steps.spaxels.grade import GradeSpectrum
from nightpipe.steps.spaxels.locate import LocateTarget
from nightpipe.steps.spaxels.scene import FitScene
from nightpipe.steps.spaxels.select import SelectSpaxels
from nightpipe.steps.spaxels.separate import SeparateContours


@pytest.fixture(scope="module")
def lone():
    spectra, truth = spectra_of(3, magnitude=16.0, target="star", hour=35.0)
    scene = FitScene(passes=1).run(spectra, Placed(0.9, -0.3, np.eye(2) * 0.25, "guider"))
    return spectra, truth, scene, ForcedSpectrum().run(scene, spectra)


@pytest.fixture(scope="module")
def crowded():
    spectra, truth = spectra_of(4, magnitude=16.5, target="star", neighbour=16.0)
    return spectra, truth


def codes(model):
    return {caveat.code for caveat in model.caveats}


def test_the_brightest_source_is_found_where_it_is(lone):
    spectra, _, _, _ = lone
    found = LocateTarget().run(spectra)
    assert (found.east, found.north) == pytest.approx((0.7, -0.4), abs=0.1)
    assert found.how == "brightest"
    assert "place.brightest" in codes(found)
    standard = replace(spectra, exposure=replace(spectra.exposure, type=FrameType.STANDARD))
    assert codes(LocateTarget().run(standard)) == set()


def test_astrometry_goes_before_the_brightest_and_a_pointing_confines_the_search(crowded):
    spectra, _ = crowded
    bright = LocateTarget().run(spectra)
    assert np.hypot(bright.east + 4.3, bright.north - 2.6) < 0.2
    good = Placed(0.9, -0.2, np.eye(2) * 0.09, "guider")
    assert LocateTarget().run(spectra, good) is good
    pointing = Placed(1.5, 0.2, np.eye(2) * 1.7**2, "header")
    found = LocateTarget().run(spectra, pointing)
    assert (found.east, found.north) == pytest.approx((0.7, -0.4), abs=0.15)


def test_what_alone_stands_where_the_telescope_pointed_is_the_target_and_rivals_or_distance_are_told(lone, crowded):
    spectra, _, _, _ = lone
    alone = LocateTarget().run(spectra, Placed(1.5, 0.2, np.eye(2) * 2.0**2, "header"))
    assert (alone.how, codes(alone)) == ("header", {"place.pointing"})
    assert (alone.east, alone.north) == pytest.approx((0.7, -0.4), abs=0.1)
    far = LocateTarget().run(spectra, Placed(0.7, 4.6, np.eye(2) * 2.0**2, "header"))
    assert (far.how, codes(far)) == ("brightest", {"place.brightest"})
    rivals = LocateTarget().run(crowded[0], Placed(-1.5, 1.0, np.eye(2) * 3.0**2, "header"))
    assert (rivals.how, codes(rivals)) == ("brightest", {"place.brightest"})


def test_a_place_outside_the_field_is_told_and_a_persons_word_goes_first(lone):
    spectra, _, _, _ = lone
    outside = LocateTarget().run(spectra, Placed(25.0, 3.0, np.eye(2) * 0.1, "guider"))
    assert codes(outside) == {"place.outside"}
    assert outside.east == pytest.approx(0.7, abs=0.1)
    person = LocateTarget(east=3.0, north=2.0).run(spectra, Placed(0.0, 0.0, np.eye(2), "guider"))
    assert (person.east, person.north, person.how) == (3.0, 2.0, "person")


def test_an_empty_field_has_no_brightest_source():
    spectra, _ = spectra_of(8, blank=True)
    found = LocateTarget().run(spectra)
    assert found.how == "middle"
    assert "place.nothing" in codes(found)


def test_lenslets_outside_a_region_and_those_excluded_are_masked(lone):
    spectra, _, _, _ = lone
    chosen = SelectSpaxels(region="-3,-3;3,-3;3,3;-3,3", exclude="12,700").run(spectra)
    used = (chosen.mask & int(Flag.OUTSIDE_SLIT) == 0).all(axis=1)
    box = (np.abs(spectra.east) < 3) & (np.abs(spectra.north) < 3) & ~np.isin(np.arange(len(spectra)), (12, 700))
    np.testing.assert_array_equal(used, box)
    assert "spaxels.selected" in codes(chosen)
    assert SelectSpaxels().run(spectra) is spectra
    circles = SelectSpaxels(exclude_region="1,2,1.5;-4,0,1|5,5;8,5;8,8;5,8").run(spectra)
    used = (circles.mask & int(Flag.OUTSIDE_SLIT) == 0).all(axis=1)
    east, north = spectra.east, spectra.north
    out = (np.hypot(east - 1, north - 2) < 1.5) | (np.hypot(east + 4, north) < 1)
    out |= (np.abs(east - 6.5) < 1.5) & (np.abs(north - 6.5) < 1.5)
    np.testing.assert_array_equal(used, ~out)
    for wrong in (
        {"region": "1,2;3"}, {"exclude": "12,99999"}, {"exclude": "2.5,1"}, {"exclude_region": "1,2,0"},
        {"exclude_region": "0,0,99"},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            SelectSpaxels(**wrong).run(spectra)


@pytest.mark.parametrize("sky", ["scene", "annulus"])
def test_an_aperture_gives_the_light_of_an_isolated_star(lone, sky):
    spectra, truth, scene, _ = lone
    box = ApertureSpectrum(radius=1.2, sky=sky).run(scene, spectra)
    light = truth.seen(box.wave, box.fwhm) * np.gradient(box.wave)
    middle = (box.wave > 4500) & (box.wave < 8800)
    assert np.median((box.flux / light)[middle]) == pytest.approx(1.0, abs=0.02)
    assert (box.var > 0).all()


def test_an_aperture_without_sky_says_so_and_one_of_a_partner_needs_one(lone):
    spectra, _, scene, _ = lone
    with_sky = ApertureSpectrum(sky="none", correct=False).run(scene, spectra)
    without = ApertureSpectrum(sky="scene", correct=False).run(scene, spectra)
    assert (with_sky.flux > without.flux).mean() > 0.95
    assert "aperture.sky" in codes(with_sky)
    with pytest.raises(ConfigError, match="partner"):
        ApertureSpectrum(sky="partner").run(scene, spectra)
    dark = replace(spectra, flux=np.zeros_like(spectra.flux))
    paired = ApertureSpectrum(sky="partner", correct=False).run(scene, spectra, dark)
    np.testing.assert_allclose(paired.flux, with_sky.flux)


def test_a_flat_ellipse_catches_less_than_a_circle(lone):
    spectra, _, scene, _ = lone
    circle, flat = (ApertureSpectrum(ratio=r, correct=False).run(scene, spectra).flux.sum() for r in (1.0, 0.4))
    assert flat < 0.8 * circle


def test_grades_follow_what_was_measured(lone):
    spectra, _, scene, spectrum = lone
    step = GradeSpectrum()
    good = step.run(scene, spectrum, spectra)
    assert (good.quality, good.reasons) == (0, 0)
    assert good.measured["snr"] > 50

    def graded(place=None, warp=None, flux=None, **changes):
        other = replace(scene, place=place or scene.place, **changes)
        seen = spectrum if flux is None else spectrum.but(flux=flux)
        return step.run(other, seen, spectra, warp)

    from nightpipe.base.caveat import Caveat

    away = graded(Placed(5.0, 0.0, np.eye(2) * 0.25, "guider"))
    assert (away.quality, away.why) == (2, ("away",))
    assert graded(chi2_near=3.0).why == ("bad_fit",)
    assert graded(refraction_chi2=47.0).why == ("refraction",)
    assert graded(refraction_chi2=7.2, snr=680.0).quality == 0  # 2 milliarcsec
    assert graded(structure=0.6, snr=30.0).why == ("structure",)
    assert graded(chi2_near=2.0, structure=0.6, snr=680.0).quality == 0  # 0.15 per cent of a standard's light
    assert graded(chi2_near=60.0, snr=680.0).why == ("bad_fit",)
    assert graded(snr=1.0).why == ("faint",)
    assert graded(warp=Warp.rigid((2048, 2048), accepted=False)).why == ("flexure",)
    assert graded(flux=-spectrum.flux).quality == 4
    assert graded(caveats=(Caveat("place.outside", ""),)).quality == 3
    bright = replace(scene.place, how="brightest")
    lost = graded(bright, caveats=(Caveat("place.brightest", ""),))
    assert lost.quality == 5
    assert Reason(lost.reasons) == Reason.NO_ASTROMETRY
    said = GradeSpectrum(verdict="no object visible").run(scene, spectrum, spectra)
    assert (said.quality, said.verdict) == (0, "no object visible")
    pointed = replace(scene.place, how="header")
    assert (graded(pointed).quality, graded(pointed).why) == (2, ("pointing",))
    assert graded(pointed, snr=1.0).quality == 5
    person = graded(replace(scene.place, how="person"))
    assert (person.quality, person.why) == (1, ("person",))
    standard = replace(spectra, exposure=replace(spectra.exposure, type=FrameType.STANDARD))
    assert step.run(replace(scene, place=bright), spectrum, standard).quality == 0


def test_a_bright_neighbour_is_found_and_fitted(crowded):
    spectra, truth = crowded
    scene = FitScene(passes=2).run(spectra, Placed(0.9, -0.2, np.eye(2) * 0.09, "guider"))
    assert [body.name for body in scene.others] == ["star 1"]
    star = scene.others[0]
    assert (star.east, star.north) == pytest.approx((-4.3, 2.6), abs=0.03)
    middle = (scene.wave > 5000) & (scene.wave < 8500)
    for body, number in ((scene.target, 0), (star, 1)):
        light = truth.seen(scene.wave, scene.fwhm_line, number)
        assert np.median((body.flux / light)[middle]) == pytest.approx(1.0, abs=0.02)


def test_contours_part_the_target_from_a_neighbour(crowded, lone):
    spectra, _ = crowded
    scene = FitScene(passes=1, neighbours=0).run(spectra, Placed(0.9, -0.2, np.eye(2) * 0.09, "guider"))
    leave = list(SeparateContours().run(scene, spectra))
    assert len(leave) > 10
    assert np.hypot(spectra.east[leave] + 4.3, spectra.north[leave] - 2.6).max() < 4.0
    assert SeparateContours().run(lone[2], lone[0]) == ()


def test_the_simplest_scene_that_holds_is_chosen(lone):
    _, _, scene, _ = lone
    host = replace(scene, method="scene", chi2=scene.chi2 - 2000.0)
    masked = replace(scene, method="masked")
    assert ChooseScene().run((scene, masked)).method == "psf"
    assert ChooseScene().run((scene, replace(host, chi2=scene.chi2))).method == "psf"
    assert ChooseScene().run((scene, host)).method == "scene"
    assert ChooseScene(method="masked").run((scene, masked, host)).method == "masked"
    assert ChooseScene().run((replace(scene, chi2_near=4.0), masked)).method == "masked"


def test_a_poor_fit_widens_the_errors(lone):
    spectra, _, scene, spectrum = lone
    wide = ForcedSpectrum().run(replace(scene, chi2_near=4.0), spectra)
    np.testing.assert_allclose(wide.err, 2.0 * spectrum.err)
    assert wide.meta["widened"] == pytest.approx(2.0)
