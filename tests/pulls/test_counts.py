"""Pulls of extracted counts: the light that the simulator sent through the slit, against what is extracted."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from builders.pulls import bounds, told
from builders.simulated import science
from nightpipe.steps.spectra.boxcar import Boxcar
from nightpipe.steps.spectra.find import FindSources
from nightpipe.steps.spectra.optimal import Optimal
from nightpipe.steps.spectra.profile import FitProfile
from nightpipe.steps.spectra.sky import SubtractSky
from nightpipe.steps.spectra.trace import WholeSlit

pytestmark = pytest.mark.pulls

# Magnitudes that give a median S/N per pixel of about 5, 15 and 50; seeds, so that there are at least 4,000 bins
# (the bins of one exposure share the errors of its sky and its profile: 0.05 in the mean from seed to seed).
CASES = {
    "alfosc": ((20.0, 18.4, 16.5), (1, 2)),
    "dbsp_blue": ((20.5, 18.2), (1,)),
    "dbsp_red": ((20.0, 17.5), (1, 2, 3)),
    "kast_blue": ((19.4, 17.8, 16.0), (1,)),
    "kast_red": ((19.4, 17.6), (1, 2, 3, 4)),
    "sprat": ((18.6, 17.2, 15.2), (1, 2)),
}
EDGE = 10


@cache
def pulls(arm: str) -> dict[str, np.ndarray]:
    magnitudes, seeds = CASES[arm]
    found = [extracted(arm, magnitude, seed) for magnitude in magnitudes for seed in seeds]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def extracted(arm: str, magnitude: float, seed: int) -> dict[str, np.ndarray]:
    """Reduce one exposure at the true wavelengths; pulls of all bins that may be used."""
    made = science(arm, seed, magnitude=magnitude)
    wave = made.solution()
    frame = made.frame(np.random.default_rng(seed))
    slit, sources = WholeSlit().run(frame), ()
    for _ in range(2):
        sky = SubtractSky().run(frame, wave, slit, sources)
        sources = FindSources().run(frame, sky, wave, slit)
    sky = SubtractSky().run(frame, wave, slit, sources)
    assert len(sources) == 1, f"{arm}, magnitude {magnitude}: {len(sources)} objects"
    profile = FitProfile().run(frame, sky, sources[0], slit)
    optimal = Optimal().run(frame, sky, profile, sources[0], wave)
    boxcar = Boxcar().run(frame, sky, sources[0], wave)
    seen = made.light.objects[0].seen
    truth = np.interp(optimal.wave, seen.wave, seen.counts)
    inside = np.interp(optimal.wave, seen.wave, within(seen.image, sources[0], Boxcar().box * sources[0].fwhm))
    use = optimal.good & boxcar.good
    use[:EDGE] = use[-EDGE:] = False
    return {
        "optimal": ((optimal.flux - truth) / optimal.err)[use],
        "boxcar beside it": ((optimal.boxcar - truth) / np.sqrt(optimal.boxcar_var))[use],
        "boxcar": ((boxcar.flux - inside) / boxcar.err)[use],
    }


def within(image: np.ndarray, source, half: float) -> np.ndarray:
    """Return the true light within `half` pixels of the trace, pixels at the border counted in part."""
    rows = np.arange(image.shape[0])[:, None]
    centre = source.trace.centre(np.arange(image.shape[1], dtype=float))
    share = np.clip(np.minimum(rows + 0.5, centre + half) - np.maximum(rows - 0.5, centre - half), 0.0, 1.0)
    return (image * share).sum(axis=0)


@pytest.mark.parametrize("kind", ["optimal", "boxcar beside it", "boxcar"])
@pytest.mark.parametrize("arm", CASES)
def test_errors_of_counts_are_neither_too_small_nor_too_large(arm, kind):
    values = pulls(arm)[kind]
    assert len(values) >= 4000
    assert 0.95 <= values.std() <= 1.05, told(f"{arm}, {kind}", values)


@pytest.mark.parametrize("kind", ["optimal", "boxcar beside it", "boxcar"])
@pytest.mark.parametrize("arm", CASES)
def test_counts_are_unbiased(arm, kind):
    values = pulls(arm)[kind]
    assert abs(values.mean()) <= max(0.05, bounds(len(values))[0]), told(f"{arm}, {kind}", values)
