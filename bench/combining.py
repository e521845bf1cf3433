"""Clipped mean of twenty frames."""

from __future__ import annotations

import numpy as np

from nightpipe.kernels.combine import clipped_mean, clipped_median


def run(table_class, *, small):
    size = 512 if small else 1024
    table = table_class(f"clipped mean, 20 x {size} x 4096 float32")
    rng = np.random.default_rng(1)
    stack = rng.standard_normal((20, size, 4096), dtype=np.float32)
    stack *= 10
    stack += 1000
    hits = rng.integers(0, stack.size, stack.size // 2000)
    stack.reshape(-1)[hits] += 500
    ours = table.time("nightpipe clipped_mean", lambda: clipped_mean(stack))
    table.time("nightpipe clipped_median", lambda: clipped_median(stack))
    table.time("numpy mean, no clip", lambda: stack.mean(axis=0))
    peer = table.time("astropy sigma_clip (64-row blocks)", lambda: _astropy(stack), needs="astropy", repeat=1)
    if peer is not None:
        table.note(f"median |difference| {np.median(np.abs(peer - ours.value)):.1e}")
    table.time("ccdproc combine, mean/std, 1 clip", lambda: _ccdproc(stack), needs="ccdproc", repeat=1)
    table.show()


def _astropy(stack):
    from astropy.stats import sigma_clip

    blocks = [stack[:, start : start + 64] for start in range(0, stack.shape[1], 64)]
    return np.concatenate([sigma_clip(block, sigma=3, axis=0, maxiters=5).mean(axis=0).filled(0) for block in blocks])


def _ccdproc(stack):
    from astropy.nddata import CCDData
    from ccdproc import combine

    frames = [CCDData(frame, unit="adu") for frame in stack]
    return combine(frames, method="average", sigma_clip=True, sigma_clip_low_thresh=3, sigma_clip_high_thresh=3)
