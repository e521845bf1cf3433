"""Geometry and pixels: what the truth says is where the light is."""

from __future__ import annotations

import numpy as np
import pytest

from builders.simulated import ARMS, rig, shot
from nightpipe.simulate import density
from nightpipe.simulate.geometry import Bend
from nightpipe.simulate.optics import filled, glow_density, star, star_density
from nightpipe.simulate.sky import Glow
from nightpipe.simulate.sources import Target, quasar
from nightpipe.simulate.turbulence import slit_image


def one_line(wave):
    wave = np.atleast_1d(np.asarray(wave, dtype=float))
    return Glow(np.zeros_like, wave, np.ones(len(wave)), ("Ne",) * len(wave), np.ones(len(wave), dtype=bool))


def ones(wave):
    return np.ones_like(wave)


@pytest.mark.parametrize("arm", ARMS)
def test_a_line_lies_where_the_truth_says(arm):
    made, known, _ = rig(arm)
    geometry = made.geometry.bent(Bend(0.4, -0.2, 0.3))
    ny, nx = geometry.shape
    wave = geometry.wave_of(np.linspace(0.2, 0.8, 3) * nx)
    image = filled(geometry, glow_density(geometry, one_line(wave), ones, known.night.slit))
    x = np.arange(nx)
    inside = slice(int(max(geometry.low, 0)) + 12, int(min(geometry.high, ny)) - 12)
    for row in np.arange(ny)[inside][:: ny // 4]:
        for truth in geometry.x_of(wave, row):
            near = np.abs(x - truth) < 25
            assert np.average(x[near], weights=image[row, near]) == pytest.approx(truth, abs=0.01)


def test_wavelength_map_and_positions_agree():
    made, *_ = rig("alfosc")
    geometry = made.geometry.bent(Bend(0.5, 0.1, 0.0))
    wave = geometry.wave_map()
    places = geometry.x_of(np.array([4500.0, 7000.0]), 321)
    assert np.interp(places, np.arange(geometry.shape[1]), wave[321]) == pytest.approx([4500.0, 7000.0], abs=0.01)
    assert np.all(np.diff(wave, axis=1) > 0)


def test_dispersion_is_not_what_the_description_says_but_near_it():
    made, *_ = rig("alfosc", 5)
    nominal = made.disperser
    centre = made.geometry.wave_of(made.geometry.middle[0])
    assert 0.0 < abs(centre - nominal.centre) <= 0.4 * nominal.centre_tolerance
    x = np.arange(made.geometry.shape[1], dtype=float)
    fit = np.polynomial.polynomial.polyfit(x, made.geometry.wave_of(x), 1)
    bent = made.geometry.wave_of(x) - np.polynomial.polynomial.polyval(x, fit)
    assert np.abs(bent).max() > 5 * nominal.dispersion


def test_the_same_seed_gives_the_same_optics_and_another_does_not():
    first, *_ = rig("sprat", 3)
    other, *_ = rig("sprat", 4)
    assert np.array_equal(first.geometry.coef, rig("sprat", 3)[0].geometry.coef)
    assert not np.array_equal(first.geometry.coef, other.geometry.coef)


def test_light_is_neither_lost_nor_made():
    made, _known, _ = rig("sprat")
    geometry = made.geometry
    light = glow_density(geometry, one_line([5500.0, 6000.0]), ones, 1.8)
    row = int(geometry.middle[1])
    assert filled(geometry, light)[row].sum() == pytest.approx(2.0, abs=1e-6)
    smooth = density.continuum(geometry, lambda wave: wave / 5000.0, density.slit_kernel(4.0, 0.9))
    inside = smooth.below(np.array([900.0])) - smooth.below(np.array([100.0]))
    wave = geometry.wave_of(np.arange(100.0, 900.0, 0.01) + 0.005)
    expected = np.sum(wave / 5000.0 * geometry.slope(np.arange(100.0, 900.0, 0.01) + 0.005)) * 0.01
    assert inside[0] == pytest.approx(expected, rel=1e-5)


def test_lines_agree_with_a_kernel_on_a_narrow_continuum():
    made, *_ = rig("alfosc")
    geometry = made.geometry
    wave = float(geometry.wave_of(500.0))
    sharp = density.lines(geometry, np.array([wave]), np.array([1000.0]), 2.3, 0.55)
    spread = density.continuum(
        geometry,
        lambda w: 1000.0 / (np.sqrt(2 * np.pi) * 0.7) * np.exp(-0.5 * ((w - wave) / 0.7) ** 2),
        density.slit_kernel(2.3, 0.55),
    )
    edges = np.arange(490.0, 511.0)
    assert np.diff(sharp.below(edges)) == pytest.approx(np.diff(spread.below(edges)), abs=4.0)


def test_a_star_has_its_counts_its_place_and_the_slits_losses():
    made, known, _ = rig("alfosc")
    exposure = shot(known, exptime=600.0, seeing=1.0, along=5.0)
    target = Target("q", quasar(1.9, 18.0))
    seen, image = made.object_seen(made.geometry, exposure, target)
    column = 500
    wave = seen.wave[column]
    above = target.light(np.array([wave])) * made.atmosphere(np.array([wave]), 1.0) * made.response(np.array([wave]))
    rough = above * 600.0 * made.geometry.slope(column) * image.passed_at(np.array([wave]))[0]
    assert seen.counts[column] == pytest.approx(rough[0], rel=0.02)
    rows = np.arange(made.geometry.shape[0])
    near = np.abs(rows - seen.y[column]) < 30
    centre = np.average(rows[near], weights=seen.image[near, column])
    assert centre == pytest.approx(seen.y[column], abs=0.02)


def test_refraction_bends_the_trace_only_off_the_zenith():
    made, known, _ = rig("alfosc")
    target = Target("q", quasar(1.9, 18.0))
    low, _ = made.object_seen(made.geometry, shot(known, airmass=2.0, exptime=60.0), target)
    high, _ = made.object_seen(made.geometry, shot(known, airmass=1.0, exptime=60.0), target)
    bend = (low.y - high.y)[[200, 900]] * made.geometry.scale
    assert bend[0] - bend[1] > 0.8  # arcsec between 4200 and 8700 A at two airmasses
    assert np.abs(bend).max() < 3.0


def test_slit_across_the_vertical_circle_loses_the_blue():
    made, known, _ = rig("alfosc")
    target = Target("q", quasar(1.9, 18.0))
    along, _ = made.object_seen(made.geometry, shot(known, airmass=1.8, exptime=60.0, angle=0.0), target)
    across, _ = made.object_seen(made.geometry, shot(known, airmass=1.8, exptime=60.0, angle=90.0), target)
    columns = np.searchsorted(along.wave, [4000.0, 5500.0])
    ratio = across.counts[columns] / along.counts[columns]
    assert ratio[0] < 0.6
    assert ratio[1] == pytest.approx(1.0, abs=0.03)


def test_second_order_light_adds_in_the_red_only():
    plain, known, _ = rig("alfosc")
    second, *_ = rig("alfosc", second_order=0.1)
    target = Target("q", quasar(1.9, 18.0))
    exposure = shot(known, exptime=60.0)
    extra = [made.object_seen(made.geometry, exposure, target)[0].counts for made in (second, plain)]
    ratio = extra[0] / np.maximum(extra[1], 1e-9)
    wave = plain.geometry.wave_of(np.arange(len(ratio)))
    assert ratio[(wave > 4000) & (wave < 6000)] == pytest.approx(1.0, abs=1e-6)
    assert ratio[(wave > 8800) & (wave < 9200)].min() > 1.02


def test_fringes_belong_to_the_red():
    made, *_ = rig("alfosc")
    pattern = made.fringes(made.geometry)
    wave = made.geometry.wave_map()
    assert pattern[wave < 7000].std() < 1e-3
    assert pattern[wave > 9000].std() > 0.01


def test_a_star_spectrum_between_nodes_is_continuous():
    made, *_ = rig("alfosc")
    geometry = made.geometry
    nodes = np.linspace(*geometry.ends(), 6)
    image = slit_image(nodes, 1.0, 1.0, np.linspace(-0.4, 0.4, 6), 0.2)
    seen = star(geometry, star_density(geometry, ones, image), image, 200.0, np.zeros_like)
    passed = image.passed_at(seen.wave) * geometry.slope(np.arange(geometry.shape[1]))
    assert seen.counts[50:-50] / passed[50:-50] == pytest.approx(1.0, abs=0.01)
