from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from builders import imagefield as field
from builders.benches import benchmark
from nightpipe.base.errors import NoSolutionError
from nightpipe.io.newlist import new_list
from nightpipe.maths.kernelfit import gaussian_basis
from nightpipe.plots.stack import triplets
from nightpipe.recipes.imagenew import _by_worth
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.grid import Grid
from nightpipe.steps.imaging.regions import RankSources
from nightpipe.steps.imaging.stack import StackImages
from nightpipe.steps.imaging.subtract import Subtract
from nightpipe.steps.imaging.transients import DIPOLE, SHARP, FindTransients

SHAPE = (420, 420)
ZP = 27.0


@cache
def scene(seed=1, *, new_fwhm=4.0, ref_fwhm=3.3, transients=6, resample=False, cosmics=0):
    """Return a new stack and a reference of the same field, the new one's sources, and the transients' places."""
    rng = np.random.default_rng(seed)
    one, two = field.wcs(SHAPE), field.wcs(SHAPE, dx=3.3, dy=-2.7, turn=0.2)
    stars = field.light(rng, 120, one, SHAPE, low=40, high=5000, margin=6)
    hosts = field.light(rng, 50, one, SHAPE, low=50, high=2000, margin=25)
    hosts = field.Light(hosts.ra, hosts.dec, hosts.rate, rng.uniform(0.5, 1.5, len(hosts.ra)))
    x, y = one.to_pixel(hosts.ra[:transients], hosts.dec[:transients])
    mags = np.linspace(19.5, 22.5, transients)
    new = field.Light(*one.to_sky(x + rng.normal(0, 2, transients), y + rng.normal(0, 2, transients)),
                      10 ** (0.4 * (ZP - mags)))  # fmt: skip

    def seen(where, fwhm, sky, exptime, lights, name, flagged):
        light = sum(field.expected(SHAPE, where, part, fwhm=fwhm, exptime=exptime) for part in lights)
        return field.observed(rng, light, sky=sky, exptime=exptime, name=name, cosmics=cosmics, flagged=flagged)

    fresh = seen(one, new_fwhm, 1000, 100, (stars, hosts, new), "new", 0.0)
    old = seen(two, ref_fwhm, 2000, 300, (stars, hosts), "old", 1.0)
    step = StackImages(extent="first", turned=True)
    stack = step.run([fresh], [field.astrometry(one)], [field.zeropoint(ZP)])
    grid = None if resample else Grid(stack.wcs, stack.data.shape)
    reference = step.run([old], [field.astrometry(two)], [field.zeropoint(ZP)], grid=grid)
    return stack, reference, Detect().run(stack), stack.wcs.to_pixel(new.ra, new.dec), mags


def recovered(candidates, x, y):
    """Return which transients a real candidate names, and how many real candidates name none."""
    real = np.flatnonzero(candidates.quality == 0)
    apart = np.hypot(candidates.x[real, None] - x, candidates.y[real, None] - y)
    return (apart < 2).any(axis=0), int((apart.min(axis=1) > 3).sum())


@pytest.mark.parametrize(("new_fwhm", "ref_fwhm", "blurred"), [(4.0, 3.3, "reference"), (3.2, 4.2, "new")])
def test_transients_on_galaxies_are_found_and_little_else(new_fwhm, ref_fwhm, blurred):
    stack, reference, sources, (x, y), mags = scene(new_fwhm=new_fwhm, ref_fwhm=ref_fwhm)
    difference = Subtract().run(stack, reference, sources)
    candidates = FindTransients().run(difference)
    found, false = recovered(candidates, x, y)
    assert found.all()
    assert false == 0
    assert difference.blurred == blurred
    assert difference.scale == pytest.approx(1.0, abs=0.01)
    nearest = [int(np.argmin(np.hypot(candidates.x - a, candidates.y - b))) for a, b in zip(x, y, strict=True)]
    error = np.hypot(candidates.columns["mag_error"][nearest], 0.02)
    assert (np.abs(candidates.columns["mag"][nearest] - mags) < 4 * error).all()
    assert any(caveat.code == "transients.moving" for caveat in candidates.caveats)
    assert len(triplets(stack, difference, candidates).axes) >= 3


def test_significance_of_nothing_is_a_unit_normal():
    stack, reference, sources, _, _ = scene(3, transients=0)
    difference = Subtract().run(stack, reference, sources)
    quiet = (difference.significance != 0) & (difference.reference < 2 * np.sqrt(difference.var))
    assert np.std(difference.significance[quiet]) == pytest.approx(1.0, abs=0.1)
    assert not (FindTransients().run(difference).quality == 0).any()
    assert np.isfinite(difference.significance).all()
    assert np.isfinite(difference.data).all()


def test_cosmic_rays_and_dipoles_are_bogus():
    stack, reference, sources, (x, y), _ = scene(5, transients=3, cosmics=25)
    candidates = FindTransients().run(Subtract().run(stack, reference, sources))
    found, false = recovered(candidates, x, y)
    assert found.sum() >= 2
    assert false <= 1
    assert ((candidates.quality & SHARP) != 0).sum() >= 5
    assert DIPOLE != SHARP


def test_reference_on_another_grid_is_resampled_and_said_so():
    stack, reference, sources, (x, y), _ = scene(6, resample=True)
    difference = Subtract().run(stack, reference, sources)
    assert "subtract.resampled" in [caveat.code for caveat in difference.caveats]
    assert recovered(FindTransients().run(difference), x, y)[0].sum() >= 5


def test_images_of_other_fields_are_refused():
    stack, reference, sources, _, _ = scene(6, resample=True)
    from dataclasses import replace

    far = replace(reference, wcs=field.wcs(SHAPE, centre=(150.3, 20.0)))
    with pytest.raises(NoSolutionError):
        Subtract().run(stack, far, sources)


def test_only_the_first_function_of_the_basis_carries_flux():
    basis = gaussian_basis(8, (0.7, 1.5, 3.0), (4, 3, 2))
    assert len(basis) == 15 + 10 + 6
    np.testing.assert_allclose(basis.sum(axis=(1, 2)), [1, *np.zeros(30)], atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 13, 14, 15, 22, 24])
def test_forty_transients_on_galaxies_are_called_real(seed):
    """The benchmark's scene: stars that saturate, hosts, cosmic rays in both images, r from 19.5 to 22.5."""
    bench = benchmark("subtracting")
    new, reference, sources, x, y = bench.scene(seed, 1848, 40)
    seen, real, false = bench.score(FindTransients().run(Subtract().run(new, reference, sources)), x, y)
    assert seen == 40
    assert real == 40
    assert false <= 2


def test_a_source_on_the_slope_of_a_bright_host_is_where_it_is():
    """What is left of the host counts as noise and draws the significance outwards, but not the place."""
    rng = np.random.default_rng(8)
    place = field.wcs(SHAPE)
    stars = field.light(rng, 120, place, SHAPE, low=40, high=5000, margin=6)
    host = field.Light(*place.to_sky(np.array([200.0]), np.array([210.0])), np.array([6000.0]), np.array([0.5]))
    x, y = np.array([203.4]), np.array([212.0])
    new = field.Light(*place.to_sky(x, y), np.array([2000.0]))

    def seen(lights, name):
        light = sum(field.expected(SHAPE, place, part, fwhm=3.6, exptime=200) for part in lights)
        frame = field.observed(rng, light, sky=1000, exptime=200, name=name)
        return StackImages(extent="first", turned=True).run([frame], [field.astrometry(place)], [field.zeropoint(ZP)])

    fresh, old = seen((stars, host, new), "new"), seen((stars, host), "old")
    gx, gy = fresh.wcs.to_pixel(new.ra, new.dec)
    found = FindTransients().run(Subtract(floor=0.02).run(fresh, old, Detect().run(fresh)))
    near = np.hypot(found.x - gx, found.y - gy).argmin()
    assert np.hypot(found.x[near] - gx[0], found.y[near] - gy[0]) < 0.5
    assert found.quality[near] == 0


def test_a_difference_without_candidates_is_a_list_of_none():
    stack, reference, sources, _, _ = scene(new_fwhm=4.0, ref_fwhm=3.3)
    found = FindTransients(threshold=1e6).run(Subtract().run(stack, reference, sources))
    assert len(found) == 0
    assert {"significance", "score", "ra", "dec", "mag"} <= set(found.columns)
    ranked = _by_worth(RankSources().run(found, ()))
    assert new_list(ranked, "none").splitlines()[-1].endswith("verdict")
