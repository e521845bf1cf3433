from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.templates import seen, small_bank
from nightpipe.base.errors import BadFrameError
from nightpipe.kernels.evidence import evidence
from nightpipe.maths.compare import compare
from nightpipe.maths.host import flux_fit, mixed
from nightpipe.maths.logflux import BINS, STEP, LogSpectrum, apodise, band, cut_of, flatten, grid_wave, to_log
from nightpipe.maths.matching import (
    LOWEST,
    SPACING,
    column_of,
    correlate_all,
    data_of,
    lag_of,
    lags,
    prepare,
    redshift_of,
    shift_of,
)
from nightpipe.maths.profiles import likely, profiles

BANK = small_bank()


def flat_of(kind, z, **keys):
    wave, flux, error = seen(kind, z, **keys)
    return flatten(to_log(wave, flux, error**2, np.ones(len(wave), bool)))


def plain_evidence(product, power, weighted, weight, spans, lowest, spacing, freedom, least):
    out = np.zeros_like(product)
    covered = np.flatnonzero(np.diff(weight) > 0)
    for row in range(len(product)):
        for lag in range(product.shape[1]):
            first = max(spans[row][0] + lowest + spacing * lag, covered[0])
            last = min(spans[row][1] + lowest + spacing * lag, covered[-1] + 1)
            if last - first < least or product[row, lag] <= 0 or power[row, lag] <= 0:
                continue
            rho2 = product[row, lag] ** 2 / ((weighted[last] - weighted[first]) * power[row, lag])
            out[row, lag] = -0.5 * freedom * (weight[last] - weight[first]) * np.log(1 - min(rho2, 0.9999))
    return out


def test_evidence_against_its_plain_twin():
    rng = np.random.default_rng(1)
    product, power = rng.normal(size=(6, 40)).astype("f4"), rng.uniform(5, 9, (6, 40)).astype("f4")
    per_bin = np.where((np.arange(60) > 5) & (np.arange(60) < 50), rng.uniform(0.2, 1, 60), 0.0)
    weight = np.concatenate([[0.0], np.cumsum(per_bin)])
    weighted = 0.4 * weight
    spans = [(0, 60), (10, 30), (0, 12), (50, 60), (20, 60), (5, 55)]
    found = evidence(product, power, weighted, weight, spans, -8, 2, freedom=0.2, least=5)
    wanted = plain_evidence(product, power, weighted, weight, spans, -8, 2, 0.2, 5)
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert (found > 0).any()


def test_correlation_by_transform_is_the_direct_sum():
    flat = flat_of("Ia", 0.1)
    ready = prepare(BANK.flat, BANK.spans)
    found = correlate_all(flat, ready, 300)
    data, weight = data_of(flat, ready.cut)
    template = np.fft.irfft(ready.template[0], 1536)[:BINS]
    lag = 76
    i = np.arange(lag, BINS)
    product = np.sum(weight[i] * data[i] * template[i - lag])
    power = np.sum(weight[i] * template[i - lag] ** 2)
    rho2 = product**2 / power / np.sum(weight[i] * data[i] ** 2)
    wanted = -0.5 * 2 * ready.cut / BINS * weight[i].sum() * np.log(1 - rho2)
    assert found[0, (lag - LOWEST) // SPACING] == pytest.approx(wanted, rel=2e-3)
    assert len(lags(300)) == found.shape[1]


@pytest.mark.parametrize(("kind", "z"), [("Ia", 0.02), ("Ia", 0.35), ("II", 0.08), ("Galaxy", 0.02)])
def test_the_right_kind_and_redshift_stand_out(kind, z):
    found = correlate_all(flat_of(kind, z), prepare(BANK.flat, BANK.spans), 450)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert BANK.kinds[row] == kind
    assert abs(redshift_of(shift_of(column)) - z) < 0.006
    kinds = np.array(["Ia", "II", "Galaxy"])
    profile = profiles(found, np.array([list(kinds).index(one) for one in BANK.kinds]), 3)
    assert abs(int(likely(profile)[0]) - column_of(z)) <= 2


def test_what_a_low_resolution_cannot_show_is_left_out():
    flat = flat_of("Ia", 0.05)
    ready = prepare(BANK.flat, BANK.spans)
    sharp, blunt = (correlate_all(flat, ready, 300, cut=cut) for cut in (ready.cut, cut_of(40)))
    assert cut_of(40) < ready.cut
    assert blunt.max() < sharp.max()
    assert BANK.kinds[int(blunt.max(axis=1).argmax())] == "Ia"


def test_noisy_bins_count_less():
    wave, flux, error = seen("Ia", 0.05)
    ruined, honest = flux.copy(), error.copy()
    spoiled = (wave > 5000) & (wave < 6000)
    ruined[spoiled] += np.random.default_rng(2).normal(size=spoiled.sum()) * 1e-15
    honest[spoiled] = 1e-15
    good, bank = np.ones(len(wave), bool), prepare(BANK.flat, BANK.spans)
    told = correlate_all(flatten(to_log(wave, ruined, honest**2, good)), bank, 300)
    untold = correlate_all(flatten(to_log(wave, ruined, error**2, good)), bank, 300)
    place = column_of(0.05)
    assert told[0, place] > untold[0, place]


@given(st.floats(0.01, 100.0), st.floats(-2.0, 2.0))
@settings(max_examples=15, deadline=None)
def test_flattening_knows_neither_scale_nor_slope(scale, slope):
    wave, flux, _ = seen("Ia", 0.03)
    good = np.ones(len(wave), bool)
    first = flatten(to_log(wave, flux, None, good))
    other = flatten(to_log(wave, scale * flux * (wave / 6000) ** slope, None, good))
    inner = slice(first.span[0] + 60, first.span[1] - 60)
    assert np.abs(first.value[inner] - other.value[inner]).max() < 0.05


def test_flattening_refuses_what_is_not_positive():
    with pytest.raises(BadFrameError, match="positive"):
        flatten(LogSpectrum(np.full(BINS, -1.0), np.ones(BINS), np.ones(BINS, bool)))


def test_short_spectra_are_refused():
    wave = np.linspace(5000, 5200, 50)
    with pytest.raises(BadFrameError, match="60 bins"):
        to_log(wave, np.ones(50), None, np.ones(50, bool))


def test_gaps_do_not_widen_their_neighbours():
    wave, flux, error = seen("Ia", 0.0)
    good = (wave < 6000) | (wave > 6300)
    log = to_log(wave, flux, error**2, good)
    inside = (grid_wave() > 6020) & (grid_wave() < 6280)
    assert not log.good[inside].any()


def test_band_and_taper():
    bell = band(1536)
    assert bell[0] == 0
    assert bell[60] == 1
    assert bell[160] == 0
    assert cut_of(30) < cut_of(60) <= cut_of(100) <= BINS / 10
    tapered = apodise(np.ones(BINS), 100, 900)
    assert tapered[100] == 0
    assert tapered[500] == 1
    assert tapered[899] == 0


def test_snid_numbers_of_a_template_against_itself():
    """The height of a spectrum against its own template is one, nothing is antisymmetric, lap is what both share."""
    flat = flat_of("Ia", 0.05, snr=3000, seed=9)
    again = flat.value.astype(np.float32)[None]
    first, last = flat.span
    found = compare(flat, again, np.array([[first, last]]), 0)
    assert found.r[0] > 100
    assert found.lap[0] == pytest.approx((last - first) * STEP)
    assert found.z[0] == pytest.approx(0.0, abs=2e-4)
    assert found.rlap[0] == pytest.approx(found.r[0] * found.lap[0])
    other = compare(flat, BANK.flat, BANK.spans, lag_of(0.05))
    assert np.median(other.rlap[:4]) > 3 * np.median(other.rlap[4:])
    assert np.all(np.abs(other.z[:4] - 0.05) < 0.006)
    assert np.all((other.z_error[:4] > 0.0005) & (other.z_error[:4] < 0.02))


def test_a_host_is_seen_in_a_sum():
    a, b = BANK.flat[0].astype(float), BANK.flat[8].astype(float)
    weight = np.ones(BINS)
    assert mixed(0.6 * a + 0.4 * b, weight, a, b).share == pytest.approx(0.4, abs=0.01)
    assert mixed(a, weight, a, b).share == pytest.approx(0.0, abs=0.01)


def test_dust_and_host_of_a_flux_fit():
    wave = grid_wave()
    template, host = 1.0 + BANK.flat[0].astype(float), (1.0 + BANK.flat[8].astype(float)) * (wave / 6000) ** 2
    flux = template * 10 ** (-0.4 * 1.0 * (wave / 5500) ** -1.3) + 0.3 * host
    found = flux_fit(wave, flux, np.full(BINS, 1e-6), template, host[None])
    assert found.a_v == pytest.approx(1.0, abs=0.26)
    assert found.share == pytest.approx(0.3 * host.sum() / flux.sum(), abs=0.05)
    assert found.chi < 0.3
    assert flux_fit(wave, flux, np.zeros(BINS), template, host[None]) is None
