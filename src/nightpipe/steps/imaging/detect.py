"""Sources of an image: where they are, how large, and what stands in their way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.moments import Moments, adaptive
from nightpipe.maths import extract
from nightpipe.maths.strips import by_strips
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.sources import NO_SOURCES, Sources
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.picture import Picture, picture

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
SIGMA = 2.3548200450309493
"""Full width at half maximum of a Gaussian over its standard deviation."""

NARROW = 0.7
"""The filter's width over the stars': 6 per cent of the significance are given for neighbours that stay apart."""

BLENDED, EDGE, SATURATED, EXTENDED, MASKED = 1, 2, 4, 8, 16
"""The bits of `Sources.quality`."""


class Detect(Step):
    """Find sources in an image with a matched filter, and measure positions, shapes and total fluxes in apertures."""

    threshold: float = parameter(4.5, "least significance of a source in the filtered image", unit="sigma", gt=1)
    box: int = parameter(64, "mesh of the background", unit="pixel", ge=8)
    fwhm: float = parameter(0.0, "size of stars to search for; 0: measured", unit="pixel", ge=0)
    area: int = parameter(3, "fewest touching pixels above the threshold", unit="pixel", ge=1)
    contrast: float = parameter(0.0005, "least share of the light that a deblended source has", gt=0, le=1)
    levels: int = parameter(32, "levels of deblending", ge=1)
    aperture: float = parameter(1.0, "radius of the aperture, in FWHM of the stars", gt=0)
    wide: float = parameter(4.0, "radius that holds all light, in FWHM", gt=1)
    extended: float = parameter(0.15, "excess of size over the stars' that makes a source extended", gt=0)
    trail: float = parameter(0.3, "median ellipticity of stars above which the image is trailed", gt=0, lt=1)

    def run(self, frame: Frame | Stack) -> Sources:
        """Return the sources, the brightest first; no sources is a caveat, not an error.

        Detection runs on data over noise, filtered with a Gaussian of the stars' size (Bertin & Arnouts 1996; the
        filter that is best for stars, Irwin 1985, MNRAS 214, 575). Positions and shapes are moments under a window
        matched to each source. `flux` is that in the aperture, corrected to `wide` by bright stars.

        Raises
        ------
        BadFrameError
            More pixels stand out than any field has: the sky was left in, or the noise is wrong.
        """
        seen = picture(frame, self.box)
        found, size = self.found(seen)
        if not len(found):
            return nothing("no source stands out of the noise")
        shapes = adaptive(seen.data, seen.var, seen.bad, found.x, found.y, (size or 2.5) / SIGMA, slope=seen.slope)
        return self._measured(frame, seen, found, shapes)

    def found(self, seen: Picture, *, segments: bool = False) -> tuple[extract.Found, float]:
        """Return what stands out of the noise, with its pixels if asked, and the stars' FWHM [pixel], 0: not known."""
        scale = np.float32(1 / max(1.0, np.sqrt(seen.covariance)))
        (ratio,) = by_strips(lambda data, var: (data / np.sqrt(var) * scale,), seen.data, seen.var)
        ratio[seen.blind] = 0
        size = self.fwhm or first_size(seen, ratio)
        found = extract.find(
            ratio, seen.blind, self.threshold, extract.matched(NARROW * (size or 2.5)), area=self.area,
            levels=self.levels, contrast=self.contrast, segments=segments,
        )  # fmt: skip
        return found, size

    def _measured(self, frame: Frame | Stack, seen: Picture, found: extract.Found, shapes: Moments) -> Sources:
        fwhm, ellipticity, theta = shape_of(shapes)
        core = bits_around(seen.mask, shapes.x, shapes.y, 0.6 * float(np.median(fwhm)))
        quality = self._quality(seen, found, shapes, core)
        star, width, caveats = stars_of(fwhm, shapes, quality)
        quality |= np.where(self._extended(shapes, width), EXTENDED, 0).astype(np.int32)
        radius = self.aperture * width
        var = seen.variance()
        flux, flux_var = extract.circles(seen.data, var, seen.bad, shapes.x, shapes.y, radius)
        pure = star & (quality == 0)
        growth, more = growth_of(seen, (shapes.x, shapes.y, flux), pure, self.aperture, self.wide, width)
        scale = growth / seen.time
        error = scale * np.sqrt(np.maximum(flux_var, 0) * seen.covariance)
        order = np.argsort(-flux, kind="stable")
        columns = {
            "aperture_flux": flux * scale, "aperture_error": error, "fwhm": fwhm,
            "fwhm_error": 0.5 * fwhm * shapes.size_error / (shapes.xx + shapes.yy),
            "ellipticity": ellipticity, "theta": theta, "peak": peaks(seen, shapes.x, shapes.y),
            "background": sampled(seen.sky, shapes.x, shapes.y), "a": found.a, "b": found.b,
            "angle": found.theta, "area": found.area, "star": star.astype(np.float64),
        }  # fmt: skip
        caveats += more + self._judged(frame, seen, quality, ellipticity[star], theta[star])
        return Sources(
            shapes.x[order], shapes.y[order], shapes.x_error[order], shapes.y_error[order], (flux * scale)[order],
            error[order], core[order], quality[order], {name: value[order] for name, value in columns.items()}, caveats,
        )  # fmt: skip

    def _quality(
        self, seen: Picture, found: extract.Found, shapes: Moments, core: NDArray[np.uint32]
    ) -> NDArray[np.int32]:
        ny, nx = seen.data.shape
        reach = np.sqrt(np.maximum(shapes.xx, shapes.yy)) * 2
        edge = (np.minimum(shapes.x, nx - 1 - shapes.x) < reach) | (np.minimum(shapes.y, ny - 1 - shapes.y) < reach)
        saturated = (core & np.uint32(Flag.SATURATED)) != 0
        masked = bits_around(seen.bad.astype(np.uint32), shapes.x, shapes.y, float(np.median(reach))) != 0
        bits = np.where((found.bits & extract.MERGED) != 0, BLENDED, 0)
        bits |= np.where(edge | ((found.bits & extract.TRUNCATED) != 0), EDGE, 0)
        bits |= np.where(saturated, SATURATED, 0) | np.where(masked, MASKED, 0)
        return bits.astype(np.int32)

    def _extended(self, shapes: Moments, width: float) -> Bools:
        size = shapes.xx + shapes.yy
        star = 2 * (width / SIGMA) ** 2
        return np.asarray(shapes.ok & (size - star > (2.0 * self.extended) * star + 3.0 * shapes.size_error))

    def _judged(
        self,
        frame: Frame | Stack,
        seen: Picture,
        quality: NDArray[np.int32],
        ellipticity: FloatArray,
        theta: FloatArray,
    ) -> tuple[Caveat, ...]:
        told = []
        if ((quality & SATURATED) != 0).all():
            told.append(Caveat("detect.saturated", "all sources are saturated"))
        if len(ellipticity) >= 5 and np.median(ellipticity) > self.trail and _aligned(theta) > 0.6:
            text = f"stars are trailed: median ellipticity {np.median(ellipticity):.2f}, all along one direction"
            told.append(Caveat("detect.trailed", text))
        if isinstance(frame, Frame) and not 0.75 < seen.scatter < 1.35:
            text = f"blank sky scatters {seen.scatter:.2f} times as much as the variance says"
            told.append(Caveat("detect.noise", text))
        return tuple(told)


def growth_of(
    seen: Picture, stars: tuple[FloatArray, FloatArray, FloatArray], pure: Bools, aperture: float, wide: float,
    width: float,
) -> tuple[float, tuple[Caveat, ...]]:  # fmt: skip
    """Return total light over that in the aperture: the median of bright stars without neighbours.

    `stars` are x, y and the sum in the aperture, (n,) each, `pure` the ones that may tell; `aperture` and `wide`, the
    radius that holds all light, are in units of `width`, the FWHM [pixel].
    """
    x, y, flux = stars
    bright = np.flatnonzero(pure & (flux > 0))
    bright = bright[np.argsort(-flux[bright])][: max(10, min(len(bright) // 5, 200))]
    bright = bright[isolated(x, y, flux, bright, wide * width)]
    if len(bright) < 3:
        nominal = 1.0 / (1.0 - (1.0 + (2 * aperture) ** 2 * (2**0.4 - 1)) ** -1.5)
        text = f"only {len(bright)} bright lone stars: the aperture's share of the light is that of a nominal star"
        return nominal, (Caveat("detect.growth", text),)
    total, _ = extract.circles(seen.data, seen.var, seen.bad, x[bright], y[bright], wide * width)
    return float(np.clip(np.median(total / flux[bright]), 1.0, 3.0)), ()


def nothing(why: str) -> Sources:
    """Return no sources, and the caveat that says why."""
    none = NO_SOURCES
    names = ("aperture_flux", "aperture_error", "fwhm", "fwhm_error", "ellipticity", "theta", "peak", "background",
             "a", "b", "angle", "area", "star")  # fmt: skip
    columns = dict.fromkeys(names, none)
    empty = np.zeros(0, np.uint32), np.zeros(0, np.int32)
    return Sources(none, none, none, none, none, none, *empty, columns, (Caveat("detect.none", why),))


def first_size(seen: Picture, ratio: NDArray[np.float32], side: int = 1024) -> float:
    """Return the FWHM [pixel] of bright stars, first in the middle of the image, then in all of it; 0: no stars."""
    ny, nx = ratio.shape
    for half in (side // 2, max(ny, nx)):
        rows, columns = (slice(max(n // 2 - half, 0), n // 2 + half) for n in (ny, nx))
        cut, bad = ratio[rows, columns], seen.bad[rows, columns]
        found = extract.find(cut, seen.blind[rows, columns], 15.0, extract.matched(2.0), area=5, contrast=0.05)
        shapes = adaptive(
            seen.data[rows, columns], seen.var[rows, columns], bad, found.x, found.y, 1.7, slope=seen.slope
        )
        good = shapes.ok & (shapes.size_error < 0.2 * (shapes.xx + shapes.yy))
        if np.count_nonzero(good) >= 8 or (good.any() and half > side // 2):
            return commonest(shape_of(shapes)[0][good])
        if cut.shape == ratio.shape:
            break
    return 0.0


def shape_of(shapes: Moments) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return FWHM [pixel] (of the circle of equal area), ellipticity 1 - b/a, and angle from +x to +y [deg]."""
    half, split = 0.5 * (shapes.xx + shapes.yy), np.hypot(0.5 * (shapes.xx - shapes.yy), shapes.xy)
    a, b = np.sqrt(half + split), np.sqrt(np.maximum(half - split, 1e-4))
    theta = 0.5 * np.degrees(np.arctan2(2 * shapes.xy, shapes.xx - shapes.yy))
    return SIGMA * np.sqrt(a * b), 1 - b / a, theta


def commonest(fwhm: FloatArray, width: float = 0.06) -> float:
    """Return the size that most sources share: the mode of log size, smoothed by `width`; cosmic rays are too small."""
    sizes = np.log(fwhm[fwhm > 1.0]) if (fwhm > 1.0).any() else np.log(fwhm)
    grid = np.linspace(sizes.min(), sizes.max(), 200)
    density = np.exp(-0.5 * ((grid[:, None] - sizes) / width) ** 2).sum(axis=1)
    near = np.abs(sizes - grid[np.argmax(density)]) < 2 * width
    return float(np.exp(np.median(sizes[near])))


def stars_of(fwhm: FloatArray, shapes: Moments, quality: NDArray[np.int32]) -> tuple[Bools, float, tuple[Caveat, ...]]:
    """Return which sources are well-measured stars, their FWHM, and a caveat where the FWHM is a guess."""
    clean = (quality & ~np.int32(EXTENDED)) == 0
    precise = shapes.ok & (shapes.size_error < 0.1 * (shapes.xx + shapes.yy))
    for pool in (clean & precise, clean & shapes.ok, shapes.ok):
        if np.count_nonzero(pool) >= 3 or (pool.any() and pool is not shapes.ok):
            width = commonest(fwhm[pool])
            near = pool & (np.abs(np.log(fwhm / width)) < 0.25)
            few = np.count_nonzero(near & clean & precise) < 3
            told = (Caveat("detect.few", "fewer than three clean bright stars tell the size of stars"),) if few else ()
            return near, width, told
    width = float(np.median(fwhm))
    return shapes.ok, width, (Caveat("detect.few", "no clean star tells the size of stars"),)


def bits_around(mask: NDArray[np.uint32], x: FloatArray, y: FloatArray, radius: float) -> NDArray[np.uint32]:
    """Return all bits set within `radius` [pixel] of each place."""
    ny, nx = mask.shape
    cx, cy = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    half = int(np.ceil(radius))
    bits = np.zeros(x.size, np.uint32)
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            if dx * dx + dy * dy <= max(radius, 0.5) ** 2:
                bits |= mask[np.clip(cy + dy, 0, ny - 1), np.clip(cx + dx, 0, nx - 1)]
    return bits


def sampled(image: NDArray[np.float32], x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the image's values at the pixels nearest to each place."""
    ny, nx = image.shape
    rows, columns = np.clip(np.rint(y), 0, ny - 1).astype(np.int64), np.clip(np.rint(x), 0, nx - 1).astype(np.int64)
    return image[rows, columns].astype(np.float64)


def peaks(seen: Picture, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the highest value within a pixel of each place, above the background."""
    shifts = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    return np.asarray(np.max([sampled(seen.data, x + dx, y + dy) for dx, dy in shifts], axis=0))


def isolated(x: FloatArray, y: FloatArray, flux: FloatArray, of: NDArray[np.int64], radius: float) -> Bools:
    """Return which of the sources `of` have no neighbour within `radius` brighter than a hundredth of their own."""
    from scipy.spatial import cKDTree

    tree = cKDTree(np.column_stack([x, y]))
    near = tree.query_ball_point(np.column_stack([x[of], y[of]]), radius)
    alone = [np.count_nonzero(flux[around] > 0.01 * flux[k]) <= 1 for k, around in zip(of, list(near), strict=True)]
    return np.array(alone, np.bool_)


def _aligned(theta: FloatArray) -> float:
    """Return how much angles [deg, modulo 180] agree: 0 at random, 1 all alike."""
    return float(np.abs(np.mean(np.exp(2j * np.radians(theta)))))
