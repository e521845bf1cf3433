"""What changed since a reference image: the difference with matched PSFs, and the significance of every pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import irfft2, next_fast_len, rfft2

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.threads import each_strip
from nightpipe.kernels.warp import Source, tiles, warp
from nightpipe.maths.kernelfit import KernelFit, KernelModel, Stamps, fit_kernel, gaussian_basis
from nightpipe.maths.warpmap import coarse
from nightpipe.model.difference import Difference
from nightpipe.model.flags import UNUSABLE
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.steps.imaging.grid import mapping

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
Transform = NDArray[np.complex128]
BAD = np.uint32(UNUSABLE)
SIGMA = 2.3548200450309493
LEAST_FLOOR = 0.004
"""No subtraction is better than so much of the light: PSFs are not known to a few thousandths between stamps."""


class Subtract(Step):
    """Subtract a reference from a new image: PSFs matched by a kernel that varies over the field; significance."""

    degree: int = parameter(2, "degree of the kernel's variation over the field", ge=0, le=3)
    stamps: int = parameter(150, "most stars and galaxies that tell the kernel", ge=10)
    least_snr: float = parameter(20.0, "least significance of a source that tells the kernel", unit="sigma", gt=5)
    half: int = parameter(0, "half width of the kernel; 0: from the seeing", unit="pixel", ge=0, le=25)
    tile: int = parameter(256, "tiles in which the kernel is taken as constant", unit="pixel", ge=64)
    floor: float = parameter(-1.0, "share of the light by which subtraction errs; negative: measured on the stamps")

    def run(self, new: Stack, reference: Stack, sources: Sources) -> Difference:
        """Return the difference of two stacks, `sources` being those of the new one (`Detect`).

        The reference is resampled onto the new image's grid unless it lies on it. The sharper image is blurred with
        the kernel of Alard & Lupton (1998, ApJ 503, 325; Alard 2000) fitted on stamps. Blurring makes the difference's
        noise correlated; the filter that finds point sources in it allows for that exactly as the score of Zackay,
        Ofek & Gal-Yam (2016, ApJ 830, 27) does: the PSF divided by the noise's power spectrum. Its variance is
        propagated from both images' pixels, each filtered as it was, so photons of galaxies count where they fall.
        Both images' `covariance` is taken into account. Where the light of the reference is bright, subtraction errs
        by a share `floor` of it.

        Raises
        ------
        NoSolutionError
            Too few stars to fit the kernel, or no overlap.
        """
        other = aligned(reference, new)
        one, two = _Side.of(new), _Side.of(other)
        widths = _fwhm(one, sources), _fwhm(two, sources)
        forward = widths[1] <= widths[0]
        sharp, goal = (two, one) if forward else (one, two)
        extra = np.sqrt(max(max(widths) ** 2 - min(widths) ** 2, 1.0)) / SIGMA
        half = self.half or int(np.clip(np.ceil(2.2 * max(widths)), 5, 15))
        basis = gaussian_basis(half, (0.6 * extra, 1.2 * extra, 2.4 * extra), (4, 3, 2))
        stamps = self._stamps(sharp, goal, sources, half, max(widths))
        fit = fit_kernel(stamps, basis, new.data.shape, degree=min(self.degree, _supported(len(stamps.x))))
        psf = _psf(goal, sources, max(widths))
        made = _tiled(sharp, goal, fit.model, psf, self.tile, sign=1.0 if forward else -1.0)
        centre = fit.model.kernel((new.data.shape[1] - 1) / 2, (new.data.shape[0] - 1) / 2).sum()
        error = self.floor if self.floor >= 0 else _floor(made, stamps, fit)
        return _described(made, new, other, fit, psf, error, float(centre), max(widths), forward=forward)

    def _stamps(self, sharp: _Side, goal: _Side, sources: Sources, half: int, fwhm: float) -> Stamps:
        """Return stamps around bright sources all over the field."""
        size = half + int(np.ceil(2.0 * fwhm))
        chosen = _spread(sources, goal.data.shape, self.stamps, self.least_snr, 2 * size)
        pieces = []
        for k in chosen:
            x, y = round(float(sources.x[k])), round(float(sources.y[k]))
            cut = (slice(y - size, y + size + 1), slice(x - size, x + size + 1))
            if y < size or x < size or goal.data[cut].shape != (2 * size + 1,) * 2:
                continue
            bad = goal.bad[cut] | ndimage.binary_dilation(sharp.bad[cut], iterations=half)
            if bad[half:-half, half:-half].mean() < 0.1:
                noise = np.where(bad, np.inf, goal.var[cut] + sharp.var[cut])
                pieces.append((x, y, sharp.data[cut], goal.data[cut], noise))
        if not pieces:
            raise NoSolutionError(
                "stars that both images show unsaturated", f"{len(chosen)} candidates, none usable",
                "lower Subtract.least_snr, or choose a reference that covers the field",
            )  # fmt: skip
        parts = [np.array([piece[k] for piece in pieces], float) for k in range(5)]
        return Stamps(*parts)


class _Side(NamedTuple):
    """One of the two images, bad pixels interpolated; `sky_var` is the median variance."""

    data: NDArray[np.float32]
    var: NDArray[np.float32]
    bad: Bools
    bits: NDArray[np.uint32]
    sky_var: float

    @classmethod
    def of(cls, stack: Stack) -> _Side:
        bad = (stack.mask & BAD) != 0
        if bad.all():
            raise NoSolutionError("two images of one field", "no pixel is good in both", "look at the plate solutions")
        noise = stack.var * np.float32(stack.covariance)
        middle = float(np.median(noise[~bad][::7]))
        return cls(_mended(stack.data, bad), np.where(bad, np.float32(middle), noise), bad, stack.mask, middle)


class _Made(NamedTuple):
    """What the tiles are filled into; `light` is the reference's under the filter, of which a share is left."""

    data: NDArray[np.float32]
    var: NDArray[np.float32]
    flux: NDArray[np.float32]
    flux_var: NDArray[np.float32]
    light: NDArray[np.float32]
    reference: NDArray[np.float32]


def _mended(data: NDArray[np.float32], bad: Bools) -> NDArray[np.float32]:
    """Return the image with bad pixels as their neighbours say: zeros would leave holes in galaxies and stars."""
    good = (~bad).astype(np.float32)
    weight = ndimage.gaussian_filter(good, 1.2, truncate=3)
    near = ndimage.gaussian_filter(np.where(bad, 0, data), 1.2, truncate=3)
    return np.where(bad, np.where(weight > 0.05, near / np.maximum(weight, 0.05), 0), data).astype(np.float32)


def aligned(stack: Stack, goal: Stack) -> Stack:
    """Return `stack` on the grid of `goal`: as it is where it lies there already, else resampled once more."""
    same = stack.data.shape == goal.data.shape and _same_grid(stack, goal)
    if same:
        return stack
    shape = goal.data.shape
    nodes = coarse(mapping(goal.wcs, stack.wcs), (shape[0], shape[1]))
    ratio = goal.wcs.scale / stack.wcs.scale
    made = warp(Source(stack.data, stack.var, stack.mask, int(UNUSABLE)), nodes, (shape[0], shape[1]),
                stretch=ratio if ratio > 1.05 else 1.0)  # fmt: skip
    told = Caveat("subtract.resampled", "the reference was resampled once more to lie on the new image's grid")
    loss = 1.0 if ratio > 1.05 else 1.3  # the mean sum of squares of Lanczos's kernel in two dimensions is 1 / 1.3
    return replace(
        stack, data=made.value, var=made.var, mask=made.bits, wcs=goal.wcs, covariance=stack.covariance * loss,
        caveats=merged(stack.caveats, (told,)),
    )  # fmt: skip


def _same_grid(one: Stack, two: Stack) -> bool:
    ny, nx = two.data.shape
    x, y = np.array([0, nx - 1, 0, nx - 1]), np.array([0, 0, ny - 1, ny - 1])
    px, py = one.wcs.to_pixel(*two.wcs.to_sky(x, y))
    return bool(np.allclose(px, x, atol=1e-3) and np.allclose(py, y, atol=1e-3))


def _supported(stamps: int) -> int:
    """Return the degree of spatial variation that so many stamps can carry."""
    return 2 if stamps >= 30 else 1 if stamps >= 10 else 0


def _spread(
    sources: Sources, shape: tuple[int, ...], most: int, least_snr: float, apart: float, cells: int = 8
) -> list[int]:
    """Return bright clean sources, taken from all parts of the field in turn."""
    snr = sources.flux / np.where(sources.flux_error > 0, sources.flux_error, np.inf)
    usable = (snr > least_snr) & ((sources.quality & (2 | 4 | 16)) == 0)
    column = np.clip((sources.x * cells / shape[1]).astype(int), 0, cells - 1)
    row = np.clip((sources.y * cells / shape[0]).astype(int), 0, cells - 1)
    ranks: list[tuple[int, float, int]] = []
    taken: dict[int, int] = {}
    for k in np.argsort(-snr, kind="stable"):
        cell = int(row[k] * cells + column[k])
        if usable[k]:
            ranks.append((taken.get(cell, 0), -float(snr[k]), int(k)))
            taken[cell] = taken.get(cell, 0) + 1
    chosen: list[int] = []
    for _, _, k in sorted(ranks):
        far = all(np.hypot(sources.x[k] - sources.x[j], sources.y[k] - sources.y[j]) > apart / 2 for j in chosen)
        if far and len(chosen) < most:
            chosen.append(k)
    return chosen


def _stars(sources: Sources, count: int = 300) -> NDArray[np.intp]:
    """Return the brightest lone unsaturated point sources."""
    point = (sources.quality & (1 | 2 | 4 | 8 | 16)) == 0
    star = sources.columns.get("star")
    point &= np.ones(len(sources), bool) if star is None or not (star > 0).any() else star > 0
    index = np.flatnonzero(point)
    return index[np.argsort(-sources.flux[index], kind="stable")][:count]


def _fwhm(side: _Side, sources: Sources) -> float:
    """Return the FWHM [pixel] of the stars in an image, from their second moments under a Gaussian window."""
    widths: list[float] = []
    for k in _stars(sources):
        width = _width(side, sources.x[k], sources.y[k])
        widths += [width] if width > 0 and len(widths) < 30 else []
    if not widths:
        raise NoSolutionError("stars to measure the seeing by", "none without saturation or neighbours", "stack more")
    return float(np.median(widths))


def _width(side: _Side, x: float, y: float, reach: int = 12) -> float:
    cut, v, u = _window(side.data.shape, x, y, reach)
    if side.bad[cut].any():
        return 0.0
    sigma2 = 4.0
    for _ in range(30):  # a window as wide as the star halves the moment: sigma2 is twice what is seen
        weight = np.exp(-0.5 * (u**2 + v**2) / sigma2) * side.data[cut]
        total = float(weight.sum())
        if total <= 0:
            return 0.0
        sigma2 = float(np.clip((weight * (u**2 + v**2)).sum() / total, 0.1, 50.0))
    return float(SIGMA * np.sqrt(sigma2))


def _window(
    shape: tuple[int, ...], x: float, y: float, reach: int
) -> tuple[tuple[slice, slice], FloatArray, FloatArray]:
    i, j = round(float(x)), round(float(y))
    cut = (
        slice(max(j - reach, 0), min(j + reach + 1, shape[0])),
        slice(max(i - reach, 0), min(i + reach + 1, shape[1])),
    )
    rows, columns = np.arange(cut[0].start, cut[0].stop) - y, np.arange(cut[1].start, cut[1].stop) - x
    v, u = np.meshgrid(rows, columns, indexing="ij")
    return cut, v, u


def _psf(goal: _Side, sources: Sources, fwhm: float) -> FloatArray:
    """Return the PSF of the difference: the mean of bright stars in the image that was not blurred, centred."""
    reach = int(np.ceil(2.5 * fwhm))
    pieces: list[FloatArray] = []
    for k in _stars(sources):
        cut, _, _ = _window(goal.data.shape, sources.x[k], sources.y[k], reach + 2)
        piece = goal.data[cut]
        if piece.shape != (2 * reach + 5,) * 2 or goal.bad[cut].any():
            continue
        shift = (round(float(sources.y[k])) - sources.y[k], round(float(sources.x[k])) - sources.x[k])
        moved = ndimage.shift(piece.astype(float), shift, order=3, mode="nearest")[2:-2, 2:-2]
        moved -= np.median(np.concatenate([moved[0], moved[-1], moved[:, 0], moved[:, -1]]))
        if moved.sum() > 0 and len(pieces) < 40:
            pieces.append(moved / moved.sum())
    if not pieces:
        raise NoSolutionError("lone stars to measure the PSF by", "none", "stack more, or lower Detect.threshold")
    mean = np.median(pieces, axis=0)
    t = np.arange(-reach, reach + 1.0)
    mean *= np.hypot(t[:, None], t) <= reach
    return np.asarray(mean / mean.sum())


def _tiled(sharp: _Side, goal: _Side, model: KernelModel, psf: FloatArray, tile: int, *, sign: float) -> _Made:
    """Return difference and filtered difference, tile by tile: memory is that of the results."""
    ny, nx = goal.data.shape
    result = _Made(*(np.zeros((ny, nx), np.float32) for _ in range(6)))
    margin = model.basis.shape[1] // 2 + 2 * (psf.shape[0] // 2)
    parts = tiles((ny, nx), tile, tile)
    sides = [[np.pad(a, margin, mode="reflect") for a in (side.data, side.var)] for side in (sharp, goal)]
    known = np.pad(~(sharp.bad | goal.bad), margin, mode="reflect")

    def work(start: int, stop: int) -> None:
        for y0, y1, x0, x1 in parts[start:stop]:
            cut = (slice(y0, y1 + 2 * margin), slice(x0, x1 + 2 * margin))
            place = ((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2)
            pieces = [[a[cut].astype(np.float64) for a in side] for side in sides]
            noise = sharp.sky_var, goal.sky_var
            filled = _one_tile(pieces, known[cut], noise, model.kernel(*place), model.offset(*place), psf, sign)
            inner = (slice(margin, margin + y1 - y0), slice(margin, margin + x1 - x0))
            for whole, part in zip(result, filled, strict=True):
                whole[y0:y1, x0:x1] = part[inner]

    each_strip(work, len(parts), 1)
    return result


def _one_tile(
    pieces: list[list[FloatArray]], known: Bools, noise: tuple[float, float], kernel: FloatArray, offset: float,
    psf: FloatArray, sign: float,
) -> list[FloatArray]:  # fmt: skip
    """Return difference, variance, flux, its variance, the light under the filter, and the blurred image's model."""
    (sharp, sharp_var), (goal, goal_var) = pieces
    shape = tuple(next_fast_len(n + kernel.shape[0], real=True) for n in sharp.shape)
    k, p = _transform(kernel, shape), _transform(psf, shape)
    power = noise[1] + noise[0] * np.abs(k) ** 2
    unit = float(irfft2(np.abs(p) ** 2 / power, shape)[0, 0])  # what a source of unit flux gives at its place
    matched: Transform = np.asarray(np.conj(p) / power / unit, np.complex128)
    blurred = _blur(sharp, k, shape)
    difference = sign * (goal - blurred - offset) * known  # none where one of the two is not known
    squares = [_transform_of_square(f, shape) for f in (matched, matched * k)]
    flux_var = _blur(goal_var, squares[0], shape) + _blur(sharp_var, squares[1], shape)
    var = goal_var + _blur(sharp_var, _transform(np.square(kernel), shape), shape)
    subtracted = blurred if sign > 0 else goal
    flux = _blur(difference, matched, shape)
    return [difference, var, flux, np.maximum(flux_var, 1e-30), _blur(subtracted, matched, shape), subtracted]


def _transform(kernel: FloatArray, shape: tuple[int, ...]) -> Transform:
    """Return the transform of a kernel whose centre is at the origin."""
    padded = np.zeros(shape)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    half = kernel.shape[0] // 2
    return np.asarray(rfft2(np.roll(padded, (-half, -half), (0, 1))))


def _transform_of_square(transform: Transform, shape: tuple[int, ...]) -> Transform:
    return np.asarray(rfft2(np.square(irfft2(transform, shape))))


def _blur(image: FloatArray, transform: Transform, shape: tuple[int, ...]) -> FloatArray:
    return np.asarray(irfft2(rfft2(image, shape) * transform, shape)[: image.shape[0], : image.shape[1]])


def _floor(made: _Made, stamps: Stamps, fit: KernelFit) -> float:
    """Return the share of the light by which subtraction errs beyond the noise, on the stamps that were kept."""
    y, x = np.round(stamps.y[fit.kept]).astype(int), np.round(stamps.x[fit.kept]).astype(int)
    flux, var, light = (part[y, x].astype(float) for part in (made.flux, made.flux_var, made.light))
    bright = light > 0
    if bright.sum() < 5:
        return 0.01
    excess = (np.square(flux) - var) / np.square(light)
    weight = np.square(light**2 / var)[bright]  # the excess of bright stars is known best
    order = np.argsort(excess[bright])
    half = np.searchsorted(np.cumsum(np.sqrt(weight[order])), 0.5 * np.sqrt(weight).sum())
    middle = float(excess[bright][order][min(int(half), int(bright.sum()) - 1)])
    return float(np.sqrt(max(middle / 0.455, LEAST_FLOOR**2)))  # the median of chi squared of one degree of freedom


def _described(
    made: _Made, new: Stack, other: Stack, fit: KernelFit, psf: FloatArray, floor: float, scale: float, fwhm: float, *,
    forward: bool,
) -> Difference:  # fmt: skip
    """Return the difference on the new image's flux scale."""
    factor = np.float32(1.0 if forward else 1.0 / scale)
    beneath = ndimage.maximum_filter(made.light, 2 * int(np.ceil(fwhm / 2)) + 1)  # rings around bright cores as well
    error = np.sqrt(made.flux_var + np.square(np.float32(floor) * np.maximum(beneath, 0)))
    bad = ((new.mask | other.mask) & BAD) != 0
    significance = np.where(bad, 0, made.flux / error).astype(np.float32)
    chi2 = float(np.median(fit.chi2[fit.kept]))
    told = []
    if chi2 > 3:
        told.append(Caveat("subtract.poor", f"the PSFs match badly: reduced chi2 {chi2:.1f} of the stamps"))
    if floor > 0.05:
        told.append(Caveat("subtract.floor", f"bright sources leave {floor:.0%} of their light in the difference"))
    return Difference(
        made.data * factor, made.var * factor**2, new.mask | other.mask, significance, made.flux * factor, psf,
        made.reference * factor, fwhm, "reference" if forward else "new", scale if forward else 1 / scale,
        int(fit.kept.sum()), chi2, floor, new.wcs, new.zp, new.exptime, merged(new.caveats, other.caveats, told),
    )  # fmt: skip
