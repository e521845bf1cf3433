"""The detector of a camera: flat field with dust, dark current, bias, wells that bleed, and what a frame leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.simulate.cosmics import expected_count, tracks
from nightpipe.simulate.imaging.camera import Camera

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Chip:
    """The true detector of one night; images (ny, nx) cover the part that sees light.

    `pixels` is its own response, `optics` (vignetting and dust) that of what stands before it, `dark` [e-/s],
    `pattern` [adu] of the bias, `bad` what no reduction can use.
    """

    camera: Camera
    pixels: F32
    optics: F32
    dark: F32
    pattern: F32
    bad: NDArray[np.bool_]

    @property
    def flat(self) -> F32:
        """Return the response to an even sky."""
        return self.pixels * self.optics


def chip(camera: Camera, rng: np.random.Generator) -> Chip:
    """Return a detector as it leaves the foundry and gathers dust."""
    x0, x1, y0, y1 = camera.light
    shape = (y1 - y0, x1 - x0)
    pixels = rng.normal(1.0, camera.prnu, shape).astype(np.float32)
    pixels *= 1.0 + 0.004 * _cloud(shape, 24, rng)
    for _ in range(camera.bad_columns):
        column, row = rng.integers(0, shape[1]), rng.integers(0, shape[0] // 2)
        pixels[row:, column] *= rng.uniform(0.05, 0.6)
    dead = rng.uniform(size=shape) < (2e-3 if camera.infrared else 2e-5)
    pixels[dead] *= rng.uniform(0.0, 0.4, int(dead.sum())).astype(np.float32)
    dark = np.full(shape, camera.dark, np.float32) * rng.lognormal(0.0, 0.4, shape).astype(np.float32)
    hot = rng.uniform(size=shape) < camera.hot
    dark[hot] += (camera.dark + 0.02) * rng.lognormal(3.0, 1.2, int(hot.sum())).astype(np.float32)
    rows = rng.normal(0.0, 0.5, (shape[0], 1)) - 4.0 * np.exp(-np.arange(shape[0])[:, None] / 40.0)
    pattern = rows + 1.5 * _cloud(shape, 4, rng) + (rng.normal(0.0, 3.0, (1, shape[1])) if camera.infrared else 0.0)
    bad = (pixels < 0.7) | (dark > 100.0 * camera.dark + 5.0)
    return Chip(camera, pixels, _optics(shape, camera.dust, rng), dark, pattern.astype(np.float32), bad)


def _cloud(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> F32:
    """Return smooth noise of rms about one, with `cells` bumps across."""
    from scipy.ndimage import zoom

    coarse = rng.normal(0.0, 1.5, (cells + 3, cells + 3)).astype(np.float32)
    fine = zoom(coarse, ((shape[0] + 1) / cells, (shape[1] + 1) / cells), order=3, grid_mode=True, mode="nearest")
    return np.asarray(fine[: shape[0], : shape[1]], dtype=np.float32)


def _optics(shape: tuple[int, int], dust: int, rng: np.random.Generator) -> F32:
    """Return vignetting, and dust out of focus: rings with the shadow of the secondary in their middle."""
    y, x = np.ogrid[-1.0 : 1.0 : shape[0] * 1j, -1.0 : 1.0 : shape[1] * 1j]
    cx, cy = rng.uniform(-0.15, 0.15, 2)
    made = 1.0 - rng.uniform(0.04, 0.08) * ((x - cx) ** 2 + (y - cy) ** 2) - 0.01 * ((x + y) / 2) ** 3
    made = made.astype(np.float32)
    for _ in range(dust):
        outer = rng.choice([0.015, 0.025, 0.04]) * max(shape) / 2 * rng.uniform(0.8, 1.2)
        px, py, depth = rng.uniform(0, shape[1]), rng.uniform(0, shape[0]), rng.exponential(0.02)
        low_y, high_y = max(int(py - outer - 3), 0), min(int(py + outer + 3), shape[0])
        low_x, high_x = max(int(px - outer - 3), 0), min(int(px + outer + 3), shape[1])
        yy, xx = np.ogrid[low_y:high_y, low_x:high_x]
        r = np.hypot(yy - py, xx - px)
        ring = np.clip((outer - r) / 2.0 + 0.5, 0, 1) * np.clip((r - 0.4 * outer) / 2.0 + 0.5, 0, 1)
        made[low_y:high_y, low_x:high_x] *= 1.0 - min(depth, 0.15) * ring
    return made


def electrons(
    chip: Chip, light: F32 | None, exptime: float, rng: np.random.Generator, *, cosmics: bool, left: F32 | None = None
) -> tuple[F32, F32]:
    """Return the charge before the wells [e-], and that of cosmic rays; `light` [e-] falls on perfect pixels."""
    mean = chip.dark * np.float32(exptime)
    if light is not None:
        mean += np.maximum(light, 0.0) * chip.flat
    if left is not None:
        mean += left
    charge = poisson(mean, rng)
    cosmic = np.zeros(charge.shape, np.float32)
    if cosmics:
        size = (chip.camera.pixel, chip.camera.pixel)
        count = expected_count(0.6 if chip.camera.infrared else 1.6, charge.shape, size, exptime)
        cosmic = tracks(charge.shape, size, chip.camera.thickness, int(rng.poisson(count)), rng)
    return charge + cosmic, cosmic


def poisson(mean: F32, rng: np.random.Generator) -> F32:
    """Return photons: drawn as such below 300, above with the normal law and the skewness of Poisson's.

    The second is four times as quick, and right to 1e-3 of sigma (Cornish & Fisher 1938).
    """
    z = rng.standard_normal(mean.shape, dtype=np.float32)
    root = np.sqrt(mean)
    drawn = np.rint(mean + root * z + (z * z - 1.0) / 6.0)
    few = mean < 300.0
    share = int(few.sum())
    if share:
        drawn[few] = rng.poisson(mean[few].astype(np.float64))
    return np.asarray(np.maximum(drawn, 0.0), dtype=np.float32)


def wells(camera: Camera, charge: F32) -> tuple[F32, NDArray[np.bool_]]:
    """Return the charge as read and where wells were full: a CCD bleeds along its columns, an IR array does not."""
    full = np.float32(camera.full_well)
    over = charge > full
    if over.any() and not camera.infrared:
        charge = _bled(charge, full, over)
    lost = camera.nonlinear * np.minimum(charge / full, 1.0) ** (1 if camera.infrared else 3)
    return np.asarray(np.minimum(charge, full) * (1.0 - lost), dtype=np.float32), over | (charge >= full)


def _bled(charge: F32, full: np.float32, over: NDArray[np.bool_]) -> F32:
    """Return the charge with what exceeds a well moved along its column, half each way, to the next that have room."""
    columns = np.flatnonzero(over.any(axis=0))
    lines = charge[:, columns].astype(np.float64)
    half = np.maximum(lines - full, 0.0) / 2.0
    lines = np.minimum(lines, full)
    for rows in (range(len(lines)), range(len(lines) - 1, -1, -1)):
        carried = np.zeros(len(columns))
        for row in rows:
            taken = np.minimum(carried, full - lines[row])
            lines[row] += taken
            carried += half[row] - taken
    spilt = charge.copy()
    spilt[:, columns] = lines
    return spilt


def digitised(chip: Chip, charge: F32, rise: float, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Return the array as read [adu], overscan and all."""
    camera = chip.camera
    x0, x1, y0, y1 = camera.light
    raw = rng.standard_normal(camera.shape, dtype=np.float32) * np.float32(camera.noise / camera.gain)
    raw += camera.pedestal + rise
    raw[y0:y1, x0:x1] += charge / np.float32(camera.gain) + chip.pattern
    return np.clip(np.rint(raw), 0, camera.ceiling).astype(np.uint32)
