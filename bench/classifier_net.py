"""A small network in plain numpy that ranks kinds and redshifts of a spectrum together, and its training."""

# ruff: noqa: PLW2901 - arrays are changed in place
from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
HIDDEN = (192, 64)
BATCH, SHOWN = 48, 6
"""Spectra in a step, and of each so many candidate redshifts."""
RATE, DECAY = 2e-3, 2e-2
POOL = 1 << 22
"""Random numbers of the noise that is added to the inputs."""
TENTH = np.float32(-1.2816)
"""A tenth of normal numbers lie below."""
LABELS = 0.015
"""Share of the labels of catalogues that are wrong."""


@dataclass
class Lists:
    """Spectra as lists of candidates: `x` (n, c, f) scaled, `valid`, `near` (n, c), `kinds`, `group` (n, k), `weight`.

    `kinds` tell how far a label permits each, `group` those of its type; `known` (n, f) are the inputs at the true
    redshift, or about it, zero where there is none.
    """

    x: NDArray[np.float16]
    known: NDArray[np.float16]
    valid: NDArray[np.bool_]
    near: NDArray[np.bool_]
    kinds: F32
    group: F32
    weight: NDArray[np.float64]

    def of(self, rows: Any) -> Lists:
        return Lists(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def train(lists: Lists, rng: np.random.Generator, epochs: int) -> tuple[tuple[F32, ...], tuple[F32, ...]]:
    """Return weights and biases; the last output is "this redshift is wrong".

    What is minimised, by Adam with decay, is -log of the probability, among all kinds at all candidates, of a permitted
    kind at the right redshift, plus that of the type at any; and of a permitted kind where the redshift is known.
    """
    sizes = (lists.x.shape[2], *HIDDEN, lists.kinds.shape[1] + 1)
    params = [rng.normal(0, np.sqrt(2.0 / a), (a, b)).astype(np.float32) for a, b in pairwise(sizes)]
    params += [np.zeros(b, np.float32) for b in sizes[1:]]
    state = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    steps = epochs * (len(lists.x) // BATCH)
    noise = rng.standard_normal(POOL, dtype=np.float32)
    draw = lists.weight / lists.weight.sum()
    for step in range(1, steps + 1):
        rows = rng.choice(len(lists.x), size=BATCH, p=draw)
        x, grad_of = _batch(lists, rows, rng)
        outputs, cache = _forward(params, x, rng, noise)
        grads = _backward(params, cache, grad_of(outputs))
        rate = np.float32(RATE * 0.5 * (1 + np.cos(np.pi * step / steps)) * min(1.0, step / 200))
        for k, (param, (m, v), grad) in enumerate(zip(params, state, grads, strict=True)):
            m += np.float32(0.1) * (grad - m)
            v += np.float32(0.001) * (grad * grad - v)
            bias = np.float32(np.sqrt(1 - 0.999**step) / (1 - 0.9**step))
            param -= rate * bias * m / (np.sqrt(v) + np.float32(1e-8))
            if k < len(sizes) - 1:
                param -= rate * np.float32(DECAY) * param
    half = len(sizes) - 1
    return tuple(params[:half]), tuple(params[half:])


def _batch(lists: Lists, rows: Any, rng: np.random.Generator) -> tuple[F32, Any]:
    # those near the truth are always shown, of the others some
    score = rng.random(lists.valid[rows].shape) + 2.0 * lists.near[rows] - 9.0 * ~lists.valid[rows]
    chosen = np.argsort(-score, axis=1)[:, :SHOWN]
    at = rows[:, None], chosen
    x = np.concatenate([lists.x[at], lists.known[rows][:, None]], axis=1).astype(np.float32)
    valid, near = lists.valid[at], lists.near[at]
    kinds, group = lists.kinds[rows], lists.group[rows]
    known = np.abs(x[:, -1]).sum(axis=1) > 0
    x = x.reshape(-1, x.shape[2])

    def gradient(outputs: F32) -> F32:
        out = outputs.reshape(len(rows), SHOWN + 1, -1)
        odds = out[:, :, :-1] - out[:, :, -1:]
        g = np.zeros_like(odds)
        listed = np.where(valid[:, :, None], odds[:, :-1], -1e9)
        p = np.exp(listed - listed.max(axis=(1, 2), keepdims=True))
        p /= p.sum(axis=(1, 2), keepdims=True)
        right = near[:, :, None] * kinds[:, None]
        typed = valid[:, :, None] * group[:, None]
        g[:, :-1] = _pull(p, right) + _pull(p, typed)
        alone = odds[:, -1:]
        q = np.exp(alone - alone.max(axis=2, keepdims=True))
        q /= q.sum(axis=2, keepdims=True)
        g[:, -1:] = 0.7 * _pull(q, kinds[:, None] * known[:, None, None])
        full = np.concatenate([g, -g.sum(axis=2, keepdims=True)], axis=2) / len(rows)
        return full.reshape(-1, full.shape[2]).astype(np.float32)

    return x, gradient


def _pull(p: F32, allowed: F32) -> F32:
    """Return the gradient of ``-log sum(p allowed)``; none where nothing is allowed."""
    target = p * allowed
    total = target.sum(axis=(1, 2), keepdims=True)
    target = target / np.maximum(total, 1e-12)
    return np.where(total > 0, (1 - LABELS) * (p - target), 0.0).astype(np.float32)


def _forward(params: list[F32], x: F32, rng: np.random.Generator, noise: F32) -> tuple[F32, Any]:
    half = len(params) // 2
    # new noise at each step takes as long as the rest of it; a piece of a long one serves as well
    first, second = rng.integers(0, POOL - x.size, 2)
    h = x + np.float32(0.08) * noise[first : first + x.size].reshape(x.shape)
    h *= (noise[second : second + x.size].reshape(x.shape) > TENTH) * np.float32(1 / 0.9)
    cache = [(h, None)]
    for k in range(half):
        a = h @ params[k] + params[half + k]
        if k < half - 1:
            mask = (a > 0) * (rng.random(a.shape, dtype=np.float32) > 0.35) / np.float32(0.65)
            h = a * mask
            cache.append((h, mask))
        else:
            h = a
    return h, cache


def _backward(params: list[F32], cache: Any, g: F32) -> list[F32]:
    half = len(params) // 2
    weights: list[Any] = [None] * half
    biases: list[Any] = [None] * half
    for k in range(half - 1, -1, -1):
        weights[k], biases[k] = cache[k][0].T @ g, g.sum(0)
        if k:
            g = (g @ params[k].T) * cache[k][1]
    return weights + biases
