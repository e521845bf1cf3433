"""The point-spread function of an image, from its own stars, varying over the field."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.psfgrid import Builder, Sky, guess, oversampling_of
from nightpipe.maths.psfwings import Wings, growth_of, measure_wings, normalised
from nightpipe.model.frame import Frame
from nightpipe.model.sources import Psf, Sources
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.detect import BLENDED, EDGE, EXTENDED, MASKED, SATURATED
from nightpipe.steps.imaging.picture import Picture, picture

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
WORST = BLENDED | EDGE | SATURATED | EXTENDED | MASKED


class ModelPsf(Step):
    """Model the point-spread function on an oversampled grid that varies over the field, and its wings to infinity."""

    version: ClassVar[int] = 2
    degree: int = parameter(2, "highest power of the variation over the field, if there are stars for it", ge=0, le=3)
    stars: int = parameter(200, "most stars to use, the brightest", ge=3)
    signal: float = parameter(40.0, "least signal over noise of a star used", unit="sigma", gt=5)
    reach: float = parameter(4.0, "how far the grid reaches, in FWHM", ge=2, le=8)
    wings: float = parameter(9.0, "how far out the wings are measured, in FWHM", ge=4, le=20)
    turns: int = parameter(5, "how often the grid is improved", ge=1, le=20)
    box: int = parameter(128, "mesh of the background: a finer one takes wings away", unit="pixel", ge=8)

    def run(self, frame: Frame | Stack, sources: Sources) -> Psf:
        """Return the PSF.

        The effective PSF of Anderson & King 2000 (PASP 112, 1360), each node a polynomial in the place; a star whose
        fit is much worse than the others' is dropped. The wings beyond the grid follow what bright stars show, then a
        power law; the sum over infinity is one at every place.

        Raises
        ------
        NoSolutionError
            Fewer than three stars are bright, whole and alone.
        """
        seen = picture(frame, self.box)
        chosen, told = choose(sources, self.stars, self.signal)
        build = self._builder(seen, sources, chosen)
        for turn in range(self.turns):
            rest = build.fit()
            if turn in (1, 3) and len(build.stars) > 6:
                build.drop(build.chi < 2.5 * np.median(build.chi) + 0.5)
                rest = build.fit(1)
            build.improve(rest, 0.1 if turn == 0 else 0.02)
        build.centred()
        wings = measure_wings(build, min(self.wings * build.fwhm, 0.25 * min(seen.data.shape)))
        build.basis = normalised(build, wings)
        build.fit()
        return self._told(build, wings, seen, told)

    def _builder(self, seen: Picture, sources: Sources, chosen: NDArray[np.int64]) -> Builder:
        columns = sources.columns
        fwhm = float(np.median(columns["fwhm"][chosen]))
        over, half = oversampling_of(fwhm), int(np.ceil(max(self.reach * fwhm, 5)))
        shape = np.median(columns["ellipticity"][chosen]), _mean_angle(columns["theta"][chosen])
        degree = min(self.degree, degree_for(len(chosen)))
        first = guess(fwhm, float(shape[0]), shape[1], half, over)
        basis = np.zeros(((degree + 1) * (degree + 2) // 2, *first.shape))
        basis[0] = first
        others = np.setdiff1d(np.arange(len(sources)), chosen)
        bad = seen.bad | around(sources.x[others], sources.y[others], 1.7 * fwhm, seen.data.shape)
        stars = np.column_stack([sources.flux * seen.time, sources.x, sources.y])[chosen]
        sky = Sky(seen.data, seen.var, seen.slope, bad)
        return Builder(sky, basis, over, degree, fwhm, np.ascontiguousarray(stars), np.ones(len(chosen)))

    def _told(self, build: Builder, wings: Wings, seen: Picture, told: tuple[Caveat, ...]) -> Psf:
        ny, nx = seen.data.shape
        chi = float(np.median(build.chi))
        grid = build.grid
        growth = growth_of(grid, wings, ((nx - 1) / 2, (ny - 1) / 2), build.half)
        fwhm, ellipticity, theta = form_of(build)
        found = Psf(
            build.basis.astype(np.float32), build.over, build.degree, (ny, nx), fwhm, ellipticity, theta, growth,
            len(build.stars), chi, told,
        )  # fmt: skip
        if chi > 3:
            text = f"the PSF does not describe the stars well: their reduced chi is {chi:.1f}"
            found = replace(found, caveats=merged(told, (Caveat("psf.poor", text),)))
        return found


def choose(sources: Sources, most: int, signal: float) -> tuple[NDArray[np.int64], tuple[Caveat, ...]]:
    """Return the indices of stars to build on, bright, whole and alone; a lower bar where there are too few."""
    if not len(sources):
        raise NoSolutionError("stars to build the PSF on", "an image without sources", "see the caveats of Detect")
    star, ratio = sources.columns["star"] > 0, sources.flux / np.maximum(sources.flux_error, 1e-30)
    size = sources.columns["fwhm"]
    for bar, lone in ((signal, True), (signal / 2, True), (15.0, False), (7.0, False)):
        good = star & ((sources.quality & WORST) == 0) & (ratio > bar)
        width = float(np.median(size[good])) if good.any() else 3.0
        index = np.flatnonzero(good)
        if lone and len(index):
            index = index[alone(sources, index, 2.5 * width)]
        if len(index) >= 8 or (bar == 7.0 and len(index) >= 3):
            index = index[np.argsort(-sources.flux[index], kind="stable")][:most]
            return index, _few(len(index), bar, signal)
    raise NoSolutionError(
        "at least three bright stars that are whole and alone", f"{len(index)}", "measure in apertures instead"
    )


def _few(n: int, bar: float, signal: float) -> tuple[Caveat, ...]:
    if bar == signal and n >= 8:
        return ()
    return (Caveat("psf.few", f"the PSF rests on {n} stars, some as faint as {bar:.0f} sigma"),)


def degree_for(n: int) -> int:
    """Return the power of the variation over the field that `n` stars can bear."""
    return 0 if n < 6 else 1 if n < 12 else 2 if n < 150 else 3


def alone(sources: Sources, index: NDArray[np.int64], radius: float, share: float = 0.05) -> Bools:
    """Return which sources have no neighbour within `radius` [pixel] brighter than `share` of their own flux."""
    from scipy.spatial import cKDTree

    places = np.column_stack([sources.x, sources.y])
    near = list(cKDTree(places).query_ball_point(places[index], radius))
    flux = sources.flux
    return np.array([np.count_nonzero(flux[n] > share * flux[k]) <= 1 for k, n in zip(index, near, strict=True)])


def around(x: FloatArray, y: FloatArray, radius: float, shape: tuple[int, ...]) -> Bools:
    """Return the pixels of an image (ny, nx) within `radius` [pixel] of any place."""
    image = np.zeros(shape, np.bool_)
    cx, cy = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    half = int(radius)
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            if dx * dx + dy * dy <= radius * radius:
                image[np.clip(cy + dy, 0, shape[0] - 1), np.clip(cx + dx, 0, shape[1] - 1)] = True
    return image


def form_of(build: Builder) -> tuple[float, float, float]:
    """Return FWHM [pixel], ellipticity and angle [deg] of the PSF at the centre, from the contour at half maximum."""
    from nightpipe.kernels.psf import values

    ny, nx = build.sky.data.shape
    axis = np.arange(-2.5 * build.fwhm, 2.5 * build.fwhm + 0.05, 0.05)
    dy, dx = np.meshgrid(axis, axis, indexing="ij")
    plane = values(build.grid, (nx - 1) / 2, (ny - 1) / 2, dx, dy)
    above = plane > 0.5 * plane.max()
    x, y = dx[above] - dx[above].mean(), dy[above] - dy[above].mean()
    (a, b), angle = _ellipse(np.mean(x * x), np.mean(x * y), np.mean(y * y))
    return 2 * float(np.sqrt(np.count_nonzero(above) / np.pi)) * 0.05, 1 - b / a, angle


def _ellipse(xx: float, xy: float, yy: float) -> tuple[tuple[float, float], float]:
    half, split = 0.5 * (xx + yy), float(np.hypot(0.5 * (xx - yy), xy))
    angle = 0.5 * float(np.degrees(np.arctan2(2 * xy, xx - yy)))
    return (float(np.sqrt(half + split)), float(np.sqrt(max(half - split, 0)))), angle


def _mean_angle(theta: FloatArray) -> float:
    """Return the mean of angles [deg] that are the same modulo 180."""
    return float(0.5 * np.degrees(np.angle(np.mean(np.exp(2j * np.radians(theta))))))
