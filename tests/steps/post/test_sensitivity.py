"""The response: recovered from standards, repeated ones compared, never extrapolated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.flux import log_response, observed
from nightpipe.base.errors import BadFrameError, NoSolutionError
from nightpipe.io.references import extinction, find_standard
from nightpipe.maths.features import STRONG_TELLURIC, in_bands
from nightpipe.maths.response import fit_curve
from nightpipe.model.exposure import Setup
from nightpipe.model.flags import Flag
from nightpipe.steps.post.fluxcal import FluxCalibrate
from nightpipe.steps.post.sensitivity import LOST, Sensitivity, cut_ends, held, known

AIR = extinction("La Palma")


def star(name):
    found = find_standard(name)
    assert found is not None
    return found


def response_of(name, **options):
    spectrum, _ = observed(star(name), AIR, **options)
    return Sensitivity().run((spectrum,), (star(name),), AIR)


@pytest.mark.parametrize(
    ("name", "rms"), [("BD+28 4211", 0.004), ("GD 71", 0.006), ("LTT 3864", 0.008), ("HD 84937", 0.02)]
)
def test_response_is_recovered(name, rms):
    """Spectra of narrow bins to half a per cent; sparse bands (Oke & Gunn) as well as they sample the ripple."""
    response = response_of(name)
    clear = ~in_bands(response.wave, STRONG_TELLURIC)
    error = (response.log_response - log_response(response.wave))[clear]
    assert np.std(error) < rms
    assert abs(np.mean(error)) < rms


PAIRS = (("Feige 34", "BD+17 4708"), ("BD+17 4708", "Feige 34"), ("LTT 3864", "HZ 44"), ("HD 84937", "Hiltner 600"))


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_one_standard_calibrates_another_within_two_per_cent(first, second):
    response = response_of(first, airmass=1.1, seed=5)
    spectrum, truth = observed(star(second), AIR, airmass=1.7, seed=6)
    fluxed = FluxCalibrate().run(spectrum, response, AIR)
    clear = ((fluxed.mask & np.uint32(Flag.NO_FLUX)) == 0) & ~in_bands(fluxed.wave, STRONG_TELLURIC, pad=14.0)
    assert clear.sum() > 1000
    assert np.std(fluxed.flux[clear] / truth[clear] - 1.0) < 0.02
    assert abs(np.mean(fluxed.flux[clear] / truth[clear] - 1.0)) < 0.02


def test_the_better_of_two_exposures_is_chosen_and_the_ratio_told():
    """Half the light lost at the slit, more in the blue, as in a real night: 1.8 to 2.4 times fewer counts."""
    chromatic = lambda wave: 1.0 / np.interp(wave, [3500, 9200], [2.4, 1.8])  # noqa: E731
    good, _ = observed(star("HD 84937"), AIR, name="good")
    bad, _ = observed(star("HD 84937"), AIR, name="bad", throughput=chromatic)
    for spectra in ((good, bad), (bad, good)):
        response = Sensitivity().run(spectra, (star("HD 84937"),) * 2, AIR)
        alone = Sensitivity().run((good,), (star("HD 84937"),), AIR)
        assert np.allclose(response.log_response, alone.log_response)
        (caveat,) = [caveat for caveat in response.caveats if caveat.code == "standard.repeated"]
        assert "good" in caveat.text
        assert "not used" in caveat.text
        assert min(response.ratios) == pytest.approx(1 / 2.1, abs=0.06)
        assert max(response.ratios) == pytest.approx(1.0)


def test_a_saturated_exposure_is_not_preferred():
    good, _ = observed(star("Feige 34"), AIR, name="good")
    bright, _ = observed(star("Feige 34"), AIR, name="saturated", throughput=1.3)
    mask = bright.mask.copy()
    mask[500:600] |= np.uint32(Flag.SATURATED)
    response = Sensitivity().run((good, bright.but(mask=mask)), (star("Feige 34"),) * 2, AIR)
    assert response.ratios[0] == pytest.approx(1.0, abs=1e-6)


def test_exposures_of_equal_shape_are_joined_after_a_grey_shift():
    first, _ = observed(star("Feige 34"), AIR, name="clear", seed=1)
    second, _ = observed(star("HZ 44"), AIR, name="cloud", seed=2, throughput=0.7)
    response = Sensitivity().run((first, second), (star("Feige 34"), star("HZ 44")), AIR)
    assert len(response.point_wave) > 150
    clear = ~in_bands(response.wave, STRONG_TELLURIC)
    assert np.std((response.log_response - log_response(response.wave))[clear]) < 0.005
    (caveat,) = [caveat for caveat in response.caveats if caveat.code == "standard.disagree"]
    assert "used for the shape" in caveat.text


def test_nothing_beyond_the_points():
    response = response_of("Hiltner 600", low=3500.0, high=9200.0)
    used = response.point_wave[response.point_used]
    assert response.range == (used.min(), used.max())
    _, valid = response.at(np.array([3400.0, 6000.0, 9198.0]))
    assert valid.tolist() == [False, True, False]


def test_the_response_ends_where_a_stretch_of_points_leaves_the_curve():
    """One point beyond ten rejected ones that happens to fit does not carry the response across them."""
    used = np.ones(40, dtype=bool)
    used[1:11] = False
    assert np.flatnonzero(held(used))[[0, -1]].tolist() == [11, 39]


def test_three_neighbouring_outliers_do_not_end_the_response():
    used = np.ones(40, dtype=bool)
    used[10:13] = False
    assert held(used).tolist() == used.tolist()


def test_telluric_edge_is_told_and_uncertain():
    response = response_of("Feige 34", high=9300.0)
    assert "response.telluric" in [caveat.code for caveat in response.caveats]
    assert response.error[-1] > 3 * np.median(response.error)


def test_errors_cover_the_truth():
    pulls = []
    for seed in range(6):
        response = response_of("GD 71", seed=seed, low=4000.0, high=6800.0)
        inside = slice(20, -20, 40)
        pulls += list(((response.log_response - log_response(response.wave)) / response.error)[inside])
    assert np.std(pulls) < 1.3  # the floor of one per cent is an allowance for tables, which here are perfect


def test_setups_are_not_mixed():
    first, _ = observed(star("Feige 34"), AIR)
    second, _ = observed(star("Feige 34"), AIR, setup=Setup(mode="longslit", disperser="other"))
    with pytest.raises(BadFrameError):
        Sensitivity().run((first, second), (star("Feige 34"),) * 2, AIR)


def test_a_table_that_misses_the_spectrum_is_refused():
    spectrum, _ = observed(star("Feige 34"), AIR)
    table = star("Feige 34")
    short = replace(table, wave=table.wave[:50], flux=table.flux[:50], width=table.width[:50])
    with pytest.raises(NoSolutionError):
        Sensitivity().run((spectrum,), (short,), AIR)


def test_unknown_site_is_told():
    spectrum, _ = observed(star("Feige 34"), AIR)
    response = Sensitivity().run((spectrum,), (star("Feige 34"),), None)
    assert "extinction.none" in [caveat.code for caveat in response.caveats]


def test_cross_validation_follows_structure_but_not_noise():
    rng = np.random.default_rng(3)
    x = np.linspace(0.0, 1.0, 90)
    noise = rng.normal(size=90) * 0.01
    flat = fit_curve(x, 1.0 + 0.1 * x + noise, np.full(90, 0.01))
    wavy = fit_curve(x, np.sin(14.0 * x) + noise, np.full(90, 0.01))
    assert flat.pieces <= 2
    assert 4 <= wavy.pieces <= 16
    assert np.std(wavy(x) - np.sin(14.0 * x)) < 0.006


def test_outliers_are_left_out():
    rng = np.random.default_rng(4)
    x = np.linspace(0.0, 1.0, 60)
    y = x**2 + rng.normal(size=60) * 0.01
    y[[10, 30, 31]] += 0.4
    curve = fit_curve(x, y, np.full(60, 0.01))
    assert not curve.used[[10, 30, 31]].any()
    assert np.max(np.abs(curve(x) - x**2)) < 0.02


def test_a_response_ends_where_its_curve_is_lost():
    """The last point may lie on a curve that swings by a factor of 1e40 before it (a night without an arc)."""
    error = np.full(200, 0.02)
    assert known(error) == slice(0, 200)
    error[[3, 7, 100, 190, 196]] = 2 * LOST
    assert known(error) == slice(8, 190)  # the gap in the middle ends nothing


def test_an_end_that_was_cut_is_told():
    assert cut_ends((4000.0, 4000.0), (9400.0, 9400.0)) == ()
    (told,) = cut_ends((4000.0, 4000.0), (9350.0, 9400.0))
    assert told.code == "response.lost"
    assert "9350 to 9400" in told.text
