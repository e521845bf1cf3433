"""Resampling of images by Lanczos's kernel along a map known on coarse nodes, with variance and masks."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F32, F64, I64, U8, float32, float64, plain
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.threads import each_strip

U32 = NDArray[np.uint32]
OUTSIDE = np.uint32(1 << 4)
"""The bit of what lies outside the input: `Flag.NO_DATA`."""
PHASES = 4096
"""The kernel is tabulated at so many places within a pixel: positions are true to 1.2e-4 pixel."""
LOST = 0.05
"""An output pixel is bad where bad input pixels would have had more than so much of the kernel, in absolute terms."""


class Nodes(NamedTuple):
    """The map at nodes `step` pixels apart; node ``[j, i]`` lies at the output's ((i - 1) step, (j - 1) step).

    `x`, `y` (my, mx) are positions in the input, `area` (my, mx) how many input pixels one output pixel covers there,
    `error` the largest deviation [pixel] that was found between nodes.
    """

    step: int
    x: F64
    y: F64
    area: F64
    error: float


class Pixels(Protocol):
    """An image of which windows can be read: an array, or one that lies in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (ny, nx)."""

    def __getitem__(self, window: Any, /) -> NDArray[Any]:
        """Return the pixels of a window."""


class Source(NamedTuple):
    """An image to resample: `data`, `var`, `mask` (ny, nx), read window by window; `unusable` bits make a pixel bad."""

    data: Pixels
    var: Pixels
    mask: Pixels
    unusable: int


class Warped(NamedTuple):
    """A resampled window: `value`, `var` float32, `bits` uint32 that are 0 where the pixel is good."""

    value: F32
    var: F32
    bits: U32


class Taps(NamedTuple):
    """The kernel, `weights` (PHASES + 1, taps), and `energy`: its squares' sum over that of the middle four."""

    weights: F32
    energy: F32


Window = tuple[int, int, int, int]
"""(y0, y1, x0, x1), half-open; the output's may reach outside the output by a step of the nodes."""


def lanczos(distance: ArrayLike, order: int = 3) -> F64:
    """Return Lanczos's kernel sinc(x) sinc(x / order), zero from |x| = order on (Duchon 1979, JAM 18, 1016)."""
    x = np.asarray(distance, np.float64)
    return np.where(np.abs(x) < order, np.sinc(x) * np.sinc(x / order), 0.0)


def table(stretch: float = 1.0, order: int = 3) -> Taps:
    """Return the kernel for an input position that lies 0 ... 1 beyond a pixel; each row sums to 1.

    `stretch` above 1 widens the kernel: where output pixels are larger than the input's, so that nothing is aliased.
    """
    half = int(np.ceil(order * stretch))
    phase = np.arange(PHASES + 1)[:, None] / PHASES
    rows = lanczos((phase - np.arange(1 - half, half + 1)) / stretch, order)
    rows = rows / rows.sum(axis=1, keepdims=True)
    squares = np.square(rows)
    return Taps(float32(rows), float32(squares.sum(axis=1) / squares[:, half - 2 : half + 2].sum(axis=1)))


def warp_window(source: Source, nodes: Nodes, window: Window, taps: Taps, *, local: bool = True) -> Warped:
    """Return the output's `window`, flux conserving: values are multiplied by the area of an output pixel.

    `local` takes the area from the map at each place, else it is left to the caller (1). Where bad input pixels have
    little of the kernel the others stand for them; where they have more, the output is bad and its bits say why.
    The variance is that of the value alone: neighbours covary.
    """
    y0, y1, x0, x1 = window
    half = taps.weights.shape[1] // 2
    place = _reach(nodes, window, half, source.data.shape)
    value, var = np.zeros((2, y1 - y0, x1 - x0), dtype=np.float32)
    bits = np.full(value.shape, OUTSIDE, dtype=np.uint32)
    if place[0] < place[1] and place[2] < place[3]:
        cut = (slice(place[0], place[1]), slice(place[2], place[3]))
        data, noise, mask = float32(source.data[cut]), float32(source.var[cut]), plain(source.mask[cut], np.uint32)
        offsets = np.array([y0, x0, place[0], place[2], nodes.step, local], dtype=np.int64)
        maps = float64(np.stack([nodes.x, nodes.y, nodes.area]))
        _lanczos(data, noise, mask, source.unusable, maps, offsets, *taps, value, var, bits)
    return Warped(value, var, bits)


def _reach(nodes: Nodes, window: Window, half: int, shape: tuple[int, ...]) -> Window:
    """Return the input's window that an output window may touch."""
    y0, y1, x0, x1 = window
    rows = slice(max(y0 // nodes.step, 0), (y1 - 1) // nodes.step + 4)
    columns = slice(max(x0 // nodes.step, 0), (x1 - 1) // nodes.step + 4)
    margin = half + 2
    edges = []
    for part, size in ((nodes.y[rows, columns], shape[0]), (nodes.x[rows, columns], shape[1])):
        edges += [int(np.clip(np.floor(part.min()) - margin, 0, size)), int(np.clip(part.max() + margin + 1, 0, size))]
    return edges[0], edges[1], edges[2], edges[3]


def warp(source: Source, nodes: Nodes, shape: tuple[int, int], *, stretch: float = 1.0, local: bool = True) -> Warped:
    """Return a whole image of `shape` resampled, tile by tile on our own threads."""
    result = Warped(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.uint32))
    taps, parts = table(stretch), tiles(shape)

    def work(start: int, stop: int) -> None:
        for y0, y1, x0, x1 in parts[start:stop]:
            warped = warp_window(source, nodes, (y0, y1, x0, x1), taps, local=local)
            for whole, part in zip(result, warped, strict=True):
                whole[y0:y1, x0:x1] = part

    each_strip(work, len(parts), 1)
    return result


def tiles(shape: tuple[int, int], rows: int = 256, columns: int = 512) -> list[Window]:
    """Return windows that cover an image: small enough that turned images read little more than they need."""
    ny, nx = shape
    return [(y, min(y + rows, ny), x, min(x + columns, nx)) for y in range(0, ny, rows) for x in range(0, nx, columns)]


@kernel
def _lanczos(
    data: F32,
    var: F32,
    mask: U32,
    unusable: int,
    maps: F64,
    offsets: I64,
    taps: F32,
    energy: F32,
    value: F32,
    noise: F32,
    bits: U32,
) -> None:
    ny, nx = data.shape
    half = taps.shape[1] // 2
    bad, near = _bad_and_near(data, var, mask, unusable, half)
    px, py, pa = np.empty(value.shape[1]), np.empty(value.shape[1]), np.empty(value.shape[1])
    for r in range(value.shape[0]):
        _positions(maps, offsets[0] + r, offsets[1], offsets[4], px, py, pa)
        for c in range(value.shape[1]):
            fx, fy = np.floor(px[c]), np.floor(py[c])
            tx, ty = int((px[c] - fx) * PHASES + 0.5), int((py[c] - fy) * PHASES + 0.5)
            i0, j0 = int(fx) - offsets[3] + 1 - half, int(fy) - offsets[2] + 1 - half
            whole = i0 >= 0 and j0 >= 0 and i0 + 2 * half <= nx and j0 + 2 * half <= ny
            if whole and half == 3 and not near[j0 + 2, i0 + 2]:
                value[r, c] = _six(data, j0, i0, taps, ty, tx)
                noise[r, c] = _four(var, j0, i0, taps, ty, tx) * energy[ty] * energy[tx]
                bits[r, c] = 0
            elif i0 + half - 1 >= 0 and j0 + half - 1 >= 0 and i0 + half - 1 < nx and j0 + half - 1 < ny:
                value[r, c], noise[r, c], bits[r, c] = _some(data, var, mask, bad, j0, i0, taps[ty], taps[tx])
            if offsets[5]:
                value[r, c] *= np.float32(pa[c])
                noise[r, c] *= np.float32(pa[c] * pa[c])


@helper
def _bad_and_near(data: F32, var: F32, mask: U32, unusable: int, half: int) -> tuple[U8, U8]:
    """Return which pixels are bad, and where the kernel around the pixel at its left and below touches one."""
    ny, nx = data.shape
    bits, top = np.uint32(unusable) | OUTSIDE, np.float32(3e38)
    bad, near = np.zeros((ny, nx), dtype=np.uint8), np.zeros((ny, nx), dtype=np.uint8)
    for y in range(ny):
        for x in range(nx):
            fine = (mask[y, x] & bits) == 0 and abs(data[y, x]) < top and abs(var[y, x]) < top
            bad[y, x] = 0 if fine else 1
        for x in range(nx):
            if bad[y, x]:
                near[max(y - half, 0) : min(y + half, ny), max(x - half, 0) : min(x + half, nx)] = 1
    return bad, near


@helper
def _positions(maps: F64, y: int, x0: int, step: int, px: F64, py: F64, pa: F64) -> None:
    """Write where a row of output pixels lies in the input, and the area of each, by cubics through four nodes."""
    j = min(max(y // step, 0), maps.shape[1] - 4)
    v = y / step - j
    w0, w1 = -v * (v - 1) * (v - 2) / 6, (v + 1) * (v - 1) * (v - 2) / 2
    w2, w3 = -(v + 1) * v * (v - 2) / 2, (v + 1) * v * (v - 1) / 6
    row = np.empty((3, maps.shape[2]))
    for m in range(3):
        for i in range(maps.shape[2]):
            row[m, i] = w0 * maps[m, j, i] + w1 * maps[m, j + 1, i] + w2 * maps[m, j + 2, i] + w3 * maps[m, j + 3, i]
    _along(row[0], x0, step, px)
    _along(row[1], x0, step, py)
    _along(row[2], x0, step, pa)


@helper
def _along(row: F64, x0: int, step: int, out: F64) -> None:
    c = 0
    while c < out.size:
        i = min(max((x0 + c) // step, 0), row.size - 4)
        p, q, r, s = row[i], row[i + 1], row[i + 2], row[i + 3]
        a1, a2, a3 = r - p / 3 - q / 2 - s / 6, (p + r) / 2 - q, (s - p) / 6 + (q - r) / 2
        last = i == row.size - 4
        stop = out.size if last else max(min(out.size, (i + 1) * step - x0), c + 1)
        for k in range(c, stop):
            u = (x0 + k) / step - i
            out[k] = q + u * (a1 + u * (a2 + u * a3))
        c = stop


@helper
def _six(data: F32, j0: int, i0: int, taps: F32, ty: int, tx: int) -> np.float32:
    """Return the value of the usual kernel; unsigned indices spare the test for negative ones at every pixel."""
    u, v = np.uint64(tx), np.uint64(ty)
    x, y, one = np.uint64(i0), np.uint64(j0), np.uint64(1)
    a, b, c = taps[u, np.uint64(0)], taps[u, one], taps[u, np.uint64(2)]
    d, e, f = taps[u, np.uint64(3)], taps[u, np.uint64(4)], taps[u, np.uint64(5)]
    x1, x2, x3, x4, x5 = x + one, x + np.uint64(2), x + np.uint64(3), x + np.uint64(4), x + np.uint64(5)
    total = np.float32(0)
    for j in range(6):
        k = y + np.uint64(j)
        left = (a * data[k, x] + b * data[k, x1]) + c * data[k, x2]
        right = (d * data[k, x3] + e * data[k, x4]) + f * data[k, x5]
        total += taps[v, np.uint64(j)] * (left + right)
    return total


@helper
def _four(var: F32, j0: int, i0: int, taps: F32, ty: int, tx: int) -> np.float32:
    """Return the variance from the four by four pixels in the middle: they have 99.8 per cent of the squares."""
    u, v = np.uint64(tx), np.uint64(ty)
    one = np.uint64(1)
    x, y = np.uint64(i0) + one, np.uint64(j0) + one
    x1, x2, x3 = x + one, x + np.uint64(2), x + np.uint64(3)
    b, c, d, e = taps[u, one], taps[u, np.uint64(2)], taps[u, np.uint64(3)], taps[u, np.uint64(4)]
    b, c, d, e = b * b, c * c, d * d, e * e
    total = np.float32(0)
    for j in range(4):
        k, w = y + np.uint64(j), taps[v, np.uint64(j) + one]
        total += w * w * ((b * var[k, x] + c * var[k, x1]) + (d * var[k, x2] + e * var[k, x3]))
    return total


@helper
def _some(
    data: F32, var: F32, mask: U32, bad: U8, j0: int, i0: int, wy: F32, wx: F32
) -> tuple[np.float32, np.float32, np.uint32]:
    """Return value, variance and bits where some pixels under the kernel are bad or outside."""
    ny, nx = data.shape
    total, noise, kept, lost = 0.0, 0.0, 0.0, 0.0
    found = np.uint32(0)
    for j in range(wy.size):
        for i in range(wx.size):
            w = wy[j] * wx[i]
            y, x = j0 + j, i0 + i
            inside = y >= 0 and x >= 0 and y < ny and x < nx
            if inside and not bad[y, x]:
                total += w * data[y, x]
                noise += w * w * var[y, x]
                kept += w
            elif w != 0:
                lost += abs(w)
                if abs(w) > LOST:
                    found |= mask[y, x] if inside else OUTSIDE
    if lost > LOST or kept <= 0:
        return np.float32(0), np.float32(0), found if found != 0 else OUTSIDE
    return np.float32(total / kept), np.float32(noise / (kept * kept)), np.uint32(0)


def rehearse() -> None:
    """Compile the kernels of this module."""
    image = np.ones((8, 8), np.float32)
    x, y = np.meshgrid((np.arange(4) - 1.0) * 8, (np.arange(4) - 1.0) * 8)
    warp(Source(image, image, np.zeros((8, 8), np.uint32), 1), Nodes(8, x, y, np.ones((4, 4)), 0.0), (8, 8))


def warp_plain(data: ArrayLike, var: ArrayLike, bad: ArrayLike, x: F64, y: F64, stretch: float = 1.0) -> Warped:
    """Do what `warp` does, without area, at exact positions `x`, `y` (ny, nx): one pixel after the other in numpy."""
    image, noise, hurt = np.asarray(data, float), np.asarray(var, float), np.asarray(bad) != 0
    half = int(np.ceil(3 * stretch))
    result = Warped(np.zeros(x.shape, np.float32), np.zeros(x.shape, np.float32), np.zeros(x.shape, np.uint32))
    for place in np.ndindex(x.shape):
        columns, rows = (int(np.floor(p[place])) + np.arange(1 - half, half + 1) for p in (x, y))
        wx, wy = lanczos((x[place] - columns) / stretch), lanczos((y[place] - rows) / stretch)
        weight = np.outer(wy / wy.sum(), wx / wx.sum())
        inside = np.outer((rows >= 0) & (rows < image.shape[0]), (columns >= 0) & (columns < image.shape[1]))
        r, c = np.clip(rows, 0, image.shape[0] - 1), np.clip(columns, 0, image.shape[1] - 1)
        good = inside & ~hurt[np.ix_(r, c)]
        if np.abs(weight[~good]).sum() > LOST:
            result.bits[place] = OUTSIDE
            continue
        weight = np.where(good, weight, 0) / weight[good].sum()
        result.value[place] = (weight * image[np.ix_(r, c)]).sum()
        result.var[place] = (weight**2 * noise[np.ix_(r, c)]).sum()
    return result
