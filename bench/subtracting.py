"""Difference imaging: forty transients on galaxies, r 19.5 to 22.5, in a field of 1848 x 1848 pixels."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

ZP = 27.0
SEEDS = (3, 4)


def run(table_class, *, small):
    from nightpipe.steps.imaging.subtract import Subtract
    from nightpipe.steps.imaging.transients import FindTransients

    size, count = (800, 15) if small else (1848, 40)
    table = table_class(f"difference of {size} x {size}: kernel, significance, candidates; {count} transients")
    for seed in SEEDS[: 1 if small else 2]:
        new, reference, sources, x, y = scene(seed, size, count)

        def ours(new=new, reference=reference, sources=sources):
            return FindTransients().run(Subtract().run(new, reference, sources))

        found = table.time(f"nightpipe, seed {seed}", ours, repeat=1)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        table.note(f"{_told(found, x, y)}, peak memory {memory:.2f} GB")
        if not small:
            seen, taken, false = score(found, x, y)
            table.judge("CPU s", table.rows[-1][1], 15.0)
            table.judge("GB", memory, 2.0)
            table.judge("missed", seen - taken, 0)
            table.judge("false", false, 2)
    table.show()


def scene(seed, size, count):
    """Return a new stack and a reference of one field, the sources of the new one, and where the transients are."""
    from builders import imagefield as field
    from nightpipe.steps.imaging.detect import Detect
    from nightpipe.steps.imaging.grid import Grid
    from nightpipe.steps.imaging.stack import StackImages

    rng, shape = np.random.default_rng(seed), (size, size)
    one, two = field.wcs(shape), field.wcs(shape, dx=3.3, dy=-2.7, turn=0.2)
    stars = field.light(rng, size // 2, one, shape, low=20, high=20000, margin=5)
    hosts = field.light(rng, size // 3, one, shape, low=50, high=3000, margin=20)
    hosts = field.Light(hosts.ra, hosts.dec, hosts.rate, rng.uniform(0.5, 1.5, len(hosts.ra)))
    x, y = _places(rng, one, stars, hosts, count)
    new = field.Light(*one.to_sky(x, y), 10 ** (0.4 * (ZP - rng.uniform(19.5, 22.5, count))))

    def seen(where, fwhm, sky, exptime, lights, name, cosmics):
        light = sum(field.expected(shape, where, part, fwhm=fwhm, exptime=exptime) for part in lights)
        return field.observed(rng, light, sky=sky, exptime=exptime, name=name, cosmics=cosmics, flagged=0.9,
                              saturation=2.5e5)  # fmt: skip

    step = StackImages(extent="first", turned=True)
    fresh = seen(one, 4.0, 1000, 100, (stars, hosts, new), "new", size // 10)
    old = seen(two, 3.3, 2000, 300, (stars, hosts), "old", size // 4)
    stack = step.run([fresh], [field.astrometry(one)], [field.zeropoint(ZP)])
    grid = Grid(stack.wcs, stack.data.shape)
    reference = step.run([old], [field.astrometry(two)], [field.zeropoint(ZP)], grid=grid)
    return stack, reference, Detect().run(stack), *stack.wcs.to_pixel(new.ra, new.dec)


def _places(rng, where, stars, hosts, count):
    """Return places on galaxies, none in the glare of a saturated star."""
    sx, sy = where.to_pixel(stars.ra, stars.dec)
    bright = stars.rate > 8000
    x, y = where.to_pixel(hosts.ra, hosts.dec)
    calm = [k for k in range(len(x)) if np.hypot(sx[bright] - x[k], sy[bright] - y[k]).min() > 25][:count]
    return x[calm] + rng.normal(0, 3, count), y[calm] + rng.normal(0, 3, count)


def score(found, x, y):
    """Return how many transients are seen above S/N 6, called real, and how many of those called real are none."""
    apart = np.hypot(found.x[:, None] - x, found.y[:, None] - y)
    real = found.quality == 0
    seen = ((apart < 3) & (found.columns["significance"] > 6)[:, None]).any(axis=0)
    taken = ((apart < 3) & real[:, None]).any(axis=0)
    return int(seen.sum()), int(taken.sum()), int((real & (apart.min(axis=1) > 4)).sum())


def _told(found, x, y):
    seen, taken, false = score(found, x, y)
    bogus = int((found.quality != 0).sum())
    return f"{seen} of {len(x)} above S/N 6, {taken} called real, {false} false, {bogus} bogus"
