"""How far the spectra of one exposure lie off their rows: from the light of all of them, in tiles of the detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.spaxels import drawn, fluxes, layout
from nightpipe.maths.skyfield import Points
from nightpipe.model.frame import Frame
from nightpipe.model.spaxels import SpaxelSet
from nightpipe.model.warp import Warp
from nightpipe.steps.spaxels.deblend import Deblend, Rules

FloatArray = NDArray[np.float64]
TILES = 4
THIN = 8
"""One column in so many is enough: there are a hundred thousand cuts through spectra all the same."""
SEEN = 10.0
"""Significance of a tile's light below which it tells nothing: noise has a best place, too."""
HALF = 0.25
FINE = 0.1
NOTHING = Points(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.intp), np.full(1, 1e-6))


def coarse_rows(frame: Frame, spaxels: SpaxelSet, most: float) -> float:
    """Return the shift along y [pixel], within `most`, at which the spectra collect most light.

    All spectra together make one profile, finely sampled since each lies differently on its pixels.
    """
    k = np.flatnonzero(spaxels.state != 2)
    column = np.rint(spaxels.x[k][:, None] + np.linspace(-0.3, 0.3, 25) * 290.0).astype(int)
    row = np.stack([spaxels.row(k, column[:, j]) for j in range(column.shape[1])], axis=1)
    step = np.arange(-7, 8)[:, None, None]
    y = np.rint(row).astype(int) + step
    ny, nx = frame.shape
    inside = (y >= 0) & (y < ny) & (column >= 0) & (column < nx)
    at = np.clip(y, 0, ny - 1), np.broadcast_to(np.clip(column, 0, nx - 1), y.shape)
    use = inside & frame.good[at]
    off, light = (y - row)[use], frame.data[at][use]
    light = np.clip(light, *np.percentile(light, [1.0, 99.0])) if light.size else light
    edges = np.arange(-most - 2.0, most + 2.0 + FINE, FINE)
    count = np.maximum(np.histogram(off, edges)[0], 1)
    mean = np.histogram(off, edges, weights=light)[0] / count
    trial = np.arange(-most, most + FINE / 2, FINE)
    middle = 0.5 * (edges[1:] + edges[:-1])
    sigma = float(np.median(spaxels.sigma[:, 0]))
    score = [np.sum((mean - mean.mean()) * np.exp(-0.5 * ((middle - t) / sigma) ** 2)) for t in trial]
    return float(trial[int(np.argmax(score))]) if light.size else 0.0


def row_shifts(frame: Frame, spaxels: SpaxelSet, grain: float, start: float, floor: float) -> Points:
    """Return the shifts along y of the spectra in tiles of the detector, from the rows of `spaxels` on.

    The change of the frame with the shift of its spectra is fitted to what the extraction leaves over, fluxes free
    (Gauss-Newton, thrice). `floor` [pixel] joins each tile's error.
    """
    shift, found = start, NOTHING
    for _ in range(3):
        found = _tiles(frame, spaxels.warped(Warp.rigid(spaxels.shape, dy=shift)), grain)
        weight = 1.0 / found.error**2
        move = float(np.sum(weight * found.shift) / max(np.sum(weight), 1e-30))
        found = Points(found.x, found.y, found.shift + shift, np.hypot(found.error, floor), found.line, found.doubt)
        shift += float(np.clip(move, -0.5, 0.5))
        if abs(move) < 0.01:
            break
    return found


def leans(points: Points, spaxels: SpaxelSet, size: tuple[int, int]) -> FloatArray:
    """Return the mean slope of the spectra about each of the points, tiles of a frame of `size` (ny, nx)."""
    row = spaxels.row(np.arange(len(spaxels)), spaxels.x)
    half = np.array([size[1], size[0]]) / TILES / 2.0
    near = (np.abs(spaxels.x - points.x[:, None]) < half[0]) & (np.abs(row - points.y[:, None]) < half[1])
    slope = spaxels.centre[:, 1] if spaxels.centre.shape[1] > 1 else np.zeros(len(spaxels))
    return np.asarray(np.sum(near * slope, axis=1) / np.maximum(near.sum(axis=1), 1))


def _tiles(frame: Frame, spaxels: SpaxelSet, grain: float) -> Points:
    work = Deblend(frame, spaxels, Rules(spacing=100.0, grain=grain, rounds=3, every=THIN))
    now = work.solve()
    at, ny = work.places, work.data.shape[1]
    flux = np.where(now.found.var > 0, now.found.flux, 0.0)
    up, down = (
        drawn(flux, layout(at.column // THIN, at.row + h, spaxels.width(at.lenslet, at.column), spaxels.offset,
                           spaxels.below, work.data.shape[0]), ny)
        for h in (HALF, -HALF)
    )  # fmt: skip
    change = (up - down) / (2 * HALF)
    change -= drawn(fluxes(change, now.weight, np.zeros_like(change), work.layout).flux, work.layout, ny)
    left = work.data - work.model(now)
    tile = _tile(work.data.shape)
    number = tile[at.column // THIN, np.clip(np.rint(at.row), 0, ny - 1).astype(int)]
    light, noise = (np.bincount(number, weights=part, minlength=TILES**2) for part in (flux, now.found.var))
    told = now.weight * change**2
    columns, heights = np.arange(told.shape[0])[:, None] * THIN, np.arange(told.shape[1])
    top, square, far, high, chi2, count = (
        np.bincount(tile.ravel(), weights=part.ravel(), minlength=TILES**2)
        for part in (
            now.weight * change * left, told, told * columns, told * heights, now.weight * left**2, now.weight > 0,
        )
    )  # fmt: skip
    held = (square > 0) & (light > SEEN * np.sqrt(np.maximum(noise, 1e-30)))
    scale = np.sqrt(np.maximum(chi2 / np.maximum(count, 1), 1.0))[held]
    x, y = far[held] / square[held], high[held] / square[held]  # where the light is: a star's is not in the middle
    none = np.zeros(int(held.sum()), dtype=np.intp)
    return Points(x, y, top[held] / square[held], scale / np.sqrt(square[held]), none, NOTHING.doubt)


def _tile(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the number of the tile of each pixel of a transposed image."""
    x, y = (np.arange(n) * TILES // n for n in shape)
    return np.asarray(x[:, None] * TILES + y)
