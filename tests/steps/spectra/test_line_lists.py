"""The line lists that come with the package."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.io.references import line_list, sky_lines
from nightpipe.maths.air import to_vacuum

LAMPS = ("He", "Ne", "Ar", "Kr", "Xe", "Hg", "Cd", "Cu", "ThAr", "FeAr", "CuAr", "CuNe", "HgCd", "HeNe")


@pytest.mark.parametrize("lamp", LAMPS)
def test_lists_are_sorted_positive_and_say_their_source(lamp):
    lines = line_list((lamp,))
    assert np.all(np.diff(lines.wave) >= 0)
    assert np.all(lines.intensity > 0)
    assert len(lines.species) == len(lines.wave) == len(lines.intensity)
    assert "NIST" in lines.source


@pytest.mark.parametrize(
    ("lamp", "air"),
    [("He", 5875.621), ("Ne", 6402.248), ("Ar", 7635.106), ("Hg", 5460.735), ("Cd", 5085.822), ("Xe", 4671.226),
     ("Kr", 5870.916), ("Cu", 5105.541), ("ThAr", 4657.901), ("FeAr", 4045.813)],
)  # fmt: skip
def test_wavelengths_are_in_vacuum(lamp, air):
    assert np.min(np.abs(line_list((lamp,)).wave - to_vacuum(air))) < 0.03


def test_thorium_argon_has_lines_enough_for_a_resolution_of_ten_thousand():
    wave = line_list(("ThAr",)).wave
    count, _ = np.histogram(wave, np.arange(3200, 9001, 200))
    assert len(wave) > 1000
    assert count.min() >= 8


def test_sky_has_what_flexure_needs():
    sky = sky_lines()
    for line in (5578.887, 6302.046, 6365.536, 5891.583, 7278.4, 8346.9, 8829.5, 10000.0):
        assert np.min(np.abs(sky.wave - line)) < (0.1 if line < 9000 else 30.0)
    assert {"OH", "OI", "NaI", "O2"} <= set(sky.species)
    strongest = sky.wave[(sky.wave < 6000) & (sky.wave > 5500)][
        np.argmax(sky.intensity[(sky.wave < 6000) & (sky.wave > 5500)])
    ]
    assert strongest == pytest.approx(5578.887, abs=1e-3)
