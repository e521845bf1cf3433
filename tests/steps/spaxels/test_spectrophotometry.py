from __future__ import annotations

import time

import numpy as np
import pytest

from builders.spaxelscene import spectra_of
from nightpipe.base.run import PlainRun
from nightpipe.model.scene import Placed
from nightpipe.recipes.ifulight import spectrophotometry

pytestmark = pytest.mark.slow


def reduced(spectra, place, **parameters):
    run = PlainRun({"FitScene[scene].host": True, **parameters})
    found = spectrophotometry.function(run, spectra=spectra, place=place, partner=None, warp=None)
    return run, found


def test_an_isolated_target_needs_one_scene():
    spectra, truth = spectra_of(5, magnitude=17.0)
    begin = time.process_time()
    run, found = reduced(spectra, Placed(1.0, -0.2, np.eye(2) * 0.16, "guider"))
    assert time.process_time() - begin < 40.0
    assert [one.meta["extraction"] for one in found["spectra"]] == ["psf", "aperture"]
    assert found["spectra"][0].meta["chosen"].startswith("the target alone fits")
    assert found["scene"].why == found["spectra"][0].meta["chosen"]
    assert found["grade"].quality == 0
    assert run.metrics["seeing"] == pytest.approx(truth.seeing.fwhm, rel=0.15)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_target_on_a_host_is_told_from_it(seed):
    # the host gives a third of the light in the target's neighbourhood, two arcseconds off
    spectra, truth = spectra_of(seed, magnitude=17.0, host=17.2, host_offset=2.0, host_angle=100.0 * seed)
    _, found = reduced(spectra, Placed(1.0, -0.2, np.eye(2) * 0.16, "guider"))
    spectrum = found["spectra"][0]
    assert spectrum.meta["extraction"] == "scene"
    light = truth.seen(spectrum.wave, spectrum.fwhm) * np.gradient(spectrum.wave)
    middle = (spectrum.wave > 4500) & (spectrum.wave < 9000)
    ratio = (spectrum.flux[middle].sum()) / light[middle].sum()
    assert ratio == pytest.approx(1.0, abs=0.05)
    assert found["scene"].others[0].name == "host"
