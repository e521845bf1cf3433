"""Tilt and curvature of arc lines over the detector."""

from __future__ import annotations

import numpy as np
import pytest

from builders.arcs import arc, whole_slit
from nightpipe.io.references import line_list
from nightpipe.model.disperser import Disperser
from nightpipe.steps.spectra.wavecal import Identify
from nightpipe.steps.spectra.wavemap import MapWavelength

GRISM = Disperser("4", 7.04, 5800.0, 500.0, 0.03, (3200.0, 9600.0), 16.2)


def solved(ny=81, seed=1, **changes):
    truth = arc(GRISM, line_list(("He", "Ne")), np.random.default_rng(seed), n=1026, ny=ny, shift=40.0, **changes)
    wave = Identify().run(truth.frame, truth.slit, line_list(("He", "Ne")))
    return truth, wave, MapWavelength(blocks=16).run(truth.frame, truth.slit, wave)


@pytest.mark.parametrize(("tilt", "curve"), [(0.0, 0.0), (1.2, 0.0), (-0.8, 0.7)])
def test_lines_are_followed(tilt, curve):
    _, wave, mapped = solved(tilt=tilt, curve=curve)
    x, y = np.linspace(220, 940, 25), np.array([2.0, 20.0, 60.0, 78.0])
    v = (y - 40) / 40
    for row, shift in zip(y, tilt * v + curve * v**2, strict=True):
        moved = mapped.poly(x + shift, row)
        assert np.max(np.abs(moved - wave.poly(x, wave.y_ref)) / GRISM.dispersion) < 0.03
    assert mapped.map_rms_px < 0.1


def test_reference_row_and_its_covariance_stay():
    _, wave, mapped = solved(tilt=1.0)
    x = np.linspace(200, 950, 20)
    assert np.max(np.abs(mapped.poly(x, wave.y_ref) - wave.poly(x, wave.y_ref))) < 0.02
    assert np.allclose(mapped.poly.sigma(x, (81 - 1) / 2.0), wave.poly.sigma(x, 40.0), rtol=0.5)


def test_a_few_rows_stay_untilted_and_say_so():
    truth = arc(GRISM, line_list(("He", "Ne")), np.random.default_rng(2), n=1026, ny=7, shift=40.0)
    wave = Identify().run(truth.frame, truth.slit, line_list(("He", "Ne")))
    mapped = MapWavelength().run(truth.frame, whole_slit(truth.frame.shape), wave)
    assert [caveat.code for caveat in mapped.caveats if caveat.code == "wave.untilted"]
    assert np.array_equal(mapped.poly.coef, wave.poly.coef)
