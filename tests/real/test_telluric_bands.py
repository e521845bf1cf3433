"""The air's bands in a real star: BD+28 4211 with DBSP's red arm, 2020-08-28."""

from __future__ import annotations

import numpy as np
import pytest

import nightpipe
from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io import download
from nightpipe.io.export import read_spectra

pytestmark = pytest.mark.real


@pytest.fixture(name="star", scope="module")
def _star(tmp_path_factory):
    try:
        raw, _ = download.local("dbsp-quicklook"), download.local("telluric")
    except ReferenceMissingError as missing:
        pytest.skip(str(missing))
    red = [path for path in sorted(raw.iterdir()) if path.name.startswith("red")]
    out = tmp_path_factory.mktemp("bands")
    nightpipe.reduce(red, out=out, figures=False, workers=1)
    return read_spectra(next(out.glob("BD*/red0052_spectra.fits")))[0]


# Measured: 0.6% in B, 1.3% at 7200 A, 1.7% at 8200 A, 1.6% in A (docs/telluric.md).
@pytest.mark.parametrize(
    ("low", "high", "most"), [(6865, 6960, 0.012), (7160, 7340, 0.015), (8130, 8340, 0.02), (7590, 7710, 0.02)]
)
def test_what_is_left_of_a_band(star, low, high, most):
    near = (star.wave > low - 60) & (star.wave < high + 60) & star.good
    inside = near & (star.wave > low) & (star.wave < high)
    curve = np.polynomial.Polynomial.fit(star.wave[near & ~inside], star.flux[near & ~inside], 3)
    before = np.std((star.flux * star.transmission)[inside] / curve(star.wave[inside]))
    after = np.std(star.flux[inside] / curve(star.wave[inside]))
    assert after < most
    assert after < before / 3


def test_the_air_is_told(star):
    assert 5 < star.meta["air_water"] < 30
    assert 0.8 < star.meta["air_oxygen"] < 1.3
