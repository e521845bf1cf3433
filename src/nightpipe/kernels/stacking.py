"""Weighted means of aligned images, clipped against their median without clipping the cores of stars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F32, F64, U8, float32, float64, plain
from nightpipe.kernels.build import helper, kernel

U32 = NDArray[np.uint32]
REJECTED = np.uint32(1 << 7)
"""The bit of `Flag.REJECTED`."""


class Rules(NamedTuple):
    """How each of n images is weighted and judged, (n,) each.

    Values count with `weight`; their expected variance is `base` plus `gain` times the median. A value may stray from
    the median by `clip` (scalar) standard deviations plus `tolerance` times the largest median within one pixel: cores
    of stars differ with the seeing and with the place of the pixels.
    """

    weight: F64
    base: F64
    gain: F64
    tolerance: F64
    clip: float


class Stacked(NamedTuple):
    """The mean `value`, its variance `var`, sum of weights `weight` float32, `number` used uint8, `bits` uint32."""

    value: F32
    var: F32
    weight: F32
    number: U8
    bits: U32


def stack_tile(values: ArrayLike, var: ArrayLike, bits: ArrayLike, rules: Rules) -> Stacked:
    """Return the clipped weighted mean of `values` (n, ny, nx) with variances; `bits` are 0 where a value is good.

    Beside the expected variance the scale is never below that of the scatter (MAD, from five values on). Of two
    or four values the lower middle one is the reference: cosmic rays only add. Values beside a rejected one are
    rejected at half the limit: the skirts of a cosmic ray. Where nothing is left the value is 0 and the bits say why.
    """
    cube, noise, flags = float32(values), float32(var), plain(bits, np.uint32)
    shape = cube.shape[1:]
    result = empty(shape[0], shape[1])
    table = float64(np.array([rules.weight, rules.base, rules.gain, rules.tolerance]))
    _stack(cube, noise, flags, table, float(rules.clip), *result)
    return result


def empty(ny: int, nx: int) -> Stacked:
    """Return a stack of nothing."""
    value, var, weight = (np.zeros((ny, nx), np.float32) for _ in range(3))
    return Stacked(value, var, weight, np.zeros((ny, nx), np.uint8), np.zeros((ny, nx), np.uint32))


@kernel
def _stack(
    values: F32, var: F32, bits: U32, rules: F64, clip: float, out: F32, out_var: F32, weight: F32, count: U8, why: U32
) -> None:
    n, ny, nx = values.shape
    out_cube = np.zeros((n, ny, nx), dtype=np.uint8)
    if n > 1 and clip > 0:
        middle, spread = np.zeros((ny, nx), dtype=np.float32), np.zeros((ny, nx), dtype=np.float32)
        _medians(values, bits, middle, spread)
        top = _brightest(middle)
        if _reject(values, bits, rules, clip, middle, spread, top, out_cube):
            _grow(values, bits, rules, clip, middle, spread, top, out_cube)
    total, noise = np.zeros(nx, dtype=np.float32), np.zeros(nx, dtype=np.float32)
    for y in range(ny):
        total[:] = 0
        noise[:] = 0
        for i in range(n):
            w = np.float32(rules[0, i])
            for x in range(nx):
                use = np.float32(1) if bits[i, y, x] == 0 and out_cube[i, y, x] == 0 else np.float32(0)
                total[x] += use * w * values[i, y, x]
                noise[x] += use * w * w * var[i, y, x]
                weight[y, x] += use * w
                count[y, x] += np.uint8(use)
        for x in range(nx):
            if count[y, x] > 0:
                out[y, x] = total[x] / weight[y, x]
                out_var[y, x] = noise[x] / (weight[y, x] * weight[y, x])
            else:
                for i in range(n):
                    why[y, x] |= bits[i, y, x] or REJECTED


@helper
def _medians(values: F32, bits: U32, middle: F32, spread: F32) -> None:
    """Write the median of each pixel's good values and, from five on, the scale of their scatter."""
    n, ny, nx = values.shape
    found = np.empty(n, dtype=np.float32)
    for y in range(ny):
        for x in range(nx):
            good = 0
            for i in range(n):
                if bits[i, y, x] == 0:
                    _insert(found, good, values[i, y, x])
                    good += 1
            if good == 0:
                continue
            upper = good // 2 if good > 4 else (good - 1) // 2
            m = np.float32(0.5) * (found[(good - 1) // 2] + found[upper])
            middle[y, x] = m
            if good >= 5:
                spread[y, x] = np.float32(1.4826 * good / (good - 0.8)) * _deviation(found, good, m)


@helper
def _insert(found: F32, size: int, value: np.float32) -> None:
    k = size
    while k > 0 and found[k - 1] > value:
        found[k] = found[k - 1]
        k -= 1
    found[k] = value


@helper
def _deviation(ordered: F32, size: int, middle: np.float32) -> np.float32:
    """Return the median absolute deviation of ordered values, by walking outwards from both ends inwards."""
    low, high = 0, size - 1
    last, before = np.float32(0), np.float32(0)
    for _ in range(size // 2 + 1):  # the largest deviations stand at the ends
        before = last
        below, above = middle - ordered[low], ordered[high] - middle
        if below > above:
            last = below
            low += 1
        else:
            last = above
            high -= 1
    return last if size % 2 else np.float32(0.5) * (before + last)


@helper
def _brightest(middle: F32) -> F32:
    """Return the largest of the 3 x 3 medians around each pixel, not below zero."""
    ny, nx = middle.shape
    rows, top = np.empty((ny, nx), dtype=np.float32), np.empty((ny, nx), dtype=np.float32)
    zero = np.float32(0)
    for y in range(ny):
        below, above = middle[max(y - 1, 0)], middle[min(y + 1, ny - 1)]
        for x in range(nx):
            rows[y, x] = max(below[x], above[x], middle[y, x], zero)
        for x in range(nx):
            top[y, x] = max(rows[y, max(x - 1, 0)], rows[y, min(x + 1, nx - 1)], rows[y, x])
    return top


@helper
def _far(
    value: np.float32, rules: F64, i: int, clip: float, middle: np.float32, spread: np.float32, top: np.float32
) -> bool:
    expected = rules[1, i] + rules[2, i] * max(middle, np.float32(0))
    scale = np.sqrt(max(expected, float(spread) * float(spread)))
    return bool(abs(value - middle) > clip * scale + rules[3, i] * top)


@helper
def _reject(values: F32, bits: U32, rules: F64, clip: float, middle: F32, spread: F32, top: F32, gone: U8) -> bool:
    n, ny, nx = values.shape
    some = False
    for i in range(n):
        for y in range(ny):
            for x in range(nx):
                off = abs(values[i, y, x] - middle[y, x])
                if off * off <= clip * clip * rules[1, i] or bits[i, y, x]:  # nearly all: no need to look closer
                    continue
                if _far(values[i, y, x], rules, i, clip, middle[y, x], spread[y, x], top[y, x]):
                    gone[i, y, x] = 1
                    some = True
    return some


@helper
def _grow(values: F32, bits: U32, rules: F64, clip: float, middle: F32, spread: F32, top: F32, gone: U8) -> None:
    """Reject the neighbours of rejected values that stray by half the limit; they are marked 2, and grow no farther."""
    n, ny, nx = values.shape
    for i in range(n):
        for y in range(ny):
            for x in range(nx):
                if gone[i, y, x] != 1:
                    continue
                for v in range(max(y - 1, 0), min(y + 2, ny)):
                    for u in range(max(x - 1, 0), min(x + 2, nx)):
                        if gone[i, v, u] or bits[i, v, u]:
                            continue
                        if _far(values[i, v, u], rules, i, clip / 2, middle[v, u], spread[v, u], top[v, u]):
                            gone[i, v, u] = 2


def rehearse() -> None:
    """Compile the kernels of this module."""
    one = np.ones(2)
    stack_tile(np.ones((2, 3, 3)), np.ones((2, 3, 3)), np.zeros((2, 3, 3)), Rules(one, one, one, one, 3.0))


def stack_plain(values: ArrayLike, var: ArrayLike, bits: ArrayLike, rules: Rules) -> Stacked:
    """Do what `stack_tile` does, in plain numpy."""
    cube, noise, good = np.asarray(values, float), np.asarray(var, float), np.asarray(bits) == 0
    middle, scale = _robust_plain(cube, good)
    edge = np.pad(np.maximum(middle, 0), 1, mode="edge")
    ny, nx = middle.shape
    top = np.max([edge[j : j + ny, i : i + nx] for j in range(3) for i in range(3)], axis=0)
    column = [np.asarray(part, float)[:, None, None] for part in rules[:4]]
    sigma = np.sqrt(np.maximum(column[1] + column[2] * np.maximum(middle, 0), scale**2))
    off, slack = np.abs(cube - middle), column[3] * top
    far = good & (off > rules.clip * sigma + slack)
    wide = np.pad(far, ((0, 0), (1, 1), (1, 1)))
    near = np.any([wide[:, j : j + ny, i : i + nx] for j in range(3) for i in range(3)], axis=0)
    use = good & ~far & ~(near & (off > rules.clip / 2 * sigma + slack))
    weight = np.where(use, column[0], 0)
    total = weight.sum(axis=0)
    empty = total == 0
    why = np.bitwise_or.reduce(np.where(good, REJECTED, np.asarray(bits, np.uint32)), axis=0)
    parts = (weight * cube).sum(axis=0), (weight**2 * noise).sum(axis=0)
    safe = np.where(empty, 1, total)
    return Stacked(
        float32(parts[0] / safe), float32(parts[1] / safe**2), float32(total), use.sum(axis=0).astype(np.uint8),
        np.where(empty, why, 0).astype(np.uint32),
    )  # fmt: skip


def _robust_plain(cube: F64, good: NDArray[np.bool_]) -> tuple[F64, F64]:
    middle, scale = np.zeros(cube.shape[1:]), np.zeros(cube.shape[1:])
    for place in np.ndindex(middle.shape):
        kept = np.sort(cube[(slice(None), *place)][good[(slice(None), *place)]])
        if len(kept):
            middle[place] = kept[(len(kept) - 1) // 2] if len(kept) <= 4 else np.median(kept)
        if len(kept) >= 5:
            factor = 1.4826 * len(kept) / (len(kept) - 0.8)
            scale[place] = factor * np.median(np.abs(kept - middle[place]))
    return middle, scale
