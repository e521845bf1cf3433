"""Blind solutions of simulated fields of 5 to 30 arcmin at latitudes of 5 to 80 deg, and a joint fit of ten frames."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from builders.starfields import camera, cone, show
from nightpipe.base.errors import NoSolutionError
from nightpipe.maths.tan import separation, sky_of_plane
from nightpipe.steps.imaging.solve import SolveAstrometry

EPOCH = 2024.5


def one_field(seed, *, answer=True):
    """Solve one field; return (verdict, cpu seconds, description)."""
    rng = np.random.default_rng([7, seed])
    latitude, size = rng.uniform(5, 80), rng.uniform(5, 30)
    pointing = (rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 1))))
    away, angle = np.sqrt(rng.uniform(0, 1)), rng.uniform(0, 2 * np.pi)
    if not answer:
        away = rng.uniform(3, 6)
    ra, dec = sky_of_plane(away * np.cos(angle), away * np.sin(angle), pointing)
    stars = cone(rng, latitude, pointing, 1.0 + size / 60 + 0.1)
    wcs = camera(rng, (float(ra), float(dec)), size, (2048, 2048), parity=int(rng.choice([-1, 1])))
    sky = stars if answer else cone(rng, latitude, wcs.crval, size / 60)
    shown = show(
        rng, sky, wcs, (2048, 2048), epoch=EPOCH, faintest=rng.uniform(18.5, 20.5), saturated=rng.uniform(9, 13)
    )
    scale = wcs.scale * rng.uniform(0.91, 1.09)
    start = time.process_time()
    try:
        found = SolveAstrometry().run(shown.sources, shown.shape, stars, epoch=EPOCH, pointing=pointing, scale=scale)
    except NoSolutionError as error:
        seconds = time.process_time() - start
        verdict = "failed" if answer else "refused"
        return verdict, seconds, f"{seed} b {latitude:.0f} size {size:.1f} n {len(shown.sources)} {error.found}"
    seconds = time.process_time() - start
    x, y = np.array([100, 1900, 100, 1900, 1024]), np.array([100, 100, 1900, 1900, 1024])
    off = 3600 * separation(*found.wcs.to_sky(x, y), *wcs.to_sky(x, y)).max()
    verdict = "right" if answer and off < 3 * wcs.scale else "wrong"
    return (
        verdict,
        seconds,
        f"{seed} b {latitude:.0f} size {size:.1f} n {len(shown.sources)} m {found.matches} off {off:.3f}",
    )


def blind(count=200, unanswerable=40):
    """Print the score."""
    one_field(0)
    rows = [one_field(k) for k in range(1, count - unanswerable + 1)]
    rows += [one_field(10_000 + k, answer=False) for k in range(unanswerable)]
    seconds = np.array([row[1] for row in rows])
    for verdict, spent, text in rows:
        if verdict in ("failed", "wrong") or spent > 0.5:
            print(f"  {verdict:8} {spent:.2f} s  {text}")
    print(dict(Counter(row[0] for row in rows)), f"median {np.median(seconds):.3f} s, worst {seconds.max():.3f} s")


if __name__ == "__main__":
    blind(*(int(word) for word in sys.argv[1:]))
