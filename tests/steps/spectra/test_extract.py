"""Optimal and boxcar extraction: counts, errors, masks, outliers, limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.slit import Scene, Star, build, with_star
from builders.slitrun import extracted, reduced, searched
from nightpipe.model.flags import Flag
from nightpipe.steps.spectra.boxcar import Boxcar
from nightpipe.steps.spectra.find import PlaceSource
from nightpipe.steps.spectra.optimal import Optimal
from nightpipe.steps.spectra.profile import FitProfile

INNER = slice(4, -4)


def ratio(done, k=0, star=0):
    spectrum, truth = done.spectra[k], done.built.truth.spectra[star]
    use = spectrum.good[INNER]
    total = truth[INNER][use].sum()
    return spectrum.flux[INNER][use].sum() / total, spectrum.boxcar[INNER][use].sum() / total


@pytest.mark.parametrize("scene", [with_star(1e5), with_star(1e5, slope=0.03, bow=2.0, gradient=-0.1, tilt=0.6)])
def test_a_bright_star_keeps_its_counts(scene):
    optimal, boxcar = ratio(reduced(scene, seed=2))
    assert optimal == pytest.approx(1.0, abs=0.003)
    assert boxcar == pytest.approx(1.0, abs=0.003)


def test_a_tenth_of_the_pixels_may_be_masked():
    done = reduced(replace(with_star(1e5), masked=0.1), seed=3)
    assert done.spectra[0].good.mean() > 0.9
    optimal, boxcar = ratio(done)
    assert optimal == pytest.approx(1.0, abs=0.003)
    assert boxcar == pytest.approx(1.0, abs=0.003)


def test_cosmic_rays_that_nobody_flagged_are_rejected():
    built = build(with_star(2000.0), seed=4)
    data = built.frame.data.copy()
    hits = np.arange(20, 220, 10)
    data[42, hits] += 4000
    built = replace(built, frame=built.frame.but(data=data))
    done = extracted(built, *searched(built))
    spectrum = done.spectra[0]
    assert spectrum.meta["rejected"] >= len(hits)
    pull = ((spectrum.flux - built.truth.spectra[0]) / spectrum.err)[hits]
    assert abs(pull.mean()) < 0.8
    assert np.abs(pull).max() < 4.5


def test_columns_without_pixels_are_flagged_and_nothing_is_made_up():
    built = build(with_star(2000.0), seed=5)
    dead = np.zeros(built.frame.shape, dtype=bool)
    dead[:, 100:103] = True
    built = replace(built, frame=built.frame.flagged(dead, Flag.BAD))
    spectrum = extracted(built, *searched(built)).spectra[0]
    assert not spectrum.good[100:103].any()
    assert spectrum.good[90:99].all()
    assert (spectrum.mask[100:103] & np.uint32(Flag.NO_DATA)).all()
    assert np.isfinite(spectrum.flux).all()
    assert np.isfinite(spectrum.var).all()


def test_a_saturated_core_is_flagged():
    built = build(with_star(2000.0), seed=5)
    hot = np.zeros(built.frame.shape, dtype=bool)
    hot[41, 50] = True
    built = replace(built, frame=built.frame.flagged(hot, Flag.SATURATED))
    spectrum = extracted(built, *searched(built)).spectra[0]
    assert spectrum.mask[50] & np.uint32(Flag.SATURATED)
    assert not spectrum.good[50]


def test_neighbours_do_not_share_their_light():
    scene = replace(Scene(), stars=(Star(35.0, 4000.0, tilt=0.5), Star(46.0, 2000.0, tilt=-0.5)))
    done = reduced(scene, seed=6)
    assert ratio(done, 0, 0)[0] == pytest.approx(1.0, abs=0.015)
    assert ratio(done, 1, 1)[0] == pytest.approx(1.0, abs=0.03)


def test_wavelengths_follow_the_trace_and_facts_are_kept():
    done = reduced(with_star(2000.0), seed=7)
    spectrum, source = done.spectra[0], done.sources[0]
    columns = np.arange(240.0)
    np.testing.assert_allclose(spectrum.wave, done.built.wave.at(columns, source.trace.centre(columns)))
    np.testing.assert_allclose(spectrum.fwhm, 2.2 * 4.0, rtol=0.01)
    assert spectrum.unit == "electron"
    assert spectrum.meta["exptime"] == 600.0
    assert spectrum.meta["airmass"] == 1.2
    assert spectrum.meta["slit_arcsec"] == pytest.approx(source.slit_arcsec)
    assert spectrum.meta["fwhm_arcsec"] == pytest.approx(2.0, rel=0.1)
    line = np.argmin(np.abs(columns - 120.4))
    assert spectrum.sky[line - 2 : line + 3].max() > 20 * np.median(spectrum.sky)
    assert "limit_3sigma" not in spectrum.meta


def test_where_nothing_is_there_is_a_limit():
    built = build(with_star(2000.0), seed=8)
    sky, sources = searched(built)
    source = PlaceSource().run(frame=built.frame, sky=sky, wave=built.wave, slit=built.slit, slit_arcsec=-9.0,
                               reference=sources[0])  # fmt: skip
    profile = FitProfile().run(frame=built.frame, sky=sky, source=source, slit=built.slit)
    spectrum = Optimal().run(frame=built.frame, sky=sky, profile=profile, source=source, wave=built.wave)
    assert abs(spectrum.meta["mean_flux"]) < 4 * spectrum.meta["mean_error"]
    assert spectrum.meta["limit_3sigma"] >= 3 * spectrum.meta["mean_error"]


def test_the_boxcar_alone_sums_what_is_in_the_box():
    built = build(with_star(2e4), seed=9)
    sky, sources = searched(built)
    plain = Boxcar(box=2.0).run(frame=built.frame, sky=sky, source=sources[0], wave=built.wave)
    star = built.scene.stars[0]
    rows = np.arange(80)[:, None] - star.centre(np.arange(240.0), 240)[None, :]
    share = np.clip(np.minimum(rows + 0.5, 10) - np.maximum(rows - 0.5, -10), 0, 1)
    inside = (share * built.truth.profiles[0]).sum(axis=0) * built.truth.spectra[0]
    assert plain.flux[INNER].sum() == pytest.approx(inside[INNER].sum(), rel=0.004)
    assert plain.meta["profile"] == "boxcar"
    assert plain.boxcar is None


def test_pixels_beyond_the_lines_are_flagged():
    built = build(with_star(2000.0), seed=7)
    built = replace(built, wave=replace(built.wave, range=(4100.0, 4900.0)))
    spectrum = extracted(built, *searched(built)).spectra[0]
    beyond = (spectrum.wave < 4100) | (spectrum.wave > 4900)
    assert (spectrum.mask[beyond] & np.uint32(Flag.EXTRAPOLATED)).all()
    assert not (spectrum.mask[~beyond] & np.uint32(Flag.EXTRAPOLATED)).any()
    assert spectrum.good[beyond].any()


@pytest.mark.pulls
@pytest.mark.parametrize(("counts", "snr"), [(105.0, 3), (380.0, 10), (3400.0, 50)])
def test_pulls_of_extracted_counts(counts, snr):
    optimal, boxcar, medians = [], [], []
    for seed in range(20):
        done = reduced(with_star(counts), seed=1000 + seed)
        spectrum, truth = done.spectra[0], done.built.truth.spectra[0]
        optimal.append(((spectrum.flux - truth) / spectrum.err)[INNER])
        boxcar.append(((spectrum.boxcar - truth) / np.sqrt(spectrum.boxcar_var))[INNER])
        medians.append(spectrum.meta["snr_median"])
    assert np.mean(medians) == pytest.approx(snr, rel=0.1)
    for pulls in (np.concatenate(optimal), np.concatenate(boxcar)):
        assert pulls.size >= 4000
        assert abs(pulls.mean()) < 0.05
        assert 0.95 < pulls.std() < 1.05
