"""Forced photometry: pulls, limits, places without data, stacks with correlated noise, units, the light curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.frames import exposure
from builders.pulls import bounds
from builders.starfield import draw, field, observed
from nightpipe.base.errors import BadFrameError
from nightpipe.model.flags import Flag
from nightpipe.model.sources import ZeroPoint
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Wcs
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.forced import ForcedPhotometry
from nightpipe.steps.imaging.lightcurve import GatherLightCurve
from nightpipe.steps.imaging.psf import ModelPsf

WCS = Wcs((150.0, 20.0), (256.0, 256.0), ((-1e-4, 0.0), (0.0, 1e-4)))
ZERO = ZeroPoint(25.0, 0.01, "r", "PS1", "test", 50, 0.02)
STEP = ForcedPhotometry()


def scene(seed, n=16, shape=(512, 512), least=20.0, most=500.0):
    """A field of bright stars for the PSF, and faint ones on a grid between them: frame, PSF, x, y, electrons."""
    rng = np.random.default_rng(seed)
    light = np.zeros(shape)
    gy, gx = (g.ravel() for g in np.mgrid[40 : shape[0] - 20 : 80.0, 40 : shape[1] - 20 : 80.0])
    draw(light, gx + rng.uniform(-1, 1, gx.size), gy, rng.uniform(2e4, 1e5, gx.size), 3.2, 0.0)
    y, x = (g.ravel() for g in np.mgrid[80 : shape[0] - 60 : 40.0, 80 : shape[1] - 60 : 40.0])
    free = np.min(np.hypot(x[:, None] - gx, y[:, None] - gy), axis=1) > 20
    index = np.flatnonzero(free)
    index = np.sort(rng.permutation(index)[:n])
    x, y = x[index] + rng.uniform(-2, 2, len(index)), y[index] + rng.uniform(-2, 2, len(index))
    flux = rng.uniform(least, most, len(index))
    draw(light, x, y, flux, 3.2, 0.0)
    frame = observed(rng, light)
    return frame, ModelPsf(degree=0).run(frame, Detect().run(frame)), x, y, flux


def measure(frame, psf, x, y, zero=ZERO, step=STEP):
    return step.run(frame, WCS, psf, zero, tuple(float(c) for c in WCS.to_sky(x, y)), "SN")


def rows_of(frame, psf, x, y, step=STEP):
    """Return flux, error and limit [electron/s] at each place."""
    rows = [measure(frame, psf, *place, step=step) for place in zip(x, y, strict=True)]
    scale = 10 ** (0.4 * (25 - 23.9))
    return np.array([[scale * r.flux[0], scale * r.flux_error[0], 10 ** (0.4 * (25 - r.limit[0]))] for r in rows]).T


@pytest.fixture(scope="module")
def small():
    return scene(3)


def test_faint_fluxes_are_within_their_errors(small):
    frame, psf, x, y, flux = small
    found, error, limit = rows_of(frame, psf, x, y)
    pulls = (100 * found - flux) / (100 * error)
    assert abs(pulls.mean()) < bounds(len(pulls))[0]
    assert pulls.std() == pytest.approx(1, abs=bounds(len(pulls))[1])
    assert np.all(limit <= 3.001 * error)


@pytest.mark.pulls
@pytest.mark.parametrize("how", ["psf", "aperture"])
def test_pulls_over_several_hundred_injected_sources(how):
    pulls, missed, upper = [], 0, 0
    for seed in range(4):
        frame, psf, x, y, flux = scene(100 + seed, n=110)
        found, error, limit = rows_of(frame, psf if how == "psf" else None, x, y)
        pulls.append((100 * found - flux) / (100 * error))
        quiet = found < limit
        missed += np.count_nonzero(quiet)
        upper += np.count_nonzero(flux[quiet] / 100 > np.maximum(found[quiet], 0) + limit[quiet])
    pulls = np.concatenate(pulls)
    print(f"{how}: {len(pulls)} pulls, mean {pulls.mean():+.3f}, std {pulls.std():.3f}; {missed} limits, {upper} fail")
    assert len(pulls) > 200
    assert abs(pulls.mean()) < bounds(len(pulls))[0]
    assert 0.9 < pulls.std() < 1.1
    assert upper <= max(1, 0.005 * missed)


def test_empty_places_are_no_detections(small):
    frame, psf, x, y, _ = small
    rng = np.random.default_rng(5)
    px, py = rng.uniform(60, 450, (2, 400))
    lone = np.array([np.min(np.hypot(x - a, y - b)) > 12 for a, b in zip(px, py, strict=True)])
    found = Detect(threshold=3.5).run(frame)
    lone &= np.array([np.min(np.hypot(found.x - a, found.y - b)) > 25 for a, b in zip(px, py, strict=True)])
    flux, error, _ = rows_of(frame, psf, px[lone][:20], py[lone][:20])
    assert np.abs(flux / error).max() < 4
    assert np.median(error) > 0


def test_a_neighbour_is_not_part_of_the_flux(small):
    frame, psf, *_ = small
    light = np.zeros((512, 512))
    draw(light, [256.3, 263.0], [250.0, 252.0], [3000.0, 20000.0], 3.2, 0.0)
    both = replace(frame, data=frame.data + light.astype(np.float32), var=frame.var + light.astype(np.float32))
    flux, error, _ = rows_of(both, psf, [256.3], [250.0])
    assert abs(flux[0] - 30) < 4 * error[0] + 0.6


def test_outside_and_on_bad_pixels_nothing_is_measured(small):
    frame, psf, *_ = small
    off = measure(frame, psf, 900.0, 20.0)
    mask = frame.mask.copy()
    mask[195:206, 195:206] |= np.uint32(Flag.BAD)
    dead = measure(replace(frame, mask=mask), psf, 200.0, 200.0)
    dull = measure(replace(frame, mask=mask), None, 200.0, 200.0)
    for row, code in ((off, "forced.outside"), (dead, "forced.masked"), (dull, "forced.masked")):
        assert np.isnan([row.flux[0], row.flux_error[0], row.mag[0], row.limit[0]]).all()
        assert code in {c.code for c in row.caveats}


def test_magnitudes_and_units(small):
    frame, psf, *_ = small
    light = np.zeros((512, 512))
    draw(light, [260.0], [300.0], [5000.0], 3.2, 0.0)
    bright = replace(frame, data=frame.data + light.astype(np.float32))
    row = measure(bright, psf, 260.0, 300.0)
    assert row.unit == ("microjansky",)
    assert row.mag[0] == pytest.approx(23.9 - 2.5 * np.log10(row.flux[0]), abs=1e-6)
    assert row.mag[0] == pytest.approx(25 - 2.5 * np.log10(50.0), abs=4 * row.mag_error[0])
    plain = measure(bright, psf, 260.0, 300.0, zero=None)
    assert plain.unit == ("electron/s",)
    assert np.isnan(plain.limit[0])
    assert "forced.zeropoint" in {c.code for c in plain.caveats}


def test_a_small_offset_is_followed_on_request(small):
    frame, psf, *_ = small
    light = np.zeros((512, 512))
    draw(light, [260.7], [300.4], [2e4], 3.2, 0.0)
    bright = replace(frame, data=frame.data + light.astype(np.float32), var=frame.var + light.astype(np.float32))
    fixed, moved, far = (measure(bright, psf, 260.0, 300.0, step=ForcedPhotometry(recentre=r)) for r in (0.0, 1.5, 0.3))
    truth = 25 - 2.5 * np.log10(200.0)
    assert fixed.mag[0] > truth + 0.02
    assert moved.mag[0] == pytest.approx(truth, abs=0.015)
    assert far.flux[0] == fixed.flux[0]
    assert "forced.recentre" in {c.code for c in far.caveats}


def test_noise_that_no_map_states_is_in_the_error():
    rng = np.random.default_rng(8)
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(rng.normal(0, 1, (400, 400)), 1.5)
    data = (smooth / smooth.std()).astype(np.float32)
    one = np.ones(data.shape, np.float32)
    stack = Stack(data, one, np.zeros(data.shape, np.uint32), one, one.astype(np.uint8), WCS, 1000.0, 25.0,
                  np.ones((1, 1)), 1.0, ("a", "b"), exposure=exposure())  # fmt: skip
    psf = scene(9, n=4)[1]
    flux, error, limit = rows_of(stack, psf, rng.uniform(60, 340, 30), rng.uniform(60, 340, 30))
    assert (flux / error).std() == pytest.approx(1, abs=bounds(30)[1])
    assert np.all(error > 2 * np.sqrt(np.pi) * psf.fwhm / 2.35)  # what independent pixels would leave
    assert np.all(limit > 3 * 2 * np.sqrt(np.pi) * psf.fwhm / 2.35)


def test_without_stars_an_aperture_of_nominal_size_serves():
    made = field(np.random.default_rng(1), n=1, shape=(300, 300), least=30, most=40)
    row = measure(made.frame, None, 150.0, 150.0)
    assert {"forced.aperture", "forced.size"} <= {c.code for c in row.caveats}
    assert np.isfinite(row.limit[0])


def test_a_light_curve_is_in_the_order_of_time(small):
    frame, psf, *_ = small
    rows = [
        measure(replace(frame, exposure=exposure(name=f"f{k}", mjd=59000.0 + day)), psf, 260.0, 300.0)
        for k, day in enumerate((0.3, 0.1))
    ]
    curve = GatherLightCurve().run(rows)
    assert len(curve) == 2
    assert curve.image == ("f1", "f0")
    assert curve.mjd[0] < curve.mjd[1]
    with pytest.raises(BadFrameError, match="one place"):
        GatherLightCurve().run([*rows, replace(rows[0], ra=10.0)])
    with pytest.raises(BadFrameError):
        GatherLightCurve().run([])


def test_a_source_aside_of_the_place_is_told(small):
    frame, psf, x, y, _ = small
    bright = Detect().run(frame)
    star = int(np.argmax(bright.flux))
    near = measure(frame, psf, bright.x[star] + 0.9 * psf.fwhm, bright.y[star])
    assert "forced.blended" in [caveat.code for caveat in near.caveats]
    on = measure(frame, psf, bright.x[star], bright.y[star])
    assert "forced.blended" not in [caveat.code for caveat in on.caveats]
    assert "forced.blended" not in [caveat.code for caveat in measure(frame, psf, x[0], y[0]).caveats]
