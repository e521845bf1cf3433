"""Long-slit scenes in electrons with known cosmic rays: tilted sky lines, a star, tracks of charged particles."""

from __future__ import annotations

import numpy as np


def sky(ny: int, nx: int, *, level=60.0, lines=((0.2, 900.0), (0.47, 4000.0), (0.8, 1500.0)), fwhm=3.0, tilt=2.0):
    """Return a sky of `level` with lines at fractions of nx, each `tilt` pixels askew over the slit."""
    y, x = np.mgrid[:ny, :nx]
    image = np.full((ny, nx), float(level))
    for place, height in lines:
        centre = place * nx + tilt * (y / ny - 0.5)
        image += height * np.exp(-0.5 * ((x - centre) / (fwhm / 2.3548)) ** 2)
    return image


def star(ny: int, nx: int, *, row=40.0, flux=2000.0, fwhm=4.0, tilt=3.0, absorption=0.5):
    """Return a star whose trace rises by `tilt` rows, with an absorption line at the middle; `flux` is its peak."""
    y, x = np.mgrid[:ny, :nx]
    centre = row + tilt * (x / nx - 0.5)
    spectrum = flux * (1 - absorption * np.exp(-0.5 * ((x - nx / 2) / 2.5) ** 2))
    return spectrum * np.exp(-0.5 * ((y - centre) / (fwhm / 2.3548)) ** 2)


def tracks(rng: np.random.Generator, shape: tuple[int, int], number: int, *, length=5.0, charge=250.0):
    """Return the charge [electron] of cosmic rays: straight tracks, exponential `length`, log-normal `charge` a pixel.

    Charge spreads by 0.3 pixel on its way to the surface.
    """
    image = np.zeros(shape)
    for _ in range(number):
        reach = rng.exponential(length) + 0.5
        density = charge * np.exp(rng.normal(0, 0.9))
        angle = rng.uniform(0, np.pi)
        steps = np.linspace(0, reach, int(20 * reach) + 10)
        y = rng.uniform(0, shape[0]) + steps * np.sin(angle) + rng.normal(0, 0.3, steps.size)
        x = rng.uniform(0, shape[1]) + steps * np.cos(angle) + rng.normal(0, 0.3, steps.size)
        rows, columns = np.round(y).astype(int), np.round(x).astype(int)
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        np.add.at(image, (rows[inside], columns[inside]), density * reach / steps.size)
    return image
