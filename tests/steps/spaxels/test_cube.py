from __future__ import annotations

import numpy as np
import pytest

from builders.lenslets import made, window
from nightpipe.base.errors import BadFrameError
from nightpipe.base.run import PlainRun
from nightpipe.maths.rebin import edges, widths
from nightpipe.model.flags import Flag
from nightpipe.model.spaxels import SpaxelFlat
from nightpipe.recipes.ifucube import cube
from nightpipe.steps.spaxels.extract import ExtractSpaxels
from nightpipe.steps.spaxels.grid import GridCube
from nightpipe.steps.spaxels.response import ApplySpaxelFlat


@pytest.fixture(scope="module")
def scene():
    return window(made(3, magnitude=16.0), (600, 1300), (700, 1300))


@pytest.fixture(scope="module")
def spectra(scene):
    return ExtractSpaxels().run(scene.frame, scene.spaxels, scene.waves)


@pytest.fixture(scope="module")
def grid(spectra):
    return GridCube().run(spectra)


def whole(spectra):
    """Return the lenslets all of whose light lies on the frame."""
    return np.flatnonzero((spectra.good & (spectra.wave > 3600) & (spectra.wave < 9500)).sum(axis=1) >= 225)


def test_the_grid_is_that_of_sedm(grid):
    assert grid.flux.shape[0] == 220
    assert grid.wave[0] == 3700.0
    assert grid.wave[-1] == pytest.approx(9300.0)
    assert grid.unit == "electron/Angstrom"


def covered(spectra, k, grid, low, high):
    """Return which bins lie between two wavelengths, and what part of each pixel their whole covers."""
    edge = edges(grid.wave)
    inside = (edge[:-1] > low) & (edge[1:] < high)
    first, last = edge[:-1][inside][0], edge[1:][inside][-1]
    below, above = spectra.wave[k] - 0.5 * spectra.step[k], spectra.wave[k] + 0.5 * spectra.step[k]
    return inside, np.clip(np.minimum(above, last) - np.maximum(below, first), 0, None) / spectra.step[k]


def test_counts_are_conserved(spectra, grid):
    for k in whole(spectra):
        inside, part = covered(spectra, k, grid, 4000, 9000)
        if not spectra.good[k][part > 0].all():
            continue
        total = np.sum(grid.flux[inside, k] * widths(grid.wave)[inside])
        assert total == pytest.approx(np.sum(spectra.flux[k] * part), rel=1e-3)


def test_variance_and_correlation_are_those_of_a_sum_over_bins(spectra, grid):
    """The error of a wide sum on the grid equals that on the native pixels, if correlation is counted."""
    k = whole(spectra)[0]
    inside, part = covered(spectra, k, grid, 7000, 8000)
    sigma = widths(grid.wave)[inside] * np.sqrt(grid.var[inside, k])
    plain = total = float(np.sum(sigma**2))
    for lag, row in enumerate(grid.correlation[:, inside], start=1):
        total += 2.0 * float(np.sum(row[:-lag] * sigma[:-lag] * sigma[lag:]))
    assert total == pytest.approx(float(np.sum(part**2 * spectra.var[k])), rel=0.05)
    assert plain < 0.8 * total
    assert grid.correlation[0, inside].max() > 0.3


def test_lost_pixels_are_masked_and_never_spread(spectra):
    mask, flux = spectra.mask.copy(), spectra.flux.copy()
    k = int(whole(spectra)[0])
    at = int(np.argmin(np.abs(spectra.wave[k] - 7500)))
    mask[k, at - 1 : at + 2] |= np.uint32(Flag.COSMIC)
    flux[k, at - 1 : at + 2] = 1e6
    grid = GridCube().run(spectra.but(mask=mask, flux=flux))
    assert grid.mask[np.argmin(np.abs(grid.wave - 7500)), k] & Flag.NO_DATA
    assert grid.flux[:, k].max() < 1e3


def test_lines_are_as_wide_as_the_pixels_and_bins_make_them(grid):
    assert (np.diff(grid.fwhm[5:-5]) > -1).all()
    assert 35 < np.interp(4500, grid.wave, grid.fwhm) < 65
    assert 90 < np.interp(9000, grid.wave, grid.fwhm) < 140


def flat(spectra, error=0.0):
    wave = np.linspace(3800, 9200, 12)
    values = np.random.default_rng(1).uniform(0.8, 1.2, (len(spectra), 1)) * np.ones(12)
    values[3] = 0.0
    return SpaxelFlat(wave, values, np.full(values.shape, error), caveats=())


def test_the_response_is_divided_out(spectra):
    one = flat(spectra)
    found = ApplySpaxelFlat().run(spectra, one)
    assert found.flat
    np.testing.assert_allclose(found.flux[0], spectra.flux[0] / one.values[0, 0], rtol=1e-5)
    np.testing.assert_allclose(found.var[0], spectra.var[0] / one.values[0, 0] ** 2, rtol=1e-5)
    assert (found.mask[0][(spectra.wave[0] > 9200)] & Flag.NO_FLAT).all()
    assert not found.good[3].any()


def test_its_error_joins_where_there_is_light(spectra):
    found, sure = ApplySpaxelFlat().run(spectra, flat(spectra, 0.02)), ApplySpaxelFlat().run(spectra, flat(spectra))
    value = flat(spectra).values[0, 0]
    extra = np.square(sure.flux[0] * 0.02 / value)
    np.testing.assert_allclose(found.var[0] - sure.var[0], np.where(sure.var[0] > 0, extra, 0), rtol=0.02, atol=0.01)


def test_a_flat_of_other_lenslets_is_refused(spectra):
    one = flat(spectra)
    with pytest.raises(BadFrameError):
        ApplySpaxelFlat().run(spectra, SpaxelFlat(one.wave, one.values[:5], one.error[:5]))


@pytest.mark.parametrize("with_flat", [True, False])
def test_the_recipe_from_frame_to_cube(scene, spectra, with_flat):
    run = PlainRun()
    response = flat(spectra) if with_flat else None
    made_of = cube.function(run, frame=scene.frame, spaxels=scene.spaxels, waves=scene.waves, flat=response)
    assert set(made_of) == set(cube.outputs)
    assert made_of["spectra"].flat is with_flat
    assert ("flat.missing" in [caveat.code for caveat in run.caveats]) is not with_flat
    (dx, _), (dy, _), _ = made_of["warp"].told()
    assert abs(dx) < 0.1
    assert abs(dy) < 0.02
    assert made_of["cube"].flux.shape == (220, len(scene.spaxels))
    assert run.metrics["sky_lines"] >= 4
    assert run.metrics["flexure_dx_error"] < 0.06
    assert 0.02 < run.metrics["scattered_share"] < 0.05
