"""The light of a blurred source in hexagons: sums of Gaussians, integrated by seven points or by their variance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nightpipe.kernels.arrays import F64, float64
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.threads import each_strip

_STRIP = 8192
_WIDE = 7.0
"""Gaussians whose variance exceeds the hexagon's so many squared times are widened by it instead: good to 2e-4."""
_FAR = 60.0
_LEAST = 0.01


def light_in_hexagons(
    offset: F64, fwhm: F64, star: F64, blur: F64, body: F64, nodes: F64, weights: F64, area: float, variance: float
) -> F64:
    """Return the share of a source's light in each of n hexagons, whose middles lie `offset` (n, 2) from it.

    `fwhm` (n,) is the seeing at each; `star` (k, 2) weights and widths [fwhm] of a star's Gaussians; `blur` (3,) the
    covariance (xx, yy, xy) of the guiding; `body` (m, 4) weights and covariances of the source's own Gaussians, one row
    (1, 0, 0, 0) for a star. `nodes` (7, 2) and `weights` (7,) integrate over a hexagon of `area`, whose mean square
    extent is `variance`.
    """
    found = np.zeros(len(offset))
    _filled(found, _hexlight, offset, fwhm, star, blur, body, np.column_stack([nodes, weights]), area, variance)
    return found


def _filled(
    found: F64, per_lenslet: Callable[..., None], offset: F64, fwhm: F64, star: F64, blur: F64, body: F64, rule: F64,
    area: float, variance: float,
) -> None:  # fmt: skip
    """Fill `found` (n, ...) by a kernel that goes through the lenslets, in strips."""
    place, size = float64(offset), float64(fwhm)
    rest = float64(star), float64(blur), float64(body), float64(rule), np.array([area, variance])

    def work(start: int, stop: int) -> None:
        per_lenslet(place[start:stop], size[start:stop], *rest, found[start:stop])

    each_strip(work, len(place), _STRIP)


@helper
def _shape(core: float, blur: F64, own: F64, extent: float) -> tuple[float, float, float, bool]:
    """Return the covariance xx, yy, xy of one Gaussian as it is seen, and whether the hexagon only widens it."""
    xx = max(core + blur[0] + own[1], _LEAST)  # a fit may try a blur that is none
    yy = max(core + blur[1] + own[2], _LEAST)
    most = 0.95 * np.sqrt(xx * yy)
    xy = min(max(blur[2] + own[3], -most), most)
    wide = xx * yy - xy * xy > (_WIDE * _WIDE * extent) ** 2
    if wide:
        xx, yy = xx + extent, yy + extent
    return xx, yy, xy, wide


@kernel
def _hexlight(place: F64, size: F64, star: F64, blur: F64, body: F64, rule: F64, facts: F64, found: F64) -> None:
    area, extent = facts[0], facts[1]
    for e in range(place.shape[0]):
        total = 0.0
        for k in range(star.shape[0]):
            core = (star[k, 1] * size[e]) ** 2
            for m in range(body.shape[0]):
                xx, yy, xy, wide = _shape(core, blur, body[m], extent)
                det = xx * yy - xy * xy
                front = star[k, 0] * body[m, 0] / (2.0 * np.pi * np.sqrt(det))
                last = 1 if wide else rule.shape[0]
                part = 0.0
                for j in range(last):
                    x, y = place[e, 0] + rule[j, 0], place[e, 1] + rule[j, 1]
                    distance = (yy * x * x - 2.0 * xy * x * y + xx * y * y) / det
                    if distance < _FAR:
                        part += (1.0 if wide else rule[j, 2]) * np.exp(-0.5 * distance)
                total += front * part
        found[e] = area * total


def slopes_in_hexagons(
    offset: F64, fwhm: F64, star: F64, blur: F64, body: F64, nodes: F64, weights: F64, area: float, variance: float
) -> F64:
    """Return how that share changes (n, 6): per unit of the offset in x and y, of ln(fwhm), of the blur xx, yy, xy."""
    found = np.zeros((len(offset), 6))
    _filled(found, _hexslopes, offset, fwhm, star, blur, body, np.column_stack([nodes, weights]), area, variance)
    return found


@kernel
def _hexslopes(place: F64, size: F64, star: F64, blur: F64, body: F64, rule: F64, facts: F64, found: F64) -> None:
    area, extent = facts[0], facts[1]
    for e in range(place.shape[0]):
        dx, dy, ds, dxx, dyy, dxy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(star.shape[0]):
            core = (star[k, 1] * size[e]) ** 2
            for m in range(body.shape[0]):
                xx, yy, xy, wide = _shape(core, blur, body[m], extent)
                det = xx * yy - xy * xy
                front = star[k, 0] * body[m, 0] / (2.0 * np.pi * np.sqrt(det))
                ixx, iyy, ixy = yy / det, xx / det, -xy / det
                for j in range(1 if wide else rule.shape[0]):
                    x, y = place[e, 0] + rule[j, 0], place[e, 1] + rule[j, 1]
                    u, v = ixx * x + ixy * y, ixy * x + iyy * y
                    distance = u * x + v * y
                    if distance < _FAR:
                        part = front * (1.0 if wide else rule[j, 2]) * np.exp(-0.5 * distance)
                        axx, ayy = 0.5 * part * (u * u - ixx), 0.5 * part * (v * v - iyy)
                        dx -= part * u
                        dy -= part * v
                        ds += 2.0 * core * (axx + ayy)
                        dxx += axx
                        dyy += ayy
                        dxy += part * (u * v - ixy)
        found[e, 0], found[e, 1], found[e, 2] = area * dx, area * dy, area * ds
        found[e, 3], found[e, 4], found[e, 5] = area * dxx, area * dyy, area * dxy


def light_plain(offset: F64, fwhm: F64, star: F64, blur: F64, body: F64, nodes: F64, weights: F64, area: float) -> F64:
    """Return the same in plain numpy, by the seven points throughout."""
    x, y = offset[:, 0, None] + nodes[:, 0], offset[:, 1, None] + nodes[:, 1]
    total = np.zeros(len(offset))
    for share, width in star:
        for own, *spread in body:
            xx, yy, xy = ((width * fwhm) ** 2 * (1 - cross) + blur[i] + spread[i] for i, cross in enumerate((0, 0, 1)))
            det = xx * yy - xy * xy
            distance = (yy[:, None] * x * x - 2 * xy[:, None] * x * y + xx[:, None] * y * y) / det[:, None]
            total += share * own / (2 * np.pi * np.sqrt(det)) * (np.exp(-0.5 * distance) @ weights)
    return np.asarray(area * total)


def rehearse() -> None:
    """Compile the kernels on next to nothing."""
    one = np.ones((1, 2))
    for either in (light_in_hexagons, slopes_in_hexagons):
        either(one, np.ones(1), one, np.zeros(3), np.array([[1.0, 0, 0, 0]]), one, np.ones(1), 1.0, 0.1)
