"""Figures of images of the sky: stacks, skies, fringes, differences, new sources, colours."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle as Ring
from numpy.typing import NDArray

from nightpipe.model.colour import Colour
from nightpipe.model.difference import Difference
from nightpipe.model.skyimage import SkyImage
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.plots.style import BLUE, GOLD, RED, limits, panels, show_image

CLASSES = (BLUE, GOLD, RED)


def stack(product: Stack) -> Figure:
    """Draw a stack, how many frames each pixel had, and the noise."""
    figure, (image, count, noise) = panels(1, 3, size=(13, 4.4))
    good = product.mask == 0
    show_image(image, np.where(good, product.data, np.nan), title=f"{len(product.frames)} frames, electron/s")
    show_image(count, product.count.astype(float), title="frames per pixel")
    error = np.sqrt(product.var * product.covariance)
    show_image(noise, np.where(good, error, np.nan), title=f"noise (covariance {product.covariance:.2f} included)")
    for axis in (image, count, noise):
        axis.set_aspect("equal")
    return figure


def sky(product: SkyImage) -> Figure:
    """Draw a sky, or the pattern of fringes, and its noise."""
    figure, (image, noise) = panels(1, 2, size=(10, 4.6))
    unit = "of the sky's level" if product.method == "fringes" else "electron"
    show_image(
        image, product.data, title=f"{product.method}: {len(product.frames)} frames, level {product.level:.0f}, {unit}"
    )
    show_image(noise, np.sqrt(product.var), title="its error")
    for axis in (image, noise):
        axis.set_aspect("equal")
    return figure


def triplets(new: Stack, difference: Difference, candidates: Sources, *, most: int = 6, reach: int = 20) -> Figure:
    """Draw new image, reference and difference around the candidates, the most significant first."""
    rows = max(1, min(most, len(candidates)))
    figure, axes = panels(rows, 3, size=(7.5, 2.4 * rows))
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    for row in range(min(most, len(candidates))):
        x, y = round(float(candidates.x[row])), round(float(candidates.y[row]))
        cut = (slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1))
        low, high = limits(new.data[cut], 1, 99.7)
        extent = (cut[1].start - 0.5, cut[1].start + new.data[cut].shape[1] - 0.5,
                  cut[0].start - 0.5, cut[0].start + new.data[cut].shape[0] - 0.5)  # fmt: skip
        for column, image in enumerate((new.data, difference.reference, difference.data)):
            axis = axes[3 * row + column]
            axis.imshow(image[cut], vmin=low, vmax=high, cmap="Greys_r", origin="lower", extent=extent)
            axis.add_patch(Ring((x, y), 2 * difference.fwhm, fill=False, color=RED, lw=0.8))
        verdict = "real" if candidates.quality[row] == 0 else "bogus"
        axes[3 * row].set_ylabel(f"S/N {candidates.columns['significance'][row]:.0f}, {verdict}")
    for axis, title in zip(axes[:3], ("new", "reference, matched", "difference"), strict=True):
        axis.set_title(title)
    return figure


def new_sources(image: Stack, found: Sources, circles: tuple[tuple[float, float, float], ...] = ()) -> Figure:
    """Draw an image with its new sources by class: blue 0, gold 1, red 2; `circles` are (ra, dec, radius) [deg]."""
    figure, (axis,) = panels(1, size=(8, 7.4))
    low, high = limits(image.data, 5, 99.5)
    axis.imshow(image.data, vmin=low, vmax=high, cmap="Greys", origin="lower")
    size = 0.012 * max(image.data.shape)
    for k in range(len(found)):
        rank = int(min(found.columns["class"][k], 2))
        axis.add_patch(Ring((found.x[k], found.y[k]), size, fill=False, color=CLASSES[rank], lw=1.2))
        axis.text(found.x[k] + 1.2 * size, found.y[k], f"{k + 1}: {found.columns['mag'][k]:.1f}", color=CLASSES[rank])
    for ra, dec, radius in circles:
        x, y = (float(p) for p in image.wcs.to_pixel(ra, dec))
        axis.add_patch(Ring((x, y), 3600 * radius / image.wcs.scale, fill=False, color=RED, lw=0.8, ls="--"))
    ny, nx = image.data.shape
    axis.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5), aspect="equal", xlabel="x [pixel]", ylabel="y [pixel]")
    axis.set_title(f"{len(found)} new sources; not checked for moving objects")
    return figure


def three_bands(image: Colour, *, stretch: float = 8.0, softening: float = 5.0) -> Figure:
    """Draw three bands as a colour image (Lupton et al. 2004, PASP 116, 133: colours survive the stretch).

    The intensity is stretched by asinh; all three are scaled by the same factor, so that a star's colour does not
    depend on its brightness. Each band is first divided by its noise: zero points would make faint bands all noise.
    """
    figure, (axis,) = panels(1, size=(7.5, 7.5))
    shown = composite((image.red, image.green, image.blue), stretch, softening)
    axis.imshow(shown, origin="lower", aspect="equal")
    axis.set(xticks=[], yticks=[], title=", ".join(image.bands) + " as red, green, blue; north up, east left")
    return figure


def composite(
    bands: tuple[NDArray[np.float32], ...], stretch: float = 8.0, softening: float = 5.0
) -> NDArray[np.float64]:
    """Return an RGB image (ny, nx, 3) in 0 ... 1 of three bands."""
    scaled = []
    for band in bands:
        thin = band[::4, ::4]
        middle = float(np.median(thin))
        noise = 1.4826 * float(np.median(np.abs(thin - middle)))
        scaled.append(np.asarray((band - middle) / max(noise, 1e-30), np.float64))
    image = np.maximum(np.stack(scaled, axis=-1), 0)
    light = image.mean(axis=-1)
    factor = np.arcsinh(softening * light / 30) / np.arcsinh(softening * stretch) / np.maximum(light, 1e-9)
    shown = image * factor[..., None]
    return np.asarray(shown / np.maximum(shown.max(axis=-1, keepdims=True), 1.0))
