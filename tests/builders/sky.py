"""Night-sky frames with a known shift field: airglow lines, a continuum, an object, noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nightpipe.io.references import sky_lines
from nightpipe.maths.lines import gaussian_shape
from nightpipe.maths.poly import Poly1, Poly2
from nightpipe.model.frame import Frame
from nightpipe.model.wave import LineTable, WaveSolution

F64 = NDArray[np.float64]
FWHM = 2.3
DISPERSION = 7.0


def scale(shape: tuple[int, int], centre: float = 6900.0, error: float = 0.05) -> WaveSolution:
    """Return a linear scale of 7 Angstrom per pixel, tilted by half a pixel, known to `error` Angstrom."""
    ny, nx = shape
    domain_x, domain_y = (0.0, nx - 1.0), (0.0, ny - 1.0)
    coef = np.array([[centre, 1.75], [0.5 * (nx - 1) * DISPERSION, 0.0]])
    cov = np.zeros((4, 4))
    cov[0, 0] = error**2
    empty = np.zeros(0)
    table = LineTable(empty, empty, empty, (), empty, empty.astype(bool), empty)
    poly, fwhm = Poly2(coef, domain_x, domain_y, cov), Poly1(np.array([FWHM]), domain_x)
    return WaveSolution(poly, shape, table, fwhm, ny / 2, 1, 1,
                        0.0, 0.0, 0.0, (4000.0, 9500.0), 1.0, (), "test")  # fmt: skip


def night(
    wave: WaveSolution,
    shift: Callable[[F64, F64], F64],
    rng: np.random.Generator,
    *,
    brightness: float = 60.0,
    ratios: float = 0.2,
    star: float = 0.0,
) -> Frame:
    """Return a sky frame [electron] whose lines lie `shift(x, y)` pixels to the right of where `wave` puts them.

    `brightness` scales the airglow, whose lines are wrong by the share `ratios` (one factor a line); `star` is the
    height of an object's continuum.
    """
    ny, nx = wave.shape
    lines = sky_lines()
    strength = brightness * lines.intensity * np.exp(rng.normal(0, ratios, len(lines.wave)))
    x = np.arange(nx, dtype=float)
    line = gaussian_shape(FWHM, (0.0, nx - 1.0))
    image = np.full(wave.shape, 150.0)
    for y in range(ny):
        place = np.interp(lines.wave, wave.poly(x, y), x, left=-99.0, right=-99.0)
        seen = place > 0
        place = place[seen] + shift(place[seen], np.full(seen.sum(), float(y)))
        at = place.astype(int)[:, None] + np.arange(-8, 10)
        light = strength[seen][:, None] * line(at - place[:, None], place[:, None])
        inside = (at >= 0) & (at < nx)
        image[y] += np.bincount(at[inside], light[inside], nx)
    image += star * np.exp(-0.5 * ((np.arange(ny)[:, None] - 0.6 * ny) / 3.0) ** 2)
    data = rng.poisson(image) + rng.normal(0, 5, wave.shape)
    return Frame(data.astype("f4"), (image + 25).astype("f4"), np.zeros(wave.shape, dtype="u4"), "electron")
