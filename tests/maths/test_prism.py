"""A prism's law from a handful of lines, and smooth functions over a field."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.instruments.registry import instrument
from nightpipe.maths.fieldpoly import drawn_to, fit_field
from nightpipe.maths.prism import PrismLaw, fit_prism


def test_a_law_is_found_again():
    true = PrismLaw(300.0, -110.0, -0.05, 60.0)
    wave = np.array([4047.0, 4360.0, 5087.0, 5782.0, 6440.0, 7644.0, 8822.0, 9165.0])
    law = fit_prism(list(zip(wave, true(wave), strict=True)))
    grid = np.linspace(3600, 10200, 50)
    assert np.abs(law(grid) - true(grid)).max() < 0.2
    assert law.slope(5000.0) == pytest.approx((law(5000.5) - law(4999.5)), rel=1e-4)


def test_sedms_lines_lie_on_one_and_it_stays_monotonic():
    features = instrument("sedm").dispersers[0].lenslets.features
    law = fit_prism(features)
    wave, place = np.array(features).T
    assert np.std(law(wave) - place) < 0.6, "places are given to a whole pixel"
    assert (np.diff(law(np.arange(3400.0, 10500.0, 10.0))) > 0).all()
    assert 1 / law.slope(4200.0) == pytest.approx(15.0, abs=2.0)
    assert 1 / law.slope(9000.0) == pytest.approx(45.0, abs=2.0)


def test_a_field_is_fitted_without_its_outliers():
    rng = np.random.default_rng(1)
    u, v = rng.uniform(-900, 900, (2, 800))
    true = np.stack([3 + 1e-3 * u - 2e-6 * u * v, 1e-3 * v], axis=1)
    values = true + rng.normal(0, 0.02, true.shape)
    values[:40] += 5.0
    fitted = fit_field(u, v, values, 3)
    assert not fitted.kept[:40].any()
    assert fitted.kept[40:].mean() > 0.99
    assert np.abs(fitted(u, v) - true).max() < 0.02
    assert fitted.scatter == pytest.approx(0.02, rel=0.1)
    with pytest.raises(ValueError, match="points for a polynomial"):
        fit_field(u[:5], v[:5], values[:5], 3)


def test_what_is_badly_known_is_drawn_to_the_smooth_run_and_errors_hold():
    rng = np.random.default_rng(2)
    n, spread, error = 20000, 0.5, np.where(np.arange(20000) % 2 == 0, 0.1, 2.0)
    true = rng.normal(0.0, spread, (n, 1))
    seen = true + error[:, None] * rng.normal(size=(n, 1))
    normal = (1 / error**2)[:, None, None]
    found, covariance = drawn_to(seen, normal, np.zeros((n, 1)), np.array([[spread**2]]))
    pull = (found - true)[:, 0] / np.sqrt(covariance[:, 0, 0])
    assert np.std(pull) == pytest.approx(1.0, abs=0.02)
    assert np.std(found[1::2]) < 0.25 * np.std(seen[1::2])
