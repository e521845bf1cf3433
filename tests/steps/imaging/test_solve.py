"""The ladder to a plate solution: simulated fields, awkward places, and what must be refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.starfields import camera, cone, show
from nightpipe.base.errors import NoSolutionError
from nightpipe.maths.tan import separation, sky_of_plane
from nightpipe.model.wcs import Astrometry
from nightpipe.steps.imaging.solve import SolveAstrometry

EPOCH, SHAPE = 2024.5, (2048, 2048)
CORNERS = np.array([50, 2000, 50, 2000, 1024]), np.array([50, 50, 2000, 2000, 1024])


def off(found, wcs):
    """Largest error [pixel] at the middle and the corners."""
    return 3600 * separation(*found.wcs.to_sky(*CORNERS), *wcs.to_sky(*CORNERS)).max() / wcs.scale


def scene(seed, *, centre=(150.0, 30.0), size=12.0, latitude=40.0, radius=0.6, **options):
    rng = np.random.default_rng(seed)
    stars = cone(rng, latitude, centre, radius)
    wcs = camera(rng, centre, size, SHAPE, **options)
    return rng, stars, wcs, show(rng, stars, wcs, SHAPE, epoch=EPOCH)


def solve(shown, stars, step=None, **known):
    return (step or SolveAstrometry()).run(shown.sources, shown.shape, stars, epoch=EPOCH, **known)


def test_a_true_header_is_only_bettered():
    _, stars, wcs, shown = scene(1)
    prior = replace(wcs, a=np.zeros((0, 0)), b=np.zeros((0, 0)))
    found = solve(shown, stars, prior=prior)
    assert found.method == "header"
    assert off(found, wcs) < 0.2
    assert found.shift < 1
    assert max(found.rms) < 0.05
    assert found.error < 0.01


def test_a_header_off_by_two_arcmin_is_shifted():
    _, stars, wcs, shown = scene(2)
    found = solve(shown, stars, prior=wcs.moved(wcs.crval[0] + 0.03, wcs.crval[1] - 0.02))
    assert found.method == "offset"
    assert off(found, wcs) < 0.2
    assert found.shift == pytest.approx(3600 * np.hypot(0.03 * np.cos(np.radians(30)), 0.02), rel=0.01)


@pytest.mark.parametrize("parity", [-1, 1])
@pytest.mark.parametrize("centre", [(0.01, 0.0), (359.99, -45.0), (123.0, 89.9), (200.0, -89.8)])
def test_quads_find_any_rotation_parity_and_place(centre, parity):
    _, stars, wcs, shown = scene(3, centre=centre, parity=parity)
    pointing = tuple(float(value) for value in sky_of_plane(0.2, -0.25, centre))
    found = solve(shown, stars, pointing=pointing, scale=1.08 * wcs.scale)
    assert found.method == "quads"
    assert off(found, wcs) < 1
    assert found.wcs.parity == parity


def test_a_header_that_lies_leads_to_quads():
    _, stars, wcs, shown = scene(4)
    prior = camera(np.random.default_rng(0), (150.1, 30.2), 12.5, SHAPE, rotation=10, bend=0)
    found = solve(shown, stars, prior=prior)
    assert found.method == "quads"
    assert off(found, wcs) < 1


def test_without_pointing_or_scale_the_whole_catalogue_is_searched():
    rng = np.random.default_rng(5)
    one, two = cone(rng, 30, (20.0, 10.0), 0.4), cone(rng, 30, (220.0, -10.0), 0.4)
    stars = replace(
        one,
        ra=np.append(one.ra, two.ra), dec=np.append(one.dec, two.dec), error=np.append(one.error, two.error),
        pm_ra=np.append(one.pm_ra, two.pm_ra), pm_dec=np.append(one.pm_dec, two.pm_dec),
        mags={"G": np.append(one.mags["G"], two.mags["G"])},
    )  # fmt: skip
    wcs = camera(rng, (220.1, -10.1), 14.0, SHAPE)
    shown = show(rng, stars, wcs, SHAPE, epoch=EPOCH)
    found = solve(shown, stars)
    assert found.method == "blind"
    assert off(found, wcs) < 1


def test_another_image_of_the_field_helps_where_the_catalogue_has_no_stars():
    rng, stars, wcs, shown = scene(6)
    known = solve(shown, stars, prior=wcs)
    other = camera(rng, (150.05, 30.02), 12.0, SHAPE)
    second = show(rng, stars, other, SHAPE, epoch=EPOCH)
    empty = stars.select(np.zeros(len(stars), bool))
    found = solve(second, empty, pointing=(150.0, 30.0), scale=wcs.scale, neighbours=((shown.sources, known),))
    assert found.method == "neighbour"
    assert off(found, other) < 2  # a part of the image lies beyond the other
    assert [caveat.code for caveat in found.caveats] == ["astrometry.neighbour"]


def test_proper_motion_is_applied():
    rng = np.random.default_rng(7)
    stars = cone(rng, 40, (150.0, 30.0), 0.3)
    stars = replace(stars, pm_ra=stars.pm_ra + 100.0)
    wcs = camera(rng, (150.0, 30.0), 12.0, SHAPE)
    shown = show(rng, stars, wcs, SHAPE, epoch=2026.0)
    found = SolveAstrometry().run(shown.sources, SHAPE, stars, epoch=2026.0, prior=wcs)
    stale = SolveAstrometry().run(shown.sources, SHAPE, stars, epoch=2016.0, prior=wcs)
    assert off(found, wcs) < 0.5
    assert 3600 * separation(*stale.wcs.to_sky(1024, 1024), *wcs.to_sky(1024, 1024)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8])
def test_few_stars_are_solved_by_a_good_header_or_refused_and_never_wrong(count):
    _, stars, wcs, shown = scene(8)
    brightest = np.argsort(-shown.sources.flux)
    ra, dec = stars.at(EPOCH)
    x, y = wcs.to_pixel(ra, dec)
    near = [k for k in brightest if np.hypot(x - shown.sources.x[k], y - shown.sources.y[k]).min() < 1][:count]
    few = _rows(shown.sources, np.array(near, dtype=int))
    try:
        found = SolveAstrometry().run(few, SHAPE, stars, epoch=EPOCH, prior=wcs.moved(150.0002, 30.0001))
    except NoSolutionError:
        assert count <= 3
        return
    assert count >= 3
    assert off(found, wcs) < 2
    assert ("astrometry.few" in [caveat.code for caveat in found.caveats]) == (count < 6)


def _rows(sources, rows):
    return replace(
        sources,
        **{name: getattr(sources, name)[rows]
           for name in ("x", "y", "x_error", "y_error", "flux", "flux_error", "mask", "quality")},
    )  # fmt: skip


@pytest.mark.parametrize("known", [{"pointing": (150.0, 30.0)}, {}])
def test_another_place_is_refused_and_the_error_tells_of_each_rung(known):
    _, stars, wcs, _ = scene(9)
    _, _, _, elsewhere = scene(10)
    with pytest.raises(NoSolutionError) as error:
        solve(elsewhere, stars, prior=wcs if known else None, scale=wcs.scale, **known)
    for rung in ("header", "offset", "quads", "neighbour", "blind"):
        assert f"{rung}: " in error.value.found


def test_a_catalogue_without_overlap_is_refused():
    _, _, wcs, shown = scene(11)
    far = cone(np.random.default_rng(1), 40, (151.8, 31.0), 0.5)
    with pytest.raises(NoSolutionError):
        solve(shown, far, prior=wcs)


def test_saturated_stars_find_the_place_but_do_not_enter_the_fit():
    rng, stars, wcs, shown = scene(12)
    sources, bright = shown.sources, np.argsort(-shown.sources.flux)[:15]
    x, quality = sources.x.copy(), sources.quality.copy()
    x[bright] += rng.normal(0, 1.5, 15)
    quality[bright] |= 4
    found = solve(replace(shown, sources=replace(sources, x=x, quality=quality)), stars, prior=wcs)
    assert off(found, wcs) < 0.2
    everything = replace(sources, quality=np.full_like(quality, 4))
    found = solve(replace(shown, sources=everything), stars, prior=wcs)
    assert off(found, wcs) < 0.3


def test_trails_are_found_where_all_stars_trail_alike():
    _, stars, wcs, shown = scene(13)
    columns = {"ellipticity": np.full(len(shown.sources), 0.8), "fwhm": np.full(len(shown.sources), 20.0)}
    found = solve(replace(shown, sources=replace(shown.sources, columns=columns)), stars, prior=wcs)
    assert off(found, wcs) < 0.3


@pytest.mark.parametrize(("size", "radius", "latitude"), [(1.5, 0.3, 8), (120.0, 2.5, 75)])
def test_tiny_and_huge_fields(size, radius, latitude):
    rng = np.random.default_rng(14)
    centre = (80.0, 15.0)
    stars = cone(rng, latitude, centre, radius, faintest=20.0 if size < 10 else 14.0)
    wcs = camera(rng, centre, size, SHAPE)
    shown = show(rng, stars, wcs, SHAPE, epoch=EPOCH, faintest=20.5 if size < 10 else 13.5, saturated=6.0, blur=1.0)
    found = solve(shown, stars, pointing=(80.05, 15.05), scale=wcs.scale * 0.95)
    assert off(found, wcs) < 1


def test_the_order_of_distortion_follows_the_stars():
    orders = {}
    for bend in (0.0, 8.0):
        _, stars, wcs, shown = scene(15, bend=bend)
        orders[bend] = solve(shown, stars, prior=wcs).wcs.a.shape[0]
    assert orders == {0.0: 0, 8.0: 4}


def test_the_solution_tells_how_good_it_is():
    _, stars, wcs, shown = scene(16, latitude=15)
    found = solve(shown, stars, prior=wcs)
    assert isinstance(found, Astrometry)
    assert found.pairs.shape == (found.matches, 6)
    x, y = found.wcs.to_pixel(found.pairs[:, 2], found.pairs[:, 3])
    shift = np.hypot(x - found.pairs[:, 0], y - found.pairs[:, 1]) * found.wcs.scale
    assert np.allclose(shift, np.hypot(*found.pairs[:, 4:].T), rtol=1e-2, atol=1e-3)
    assert found.log_odds > 100
