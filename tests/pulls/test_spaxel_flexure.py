"""Pulls of the flexure of lenslet spectra: simulated exposures of sky against where flexure put them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from builders.lenslets import frame, geometry, lenslets, light, shot, wavelengths
from builders.pulls import bounds, told
from nightpipe.io.references import find_standard, sky_lines
from nightpipe.simulate.ifu.schedule import Shot
from nightpipe.steps.spaxels.flexure import FlexSpaxels

pytestmark = pytest.mark.pulls

SEEDS = {"sky": range(1, 15), "standard": range(1, 15)}
STARS = ("BD+28 4211", "BD+33 2642", "Feige 34", "BD+75 325", "Feige 110")


def exposed(kind: str, seed: int) -> tuple[Shot, dict[str, Any]]:
    """Return an exposure and the simulator's options: a dark or moonlit sky alone, or with a bright star."""
    rng = np.random.default_rng(seed + 100)
    dx, dy, turn = np.clip(rng.normal((0.0, -0.5, 0.0), (0.35, 0.35, 1.5e-5)), (-1, -1.4, -1), (1, 0.4, 1))
    if kind == "sky":
        exposure = shot(flexure=(dx, dy, turn), exptime=float(rng.choice([300.0, 900.0, 1800.0])))
        return exposure, {"target": "blank", "moon": float(rng.choice([0.0, 0.5, 1.0]))}
    star = find_standard(STARS[seed % len(STARS)])
    assert star is not None
    seconds = 240.0 if "BD" in star.name else 300.0
    seeing, offset = float(1.7 * rng.lognormal(0, 0.18)), tuple(rng.normal(0, 1, 2))
    exposure = shot(
        "standard", seconds, flexure=(dx, dy, turn), standard=star, name=star.name, number=seed, seeing=seeing,
        offset=offset,
    )  # fmt: skip
    return exposure, {"moon": float(rng.choice([0.0, 0.0, 0.5, 1.0]))}


@cache
def drawn(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return errors (seeds, 3) of dx, dy and turn, and the errors that the step gives them."""
    base, found = lenslets(), []
    for seed in SEEDS[kind]:
        exposure, options = exposed(kind, seed)
        dx, dy, turn = exposure.flexure
        seen = frame(light(exposure, seed, **options), seed, grain=0.008)
        one = FlexSpaxels().run(seen, geometry(base), wavelengths(base), sky_lines())
        assert one.accepted
        (x, ex), (y, ey), (angle, ea) = one.told()
        error = np.array([x + dx, y - dy, angle + turn])  # columns run the other way on the oriented frame
        found.append((error, np.array([ex, ey, ea])))
    return np.array([error for error, _ in found]), np.array([sigma for _, sigma in found])


@pytest.mark.parametrize("kind", SEEDS)
def test_flexure_is_found_within_three_hundredths_of_a_pixel(kind):
    error, _ = drawn(kind)
    assert np.sqrt(np.mean(error[:, 0] ** 2)) < 0.02
    assert np.abs(error[:, 0]).max() < 0.045
    assert np.abs(error[:, 1]).max() < 0.01
    assert np.abs(error[:, 2]).max() < 2e-5


@pytest.mark.parametrize(
    "kind",
    [
        "sky",
        pytest.param(
            "standard",
            marks=pytest.mark.xfail(
                reason="one of fourteen is off by 0.038 pixel: an unlisted line beside [O I] 5577", strict=True
            ),
        ),
    ],
)
def test_so_it_is_in_every_single_exposure(kind):
    error, _ = drawn(kind)
    assert np.abs(error[:, 0]).max() < 0.03


@pytest.mark.parametrize(("kind", "axis"), [("sky", 0), ("sky", 1), ("sky", 2), ("standard", 0), ("standard", 1)])
def test_its_errors_are_honest(kind, axis):
    """The turn with a star is left out: the simulator's flexure turns the lattice and not the spectra themselves, which
    are a star's light at a thousandth of a pixel.
    """
    error, sigma = drawn(kind)
    pulls = error[:, axis] / sigma[:, axis]
    mean, spread = bounds(pulls.size)
    assert abs(pulls.mean()) < mean, told("flexure", pulls)
    assert abs(np.sqrt(np.mean(pulls**2)) - 1.0) < spread, told("flexure", pulls)
