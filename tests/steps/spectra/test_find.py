"""Finding objects: one star is one object, noise is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.slit import Scene, Star, build, with_star
from builders.slitrun import searched
from nightpipe.base.errors import DataError
from nightpipe.model.spectrum import Source
from nightpipe.steps.spectra.find import FindSources, PlaceSource, _seen_through_air
from nightpipe.steps.spectra.sky import NodSky, SubtractSky


def found(scene, seed=1, **parameters):
    built = build(scene, seed)
    return built, searched(built, FindSources(**parameters))[1]


@pytest.mark.parametrize("beta", [1.8, 2.5, 4.0])
@pytest.mark.parametrize("counts", [500.0, 3e4, 2e6])
def test_one_star_is_one_object(counts, beta):
    built, sources = found(with_star(counts, beta=beta))
    assert len(sources) == 1
    star, source = built.scene.stars[0], sources[0]
    columns = np.arange(240.0)
    assert source.name == "OBJ1"
    assert np.abs(source.trace.centre(columns) - star.centre(columns, 240)).max() < 0.2
    assert source.fwhm == pytest.approx(5.0, rel=0.25)
    assert source.slit_arcsec == pytest.approx((source.y - 39.5) * 0.4, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_no_object(seed):
    assert found(Scene(), seed)[1] == ()


def test_uneven_sky_is_no_object():
    assert found(replace(Scene(), illumination=0.08), seed=2)[1] == ()


def test_faint_stars_are_found_and_their_significance_is_right():
    snr = [found(with_star(22.0), seed)[1] for seed in range(4)]
    assert all(len(sources) == 1 for sources in snr)
    assert 5 < np.mean([sources[0].snr for sources in snr]) < 16


def test_a_ghost_of_a_bright_star_is_not_believed_but_a_companion_is():
    star = Star(30.0, 1e6)
    ghost = Star(60.0, 2000.0, fwhm=25.0)
    assert len(found(replace(Scene(), stars=(star, ghost)))[1]) == 1
    companion = Star(60.0, 3e4)
    assert [round(s.y) for s in found(replace(Scene(), stars=(star, companion)))[1]] == [30, 60]


def test_two_stars_are_told_apart():
    scene = replace(Scene(), stars=(Star(35.0, 1000.0), Star(46.0, 800.0)))
    sources = found(scene)[1]
    assert [source.y for source in sources] == [pytest.approx(35.0, abs=0.3), pytest.approx(46.0, abs=0.3)]
    assert [source.name for source in sources] == ["OBJ1", "OBJ2"]


def test_a_curved_and_tilted_trace_is_followed():
    built, sources = found(with_star(2e4, slope=0.03, bow=3.0))
    columns = np.arange(240.0)
    assert np.abs(sources[0].trace.centre(columns) - built.scene.stars[0].centre(columns, 240)).max() < 0.1


def test_brightest_only_and_at_most():
    scene = replace(Scene(), stars=(Star(20.0, 1000.0), Star(40.0, 800.0), Star(60.0, 600.0)))
    assert len(found(scene)[1]) == 3
    assert [round(s.y) for s in found(scene, brightest_only=True)[1]] == [20]
    assert len(found(scene, max_sources=2)[1]) == 2


def test_positions_are_dropped_and_added_in_arcsec():
    scene = replace(Scene(), stars=(Star(20.0, 1000.0), Star(60.0, 600.0)))
    where = (20.0 - 39.5) * 0.4
    sources = found(scene, drop=[where], add=[2.0])[1]
    assert [source.forced for source in sources] == [False, True]
    assert sources[1].slit_arcsec == 2.0
    assert sources[1].y == pytest.approx(39.5 + 5.0)
    assert sources[1].snr < 5


def test_an_added_position_takes_the_place_of_what_was_found_there():
    where = (41.3 - 39.5) * 0.4
    sources = found(with_star(1000.0), add=[where + 0.2])[1]
    assert len(sources) == 1
    assert sources[0].forced


def test_a_nodded_partner_is_no_object():
    one = build(replace(Scene(), stars=(Star(25.0, 1500.0),)), 1)
    other = build(replace(Scene(), stars=(Star(55.0, 1500.0),)), 2)
    sky = NodSky().run(frame=one.frame, partner=other.frame, wave=one.wave, slit=one.slit)
    sources = FindSources().run(frame=one.frame, sky=sky, wave=one.wave, slit=one.slit)
    assert [round(source.y) for source in sources] == [25]


def test_a_faint_object_borrows_its_course():
    scene = replace(Scene(), stars=(Star(25.0, 2e4, slope=0.02), Star(60.0, 40.0, slope=0.02)))
    sources = found(scene)[1]
    assert len(sources) == 2
    columns = np.arange(240.0)
    apart = sources[1].trace.centre(columns) - scene.stars[1].centre(columns, 240)
    assert np.abs(apart).max() < 2.0


def test_a_source_can_be_placed_and_its_absence_is_measured():
    built = build(with_star(3000.0))
    sky = SubtractSky().run(frame=built.frame, wave=built.wave, slit=built.slit, sources=())
    inputs = {"frame": built.frame, "sky": sky, "wave": built.wave, "slit": built.slit}
    empty = PlaceSource().run(**inputs, slit_arcsec=-8.0)
    assert empty.forced
    assert abs(empty.snr) < 4
    assert "source.assumed" in {caveat.code for caveat in empty.caveats}
    on_star = PlaceSource(fwhm=2.0).run(**inputs, slit_arcsec=(41.3 - 39.5) * 0.4)
    assert on_star.snr > 100
    assert on_star.fwhm == pytest.approx(5.0)
    with pytest.raises(DataError, match="within the slit"):
        PlaceSource().run(**inputs, slit_arcsec=60.0)


def test_a_source_can_be_placed_by_its_coordinates():
    built = build(with_star(3000.0))
    pointed = replace(built.frame.exposure, ra=150.0, dec=20.0)
    sky = SubtractSky().run(frame=built.frame, wave=built.wave, slit=built.slit, sources=())
    inputs = {"frame": replace(built.frame, exposure=pointed), "sky": sky, "wave": built.wave, "slit": built.slit}
    north = (41.3 - 39.5) * 0.4 / 3600
    source = PlaceSource(ra=150.0, dec=20.0 + north, position_angle=0.0).run(**inputs)
    assert source.y == pytest.approx(41.3, abs=1e-3)
    beside = PlaceSource(ra=150.0, dec=20.0 + north, position_angle=90.0, across=0.5).run(**inputs)
    assert beside.y == pytest.approx(39.5, abs=1e-3)
    assert "source.off_slit" in {caveat.code for caveat in beside.caveats}
    with pytest.raises(DataError, match="place on the slit"):
        PlaceSource(ra=150.0).run(**inputs)
    with pytest.raises(DataError, match="pointing"):
        PlaceSource(ra=150.0, dec=20.0, position_angle=0.0).run(**(inputs | {"frame": built.frame}))


def test_a_slope_at_the_end_of_the_slit_is_sky():
    built = build(replace(Scene(ny=160), lines=()), seed=3)
    rows = np.arange(160)[:, None]
    slope = 0.15 * built.truth.sky * np.clip(1 - rows / 25, 0, None)
    noisy = built.frame.data + np.random.default_rng(1).poisson(slope)
    built = replace(built, frame=built.frame.but(data=noisy.astype(np.float32)))
    sky, sources = searched(built)
    assert sources == ()
    assert sky.used[:10].mean() > 0.7


def test_what_is_far_narrower_than_a_bright_star_is_no_object():
    star = Source("OBJ", 50.0, 0.0, 500.0, 4.0, None, False)
    assert not _seen_through_air(replace(star, fwhm=1.2, snr=9.0), star)
    assert _seen_through_air(replace(star, fwhm=3.0, snr=9.0), star)
    assert _seen_through_air(replace(star, fwhm=1.2, snr=9.0), replace(star, snr=20.0))
