"""Blind solutions of simulated fields of 5 to 30 arcmin at latitudes of 5 to 80 deg, and a joint fit of ten frames."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from builders.starfields import camera, cone, show
from nightpipe.base.errors import NoSolutionError
from nightpipe.maths.tan import separation, sky_of_plane
from nightpipe.steps.imaging.align import AlignFrames
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
    # coarse: the place is right, but so few stars do not tell the distortion in the corners
    verdict = "wrong" if not answer or off > 10 * wcs.scale else ("coarse" if off > 3 * wcs.scale else "right")
    return (
        verdict,
        seconds,
        f"{seed} b {latitude:.0f} size {size:.1f} n {len(shown.sources)} m {found.matches} off {off:.3f}",
    )


def run(table_class, *, small):
    """Fill a table as the other benchmarks do: the fields one after the other, then the joint fit."""
    table = table_class("blind solutions of simulated fields, and a joint fit of ten frames")
    score, seconds = blind(*((40, 8) if small else (200, 40)))
    right, answers = score["right"] + score["coarse"], sum(score.values()) - score["refused"] - score["wrong"]
    table.rows.append(("one field, median", float(np.median(seconds)), f"{dict(score)}"))
    table.judge("share not right", 1 - right / answers, 0.02)
    table.judge("wrong", score["wrong"], 0)
    table.rows.append(("one field, worst", float(seconds.max()), f"{int((seconds > 0.5).sum())} above 0.5 s"))
    table.judge("CPU s", float(seconds.max()), 0.5)
    if not small:
        spent, error, _ = joint()
        table.rows.append(("joint fit of ten 4k frames", spent, f"error {error:.2f} mas per axis"))
        table.judge("CPU s", spent, 8.0)
        table.judge("mas", error, 3.4)
    table.show()


def blind(count=200, unanswerable=40):
    """Print the score and return it with the CPU seconds of each field."""
    one_field(0)
    rows = [one_field(k) for k in range(1, count - unanswerable + 1)]
    rows += [one_field(10_000 + k, answer=False) for k in range(unanswerable)]
    seconds = np.array([row[1] for row in rows])
    for verdict, spent, text in rows:
        if verdict in ("failed", "wrong", "coarse") or spent > 0.5:
            print(f"  {verdict:8} {spent:.2f} s  {text}")
    score = Counter(row[0] for row in rows)
    print(dict(score), f"median {np.median(seconds):.3f} s, worst {seconds.max():.3f} s")
    return score, seconds


def joint(frames=10, count=3000):
    """Print time and errors of a joint fit of ten frames of 4k with some 3000 stars each."""
    rng = np.random.default_rng(1)
    shape, centre = (4096, 4096), (150.0, 30.0)
    wcs = camera(rng, centre, 16.4, shape, bend=6.0, rotation=12.0)
    stars = cone(rng, 10.0, centre, 0.25, faintest=20.0)
    stars = stars.select(np.sort(np.argsort(stars.brightness())[: int(count * 0.196 / 0.0747)]))
    shown, truth = [], []
    for _ in range(frames):
        ra, dec = sky_of_plane(*rng.uniform(-0.012, 0.012, 2), centre)
        turn = np.radians(rng.normal(0, 0.02))
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ wcs.cd
        (a, b), (c, d) = (matrix * (1 + rng.normal(0, 3e-5, (2, 2)))).tolist()
        one = replace(wcs, crval=(float(ra), float(dec)), cd=((a, b), (c, d)))
        truth.append(one)
        shown.append(
            show(rng, stars, one, shape, epoch=EPOCH, faintest=22.0, lost=0.03, false=0.02, noise=0.015).sources
        )
    solver = SolveAstrometry()
    start = time.process_time()
    alone = tuple(
        solver.run(one, shape, stars, epoch=EPOCH, prior=replace(wcs, a=np.zeros((0, 0)), b=np.zeros((0, 0))))
        for one in shown
    )
    middle = time.process_time()
    found = AlignFrames().run(tuple(shown), shape, alone, stars, epoch=EPOCH)
    end = time.process_time()
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(50, 4045, 12), np.linspace(50, 4045, 12)))
    worst = []
    for one, true in zip(found.solutions, truth, strict=True):
        ra, dec = one.wcs.to_sky(x, y)
        sky = true.to_sky(x, y)
        worst.append(3600e3 * np.hypot((ra - sky[0]) * np.cos(np.radians(sky[1])), dec - sky[1]))
    error = float(np.sqrt(np.mean(np.square(worst)) / 2))
    print(
        f"joint fit of {frames} frames, {np.mean(found.stars):.0f} stars each: {end - middle:.2f} CPU s "
        f"(solved alone before: {middle - start:.2f} s); error of the solutions {error:.2f} mas per axis, worst "
        f"{np.max(worst):.2f} mas; stars about their means {1e3 * found.rms[0]:.2f} {1e3 * found.rms[1]:.2f}, "
        f"means about the catalogue {1e3 * found.catalogue_rms[0]:.2f} {1e3 * found.catalogue_rms[1]:.2f} mas"
    )
    return end - middle, error, found


if __name__ == "__main__":
    joint()
    blind(*(int(word) for word in sys.argv[1:]))
