"""Scattered light between the spectra, where no lenslet's light falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CELL = 32
"""Pixels a side of the cells in which dark pixels are averaged."""
THIN = 3
"""Every so manieth column is looked at: there are dark pixels in plenty."""


def lit(shape: tuple[int, int], first: NDArray[np.int64], rows: FloatArray, reach: float) -> NDArray[np.bool_]:
    """Return the pixels within `reach` rows of a spectrum: `rows` (n, m) in the columns from `first` (n,) on."""
    columns = first[:, None] + np.arange(rows.shape[1])
    on = (columns >= 0) & (columns < shape[1])
    low = np.clip(np.ceil(rows - reach), 0, shape[0]).astype(np.int64)
    high = np.clip(np.floor(rows + reach) + 1, 0, shape[0]).astype(np.int64)
    size = (shape[0] + 1) * shape[1]
    begins = np.bincount(low[on] * shape[1] + columns[on], minlength=size)
    ends = np.bincount(high[on] * shape[1] + columns[on], minlength=size)
    change = (begins - ends).astype(np.int16).reshape(shape[0] + 1, shape[1])
    return np.asarray(np.cumsum(change, axis=0, dtype=np.int16)[:-1] > 0)


def scattered(image: FloatArray, dark: NDArray[np.bool_], blur: float) -> FloatArray:
    """Return the light of the `dark` pixels spread smoothly over the image, by `blur` [pixel] rms.

    Cells of dark pixels are averaged without outliers, empty cells bridged (normalised convolution, Knutsson &
    Westin 1993).
    """
    from scipy.ndimage import gaussian_filter

    ny, nx = image.shape
    rows, columns = -(-ny // CELL), -(-nx // CELL)
    y, x = np.nonzero(dark[:, ::THIN])
    if not y.size:
        return np.zeros(image.shape)
    values, cells = image[:, ::THIN][y, x], (y // CELL) * columns + x * THIN // CELL
    total, count = _middles(values, cells, rows * columns)
    sigma = blur / CELL
    smooth = gaussian_filter(total.reshape(rows, columns), sigma, mode="nearest")
    smooth /= np.maximum(gaussian_filter(count.reshape(rows, columns), sigma, mode="nearest"), 1e-9)
    return _between(ny, rows) @ smooth @ _between(nx, columns).T


def _middles(values: FloatArray, cells: NDArray[np.int64], size: int) -> tuple[FloatArray, FloatArray]:
    """Return sum and number of the middle half of the values in each cell."""
    order = np.lexsort((values, cells))
    cells, values = cells[order], values[order]
    number = np.bincount(cells, minlength=size)
    start = np.cumsum(number) - number
    rank = (np.arange(len(cells)) - start[cells] + 0.5) / number[cells]
    middle = (rank > 0.25) & (rank < 0.75)
    count = np.bincount(cells[middle], minlength=size).astype(np.float64)
    return np.asarray(np.bincount(cells[middle], values[middle], size), dtype=np.float64), count


def _between(pixels: int, cells: int) -> FloatArray:
    """Return the matrix (pixels, cells) of linear interpolation between the middles of cells, held beyond the last."""
    place = np.clip((np.arange(pixels) + 0.5) / CELL - 0.5, 0.0, cells - 1.0)
    low = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    matrix = np.zeros((pixels, cells))
    matrix[np.arange(pixels), low] = 1.0 - (place - low)
    matrix[np.arange(pixels), np.minimum(low + 1, cells - 1)] += place - low
    return matrix
