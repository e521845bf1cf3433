"""Air and vacuum wavelengths against published pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightpipe.maths.air import to_air, to_vacuum


@pytest.mark.parametrize(
    ("air", "vacuum"),
    # Neon and helium lines of the NIST Atomic Spectra Database, listed there in both.
    [(3888.6456, 3889.7470), (5015.6783, 5017.0769), (6402.248, 6404.018), (8377.6070, 8379.9093)],
)
def test_published_pairs(air, vacuum):
    assert abs(to_vacuum(air) - vacuum) < 4e-3
    assert abs(to_air(vacuum) - air) < 4e-3


@given(st.floats(3000.0, 11000.0))
def test_there_and_back(wave):
    assert abs(to_air(to_vacuum(wave)) - wave) < 1e-8


def test_vacuum_is_longer():
    wave = np.linspace(3000, 11000, 50)
    assert np.all(to_vacuum(wave) - wave > 0.8)
