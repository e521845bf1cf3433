from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.spaxelscene import spectra_of
from nightpipe.base.errors import BadFrameError
from nightpipe.io.codec import load, save
from nightpipe.model.flags import Flag
from nightpipe.model.scene import Placed
from nightpipe.steps.spaxels.forcedspectrum import ForcedSpectrum
from nightpipe.steps.spaxels.scene import FitScene

PLACE = Placed(1.0, -0.2, np.eye(2) * 0.25, "brightest")


@pytest.fixture(scope="module")
def bright():
    spectra, truth = spectra_of(3, magnitude=16.0, target="star", hour=35.0)
    return spectra, truth, FitScene().run(spectra, PLACE)


def test_the_target_is_found_to_hundredths_of_an_arcsecond(bright):
    _, truth, scene = bright
    source = truth.sources[0]
    assert scene.target.east == pytest.approx(source.east, abs=0.02)
    assert scene.target.north == pytest.approx(source.north, abs=0.02)
    assert scene.others == ()


def test_refraction_is_predicted_within_a_tenth_of_a_lenslet_and_chi2_says_so(bright):
    from nightpipe.simulate.atmosphere import refraction

    _, truth, scene = bright
    wave = scene.slices.wave
    lift = refraction(wave, 6000.0, truth.seeing.airmass, truth.seeing.air)
    turn = np.radians(truth.seeing.parallactic)
    true = np.column_stack([0.7 + lift * np.sin(turn), -0.4 + lift * np.cos(turn)])
    assert np.hypot(*(scene.slices.expected - true).T).max() < 0.0635
    assert 0.4 < scene.refraction_chi2 < 2.0


def test_counts_are_right_and_the_fit_is_good(bright):
    spectra, truth, scene = bright
    spectrum = ForcedSpectrum().run(scene, spectra)
    good = spectrum.good & (spectrum.wave > 4000) & (spectrum.wave < 9000)
    true = truth.seen(spectrum.wave, spectrum.fwhm) * np.gradient(spectrum.wave)
    pulls = ((spectrum.flux - true) / spectrum.err)[good]
    assert 0.85 < pulls.std() < 1.2
    assert (spectrum.flux / true)[good].mean() == pytest.approx(1.0, abs=0.01)
    assert scene.chi2 / scene.dof == pytest.approx(1.0, abs=0.05)
    assert scene.chi2_near < 1.3
    assert spectrum.correlation.shape == (4, spectrum.wave.size)
    assert np.abs(spectrum.correlation).max() < 1


def test_rejected_pixels_are_the_hits(bright):
    _, _, scene = bright
    assert scene.rejected < 500
    assert (scene.coverage[2:-2] > 0.9).all()


def test_a_scene_is_stored_and_read(bright, tmp_path):
    _, _, scene = bright
    save(scene, tmp_path / "scene.fits")
    again = load(tmp_path / "scene.fits")
    np.testing.assert_array_equal(again.slices.data, scene.slices.data)
    assert again.names == scene.names


def test_lenslets_left_out_are_not_used(bright):
    spectra, truth, _ = bright
    source = truth.sources[0]
    middle = int(np.argmin(np.hypot(spectra.east - source.east, spectra.north - source.north)))
    scene = FitScene(passes=1).run(spectra, PLACE, leave=(middle,))
    assert not scene.used[middle]
    assert scene.method == "masked"
    assert scene.coverage.mean() < 0.95
    light = truth.seen(scene.wave, scene.fwhm_line)
    assert np.median(scene.target.flux / light) == pytest.approx(1.0, abs=0.02)


def test_without_coordinates_refraction_is_fitted_and_told(bright):
    spectra, truth, _ = bright
    lost = replace(spectra, exposure=replace(spectra.exposure, object_ra=None, object_dec=None, ra=None, dec=None))
    scene = FitScene(passes=2).run(lost, PLACE)
    assert "refraction.unknown" in {caveat.code for caveat in scene.caveats}
    light = truth.seen(scene.wave, scene.fwhm_line)
    assert np.median(scene.target.flux / light) == pytest.approx(1.0, abs=0.02)


def test_no_spectra_is_an_error(bright):
    spectra, _, _ = bright
    blind = replace(spectra, mask=np.full_like(spectra.mask, int(Flag.NO_DATA)))
    with pytest.raises(BadFrameError, match="usable"):
        FitScene().run(blind, PLACE)
