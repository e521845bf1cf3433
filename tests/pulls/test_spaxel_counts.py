"""Forced counts of targets among lenslets, through a turbulent image that the fit does not know: are errors honest?

Each signal to noise has its own exposures: seeing, guiding, hour angle, declination, place and sky all differ.
"""

from __future__ import annotations

import numpy as np
import pytest

from builders.spaxelscene import spectra_of
from nightpipe.model.scene import Placed
from nightpipe.steps.spaxels.forcedspectrum import ForcedSpectrum
from nightpipe.steps.spaxels.scene import FitScene

pytestmark = [pytest.mark.pulls, pytest.mark.vast]


def pulls_of(seed, magnitude):
    """Return pulls from 4000 to 9000 A, signal to noise per bin at 6000 A, and the colours' ratios to the truth."""
    rng = np.random.default_rng(seed)
    view = {
        "seeing": float(rng.uniform(1.3, 2.2)),
        "jitter": tuple(np.abs(rng.normal(0.35, 0.1, 2))),
        "hour": float(rng.uniform(-45, 45)),
        "dec": float(rng.uniform(0, 60)),
        "east": float(rng.normal(0, 1.5)),
        "north": float(rng.normal(0, 1.5)),
    }
    spectra, truth = spectra_of(seed, magnitude=magnitude, **view)
    place = Placed(view["east"] + rng.normal(0, 0.3), view["north"] + rng.normal(0, 0.3), np.eye(2) * 0.25, "guider")
    scene = FitScene(neighbours=0).run(spectra, place)
    spectrum = ForcedSpectrum().run(scene, spectra)
    true = truth.seen(spectrum.wave, spectrum.fwhm) * np.gradient(spectrum.wave)
    inside = spectrum.good & (spectrum.wave > 4000) & (spectrum.wave < 9000)
    bands = [(spectrum.wave > low) & (spectrum.wave < low + 1000) for low in (4000, 5000, 6000, 7000, 8000)]
    level = np.array([spectrum.flux[band].sum() / true[band].sum() for band in bands])
    return ((spectrum.flux - true) / spectrum.err)[inside], scene.snr, level / level.mean()


@pytest.mark.parametrize(("snr", "magnitude", "exposures"), [(3, 20.7, 9), (10, 19.3, 36), (50, 17.2, 14)])
def test_forced_counts_are_unbiased_with_honest_errors(snr, magnitude, exposures):
    # errors of place and shape are common to an exposure's bins: where they weigh most, more exposures are averaged;
    # at 10 an exposure's mean scatters by 0.13, so that nine say no more than 0.04 (seeds 1 to 9: -0.09, to 36: -0.036)
    found = [pulls_of(seed, magnitude) for seed in range(1, 1 + exposures)]
    pulls = np.concatenate([one[0] for one in found])
    assert pulls.size >= 1600
    assert np.median([one[1] for one in found]) == pytest.approx(snr, rel=0.25)
    assert 0.95 < pulls.std() < 1.05
    assert abs(pulls.mean()) < 0.05
    if snr == 50:
        assert np.std([one[2] for one in found]) < 0.02
