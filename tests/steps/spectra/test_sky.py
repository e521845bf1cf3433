"""The sky on native pixels: lines, tilt, objects, noise, covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.slit import Scene, Star, build, with_star
from nightpipe.base.errors import BadFrameError
from nightpipe.maths.poly import Poly1
from nightpipe.model.flags import Flag
from nightpipe.model.traces import TraceSet
from nightpipe.steps.spectra.find import FindSources
from nightpipe.steps.spectra.sky import NodSky, SubtractSky
from nightpipe.steps.spectra.skyfit import first_breaks

INNER = np.s_[4:-4, 5:-5]


def subtract(built, sources=(), **parameters):
    return SubtractSky(**parameters).run(frame=built.frame, wave=built.wave, slit=built.slit, sources=sources)


@pytest.mark.parametrize(
    "changes",
    [{}, {"tilt": 0.0, "bow": 0.0}, {"tilt": 6.0}, {"illumination": 0.05}, {"stars": (Star(41.3, 3e4),)}],
    ids=["tilted", "straight", "strongly tilted", "uneven", "bright star"],
)
def test_the_model_is_right_within_its_own_error(changes):
    built = build(replace(Scene(), **changes), seed=3)
    sky = subtract(built)
    pull = ((sky.model - built.truth.sky) / np.sqrt(sky.var))[INNER]
    assert abs(pull.mean()) < 0.25
    assert 0.85 < np.sqrt(np.mean(pull**2)) < 1.25
    assert 0.97 < sky.chi < 1.03


def test_bright_lines_leave_less_than_the_noise():
    built = build(replace(Scene(), tilt=3.0), seed=2)
    sky = subtract(built)
    error = np.sqrt(built.truth.sky + built.scene.read_noise**2)
    assert np.abs((sky.model - built.truth.sky) / error)[INNER].max() < 0.8


def test_a_star_does_not_enter_the_sky():
    built = build(with_star(2e5), seed=5)
    sky = subtract(built)
    near = np.abs(np.arange(80) - 41.3) < 8
    assert not sky.used[near].any()
    assert np.abs((sky.model - built.truth.sky)[near]).mean() < 0.02 * built.truth.sky.mean()


def test_masked_pixels_and_cosmic_rays_do_not_enter():
    built = build(replace(Scene(), masked=0.1), seed=4)
    data = built.frame.data.copy()
    hit = np.random.default_rng(0).random(data.shape) < 0.01
    data[hit] += 3000
    sky = SubtractSky().run(frame=built.frame.but(data=data), wave=built.wave, slit=built.slit, sources=())
    assert not sky.used[built.frame.mask > 0].any()
    assert sky.used[hit].mean() < 0.02
    assert 0.97 < sky.chi < 1.03


def test_rejection_takes_no_more_than_a_gaussian_loses():
    sky = subtract(build(replace(Scene(), lines=()), seed=6), margin=0.0)
    assert sky.used.mean() > 0.995


def test_errors_of_one_column_go_together():
    built = build(Scene(), seed=7)
    sky = subtract(built)
    assert sky.modes is not None
    np.testing.assert_allclose(np.sum(sky.modes**2, axis=0), sky.var, rtol=1e-4)
    rows, columns = slice(36, 46), slice(10, 230)
    sums, claimed = [], []
    for seed in range(12):
        one = build(Scene(), seed=100 + seed)
        model = subtract(one)
        sums.append((model.model - one.truth.sky)[rows, columns].sum(axis=0))
        claimed.append(np.sum(model.modes[:, rows, columns].sum(axis=1) ** 2, axis=0))
    assert 0.85 < np.mean(np.array(sums) ** 2 / np.array(claimed)) < 1.2


def test_knots_are_finer_only_where_the_tilt_samples_the_lines():
    straight = subtract(build(replace(Scene(), tilt=0.0, bow=0.0), seed=8))
    tilted = subtract(build(replace(Scene(), tilt=3.0), seed=8))
    assert straight.knots <= 242
    assert tilted.knots > straight.knots


def test_knots_start_on_pixel_centres():
    u = np.repeat(np.arange(20.0), 5) + 0.3
    assert np.allclose(first_breaks(u, 1.0) % 1.0, 0.3)


def test_outside_the_slit_there_is_no_sky():
    built = build(Scene(), seed=9)
    edges = built.slit.traces[0]
    narrow = replace(edges, lower=edges.lower.shifted(10.0), upper=edges.upper.shifted(-10.0))
    sky = SubtractSky().run(frame=built.frame, wave=built.wave, slit=TraceSet((narrow,), True), sources=())
    assert (sky.model[:9] == 0).all()
    assert (sky.var[-9:] == 0).all()


def test_a_slit_full_of_light_is_told():
    stars = tuple(Star(float(y), 2e4, fwhm=6.0) for y in range(4, 80, 7))
    sky = subtract(build(replace(Scene(), stars=stars), seed=1))
    assert np.isfinite(sky.model).all()


def test_nothing_left_to_fit_is_an_error():
    built = build(Scene())
    empty = built.frame.flagged(np.ones(built.frame.shape, dtype=bool), Flag.BAD)
    with pytest.raises(BadFrameError):
        SubtractSky().run(frame=empty, wave=built.wave, slit=built.slit, sources=())
    with pytest.raises(BadFrameError, match="no trace"):
        SubtractSky().run(frame=built.frame, wave=built.wave, slit=TraceSet((), False), sources=())


def test_nodding_adds_the_noise_of_both():
    one, other = build(Scene(), seed=1), build(Scene(), seed=2)
    sky = NodSky().run(frame=one.frame, partner=other.frame, wave=one.wave, slit=one.slit)
    assert sky.method == "nod"
    pull = (one.frame.data - sky.model) / np.sqrt(one.frame.var + sky.var)
    assert np.std(pull[INNER]) == pytest.approx(1.0, abs=0.03)
    assert np.median(sky.var / other.frame.var) == pytest.approx(1.0, abs=0.1)


def test_nodding_undoes_whole_pixels_and_the_level():
    one, other = build(Scene(), seed=1), build(replace(Scene(), sky=72.0), seed=2)
    moved = other.frame.but(data=np.roll(other.frame.data, 2, axis=1), var=np.roll(other.frame.var, 2, axis=1))
    sky = NodSky().run(frame=one.frame, partner=moved, wave=one.wave, slit=one.slit)
    residual = (one.frame.data - sky.model)[4:-4, 8:-8]
    assert abs(residual.mean()) < 0.5
    assert not sky.used[:, -2:].any()


def test_nodding_needs_frames_of_one_size():
    one, other = build(Scene()), build(replace(Scene(), nx=200))
    with pytest.raises(BadFrameError, match="one size"):
        NodSky().run(frame=one.frame, partner=other.frame, wave=one.wave, slit=one.slit)


def test_rows_beyond_the_slit_that_nobody_measured_do_not_bend_the_sky():
    built = build(Scene(), seed=11)
    data = built.frame.data.copy()
    data[:8] = np.random.default_rng(1).normal(3, 5, (8, 240))
    sky = SubtractSky().run(frame=built.frame.but(data=data), wave=built.wave, slit=built.slit, sources=())
    assert not sky.used[:8].any()
    pull = ((sky.model - built.truth.sky) / np.sqrt(sky.var))[10:-4, 5:-5]
    assert abs(pull.mean()) < 0.25
    assert np.sqrt(np.mean(pull**2)) < 1.25


def test_a_model_that_knew_the_objects_already_is_kept():
    built = build(with_star(2e5), seed=5)
    step = SubtractSky(mask_width=2.0)  # this slit is short: a wider mask leaves too few rows to compare
    first = subtract(built)
    source = FindSources().run(frame=built.frame, sky=first, wave=built.wave, slit=built.slit)[0]
    assert step.run(built.frame, built.wave, built.slit, (source,), before=first) is first
    trace = replace(source.trace, centre=Poly1(np.array([15.0]), source.trace.centre.domain))
    elsewhere = (replace(source, y=15.0, trace=trace),)
    again = step.run(built.frame, built.wave, built.slit, elsewhere, before=first)
    fresh = step.run(built.frame, built.wave, built.slit, elsewhere)
    assert not again.used[15].any()
    assert np.abs((again.model - fresh.model) / np.sqrt(fresh.var))[INNER].max() < 0.2
