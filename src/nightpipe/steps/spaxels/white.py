"""White light: what all wavelengths together say of each lenslet, to find what the scene lacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.mixtures import SIGMA
from nightpipe.steps.spaxels.forced import Forced
from nightpipe.steps.spaxels.pixels import Pixels
from nightpipe.steps.spaxels.stage import Priors, Stage

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


def white_residual(
    pixels: Pixels, residual: FloatArray, use: Bools, low: float = 4500.0, high: float = 8800.0
) -> tuple[FloatArray, FloatArray]:
    """Return per lenslet (n,) the sum of `residual` (m,) over wavelengths and its error; error 0: nothing known."""
    keep = use & (pixels.wave > low) & (pixels.wave < high)
    total = np.bincount(pixels.spaxel[keep], residual[keep], pixels.count)
    error = np.sqrt(np.bincount(pixels.spaxel[keep], pixels.var[keep], pixels.count))
    seen = np.bincount(pixels.spaxel[keep], None, pixels.count)
    enough = seen > 0.5 * np.median(seen[seen > 0])
    return np.where(enough, total, 0.0), np.where(enough, error, 0.0)


def odd_lenslets(pixels: Pixels, forced: Forced, limit: float = 4.5) -> Bools:
    """Return which lenslets (n,) see more, or less, than the scene has for them."""
    total, error = white_residual(pixels, pixels.flux - forced.model, np.ones(len(pixels), dtype=bool))
    known = error > 0
    ratio = np.where(known, total / np.where(known, error, 1.0), 0.0)
    middle = float(np.median(ratio[known]))
    spread = max(1.4826 * float(np.median(np.abs(ratio[known] - middle))), 1.0)
    return np.asarray(np.abs(ratio - middle) > limit * spread)


def matched(
    total: FloatArray, error: FloatArray, east: FloatArray, north: FloatArray, fwhm: float, area: float
) -> FloatArray:
    """Return the significance (n,) of a point source at each lenslet, by weights of its own shape, nearer than 2 FWHM.

    A constant is fitted with it, so that neither sky nor a smooth galaxy make a star.
    """
    known = np.flatnonzero(error > 0)
    found = np.full(total.size, -np.inf)
    sigma = 1.1 * SIGMA * fwhm
    for k in known:
        d2 = (east[known] - east[k]) ** 2 + (north[known] - north[k]) ** 2
        near = known[d2 < (2.0 * fwhm) ** 2]
        if near.size < 0.5 * np.pi * (2.0 * fwhm) ** 2 / area:
            continue
        shape = np.exp(-0.5 * ((east[near] - east[k]) ** 2 + (north[near] - north[k]) ** 2) / sigma**2)
        weight = 1.0 / error[near] ** 2
        mean = (weight @ shape) / weight.sum()
        shape = shape - mean
        power = weight @ shape**2
        found[k] = (weight * shape) @ total[near] / np.sqrt(power)
    return found


def brightest_left(
    pixels: Pixels,
    forced: Forced,
    stage: Stage,
    theta: Priors,
    limit: float,
    within: tuple[float, float, float] | None = None,
) -> tuple[float, float] | None:
    """Return (east, north) [arcsec] of the most significant point that the scene lacks, None below `limit` sigma.

    `within` (east, north, radius) confines the search; without it, what lies within 2 FWHM of the target is none: the
    target's own shape is not known that well. A quarter of the light of known bodies is doubted.
    """
    model = forced.model - forced.parts[1]
    total, error = white_residual(pixels, pixels.flux - forced.model, np.ones(len(pixels), dtype=bool))
    light, _ = white_residual(pixels, model, np.ones(len(pixels), dtype=bool))
    error = np.where(error > 0, np.hypot(error, 0.25 * np.abs(light)), 0.0)
    fwhm = float(np.exp(theta.value[theta.at("ln_fwhm")]))
    found = matched(total, error, stage.east, stage.north, fwhm, stage.hexagon.area)
    east, north = theta.value[theta.at("east0")], theta.value[theta.at("north0")]
    away = np.hypot(stage.east - east, stage.north - north)
    allowed = away > 2.0 * fwhm
    if within is not None:
        allowed = np.hypot(stage.east - within[0], stage.north - within[1]) < within[2]
    for k in range(len(stage.galaxies)):
        name = f"east{k + 1}"
        there = theta.value[theta.at(name)], theta.value[theta.at(f"north{k + 1}")]
        allowed &= np.hypot(stage.east - there[0], stage.north - there[1]) > 1.5 * fwhm
    best = int(np.argmax(np.where(allowed, found, -np.inf)))
    if not allowed[best] or found[best] < limit:
        return None
    return float(stage.east[best]), float(stage.north[best])
