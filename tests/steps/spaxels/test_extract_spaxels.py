from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.lenslets import made, truth, window
from nightpipe.base.errors import BadFrameError
from nightpipe.model.flags import Flag
from nightpipe.model.spaxels import Spaxel
from nightpipe.model.warp import Warp
from nightpipe.steps.spaxels.extract import ExtractSpaxels


@pytest.fixture(scope="module")
def scene():
    return window(made(3, magnitude=16.0), (700, 1200), (800, 1150))


@pytest.fixture(scope="module")
def spectra(scene):
    return ExtractSpaxels().run(scene.frame, scene.spaxels, scene.waves)


def pulls(spectra, true):
    good = spectra.good
    return ((spectra.flux - true) / np.sqrt(np.where(good, spectra.var, 1.0)))[good]


def test_counts_and_errors_are_right(scene, spectra):
    found = pulls(spectra, truth(scene, spectra.first, spectra.flux.shape[1]))
    assert found.size > 15_000
    assert abs(found.mean()) < 0.05
    assert 0.95 < found.std() < 1.05


def test_what_is_said_of_the_solution(spectra):
    assert 0.02 < spectra.meta["scattered_share"] < 0.05
    assert spectra.meta["rejected_pixels"] < 30
    assert spectra.meta["chi2_pixel"] == pytest.approx(0.9, abs=0.06)


def test_wavelengths_are_those_of_the_columns(scene, spectra):
    k = int(np.argmin(np.abs(scene.spaxels.x - 250)))
    for line in (4359.56, 5578.887, 9165.16):
        column = float(scene.waves.column(k, line)) - spectra.first[k]
        assert np.interp(column, np.arange(spectra.wave.shape[1]), spectra.wave[k]) == pytest.approx(line, abs=0.1)
    held = spectra.mask[k] != Flag.NO_DATA
    assert (np.diff(spectra.wave[k][held]) > 0).all()
    np.testing.assert_allclose(spectra.step[k][held][1:-1], np.gradient(spectra.wave[k][held])[1:-1], rtol=0.02)
    assert 30 < np.interp(4200, spectra.wave[k], spectra.fwhm[k]) < 50


def test_a_shift_moves_wavelengths_and_rows(scene):
    warp = Warp.rigid(scene.frame.shape, dx=0.4)
    plain = ExtractSpaxels(rounds=0).run(scene.frame, scene.spaxels, scene.waves)
    moved = ExtractSpaxels(rounds=0).run(scene.frame, scene.spaxels, scene.waves.warped(warp))
    held = (plain.wave > 5000) & (plain.wave < 9000)
    np.testing.assert_allclose((plain.wave - moved.wave)[held], (0.4 * plain.step)[held], rtol=0.02)


def test_masked_pixels_have_no_say(scene, spectra):
    data, mask = scene.frame.data.copy(), scene.frame.mask.copy()
    data[::9, ::5] += 5e4
    mask[::9, ::5] |= np.uint32(Flag.COSMIC)
    found = ExtractSpaxels().run(scene.frame.but(data=data, mask=mask), scene.spaxels, scene.waves)
    assert abs(pulls(found, truth(scene, found.first, found.flux.shape[1])).mean()) < 0.05
    assert found.meta["rejected_pixels"] < 30


def test_hits_that_nobody_flagged_are_rejected(scene, spectra):
    rng = np.random.default_rng(2)
    data = scene.frame.data.copy()
    where = rng.random(data.shape) < 0.003
    data[where] += rng.uniform(400, 4000, int(where.sum()))
    found = ExtractSpaxels().run(scene.frame.but(data=data), scene.spaxels, scene.waves)
    true = truth(scene, found.first, found.flux.shape[1])
    assert found.meta["rejected_pixels"] > 0.97 * where.sum()
    values = pulls(found, true)
    assert np.mean(np.abs(values) > 5) < 1e-3
    assert values.std() < 1.05


def test_a_spectrum_whose_core_is_masked_says_so(scene):
    k = int(np.argmin(np.abs(scene.spaxels.x - 250) + np.abs(scene.spaxels.centre[:, 0] - 175)))
    column = int(scene.spaxels.x[k])
    row = round(float(scene.spaxels.row(k, column)))
    mask = scene.frame.mask.copy()
    mask[row - 1 : row + 2, column] |= np.uint32(Flag.SATURATED)
    found = ExtractSpaxels().run(scene.frame.but(mask=mask), scene.spaxels, scene.waves)
    at = column - found.first[k]
    assert found.mask[k, at] == Flag.SATURATED | Flag.NO_DATA
    assert not found.good[k, at]
    assert found.good[k, at + 1]


def test_dead_lenslets_are_flagged_and_off_the_frame_is_no_data(scene, spectra):
    state = scene.spaxels.state.copy()
    state[5] = Spaxel.DEAD
    found = ExtractSpaxels(rounds=0).run(scene.frame, replace(scene.spaxels, state=state), scene.waves)
    assert not found.good[5].any()
    assert (spectra.mask[spectra.var == 0] & Flag.NO_DATA).all()


def test_without_wavelengths_there_are_columns_all_the_same(scene, spectra):
    found = ExtractSpaxels().run(scene.frame, scene.spaxels)
    np.testing.assert_array_equal(found.flux, spectra.flux)
    assert not found.wave.any()


def test_geometry_of_another_detector_is_refused(scene):
    with pytest.raises(BadFrameError):
        ExtractSpaxels().run(scene.frame, replace(scene.spaxels, shape=(10, 10)), scene.waves)


def test_spectra_off_the_frame_are_refused(scene):
    with pytest.raises(BadFrameError):
        ExtractSpaxels().run(scene.frame, replace(scene.spaxels, span=scene.spaxels.span + 1e5), scene.waves)


def test_it_gives_the_same_twice(scene, spectra):
    again = ExtractSpaxels().run(scene.frame, scene.spaxels, scene.waves)
    np.testing.assert_array_equal(again.flux, spectra.flux)
