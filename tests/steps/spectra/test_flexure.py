"""Flexure from night-sky lines, with a known field of shifts."""

from __future__ import annotations

import numpy as np
import pytest

from builders.arcs import whole_slit
from builders.sky import DISPERSION, night, scale
from nightpipe.io.references import sky_lines
from nightpipe.qc.wave import sky_offsets
from nightpipe.steps.spectra.flexure import Flexure

SHAPE = (160, 800)


def field(x, y):
    return 0.3 + 0.15 * (y - 80) / 80 + 0.05 * (x - 400) / 400


def solved(shift=field, seed=1, shape=SHAPE, step=None, **changes):
    wave = scale(shape)
    frame = night(wave, shift, np.random.default_rng(seed), **changes)
    return frame, wave, (step or Flexure(bin_rows=32)).run(frame, wave, whole_slit(shape), sky_lines())


def test_field_of_shifts_comes_back_within_its_error():
    _, _, found = solved(star=400.0)
    x, y = np.meshgrid(np.linspace(250, 750, 6), np.linspace(5, 155, 5))
    off = found.warp.along(x, y) - field(x, y)
    assert np.max(np.abs(off)) < 0.08
    assert float(np.sqrt(np.mean((off / found.warp.along.sigma(x, y)) ** 2))) < 2.5
    assert found.warp.chi2_dof < 2.5
    assert not found.caveats


def test_light_is_found_where_the_warp_says():
    _, wave, found = solved()
    x, y = 500.0, 40.0
    assert abs(float(found.at(x + field(x, y), y)) - float(np.squeeze(wave.poly(x, y)))) < 0.06 * DISPERSION


def test_no_more_complex_than_needed():
    _, _, found = solved(shift=lambda x, y: np.full_like(x, 0.4))
    assert np.abs(found.warp.along.coef.ravel()[2:]).max() < 0.01
    assert abs(found.warp.along.coef[0, 0] - 0.4) < 0.05


@pytest.mark.parametrize("moved", [-4.2, 3.6])
def test_large_shifts_are_found(moved):
    _, _, found = solved(shift=lambda x, y: np.full_like(x, moved))
    assert abs(float(np.squeeze(found.warp.along(400.0, 80.0))) - moved) < 0.1


def test_withheld_line_is_not_used_but_recorded():
    frame, _, found = solved(step=Flexure(bin_rows=32, withhold=(5578.887,)))
    assert min(abs(line - 5578.887) for line in found.warp.lines) > 15.0
    offsets = {k: v for k, v in found.warp.withheld.items() if "sigma" not in k}
    assert len(offsets) >= 4
    for key, value in offsets.items():
        assert abs(value) < 0.2 + 2 * found.warp.withheld[f"{key} sigma"]
    checked = sky_offsets(frame, found, whole_slit(SHAPE), sky_lines(), 60, (5578.887,))
    assert len(checked) == 2
    assert all(abs(one.offset) < 0.2 + 2 * one.sigma for one in checked)


def test_uncorrected_offsets_are_what_was_put_in():
    frame, wave, _ = solved(brightness=200.0)
    for one in sky_offsets(frame, wave, whole_slit(SHAPE), sky_lines(), 40, (5578.887,)):
        x = float(np.interp(5578.887, wave.poly(np.arange(800.0), one.row), np.arange(800.0)))
        assert abs(one.offset / DISPERSION - float(field(np.array(x), np.array(one.row)))) < 0.02


def test_no_sky_leaves_the_arc_alone_and_says_so():
    _, wave, found = solved(brightness=0.0)
    assert found.warp is None
    assert [caveat.code for caveat in found.caveats] == ["flexure.none"]
    assert np.array_equal(found.poly.coef, wave.poly.coef)


def test_a_short_standard_has_no_flexure_to_speak_of():
    _, _, found = solved(brightness=0.3, star=20000.0)
    shift = 0.0 if found.warp is None else float(np.squeeze(found.warp.along(400.0, 80.0))) - 0.3
    sigma = 0.0 if found.warp is None else float(np.squeeze(found.warp.along.sigma(400.0, 80.0)))
    assert abs(shift) <= max(3 * sigma, 0.1)
