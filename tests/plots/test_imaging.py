"""Figures of imaging are drawn from any product, also from empty ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.starfield import field
from nightpipe.model.sources import LightCurve, Sources, ZeroPoint
from nightpipe.plots import imaging
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.photometry import Photometer
from nightpipe.steps.imaging.psf import ModelPsf


@pytest.fixture(scope="module")
def scene():
    frame = field(np.random.default_rng(4), grid=40, shape=(512, 512), least=1000).frame
    sources = Detect().run(frame)
    psf = ModelPsf().run(frame, sources)
    return frame, psf, Photometer().run(frame, sources, psf)


def solved(sources: Sources) -> ZeroPoint:
    rng = np.random.default_rng(5)
    n = min(80, len(sources))
    colour, error = rng.normal(1, 0.4, n), np.full(n, 0.015)
    offset = 25 + 0.04 * (colour - 1) + rng.normal(0, 0.02, n)
    kept = np.abs(offset - 25 - 0.04 * (colour - 1)) < 0.035
    used = np.column_stack([np.arange(n), offset, error, colour, kept])
    return ZeroPoint(25.0, 0.003, "r", "PS1", "refcat2", int(kept.sum()), 0.02, "g-i", 0.04, 0.006, 1.0, 25.1, 21.3,
                     20.8, 0.93, used)  # fmt: skip


def curve(n=14):
    rng = np.random.default_rng(6)
    mjd = 59000.2 + 0.02 * np.arange(n)
    flux = 40 * np.exp(-np.arange(n) / 4.0) + rng.normal(0, 2, n)
    error = np.full(n, 2.0)
    flux[3:4] = error[3:4] = np.nan
    seen = flux > 3 * error
    mag = np.where(seen, 23.9 - 2.5 * np.log10(np.where(seen, flux, 1)), np.nan)
    limit = np.where(np.isfinite(flux), 23.9 - 2.5 * np.log10(3 * error), np.nan)
    return LightCurve("SN 2020x", 150.0, 2.0, mjd, np.full(n, 120.0), tuple("rg"[k % 2] for k in range(n)),
                      tuple(f"f{k}" for k in range(n)), flux, error, mag, 1.0857 * error / flux, limit, 3.0,
                      ("microjansky",) * n)  # fmt: skip


def test_zero_points(scene):
    *_, sources = scene
    drawn = imaging.zero_point(solved(sources), sources)
    assert len(drawn.axes) == 2
    assert len(imaging.zero_point(replace(solved(sources), used=np.zeros(0), scatter=np.nan), sources).axes) == 2


def test_psfs(scene):
    frame, psf, sources = scene
    assert len(imaging.point_spread(psf, frame, sources).axes) == 5
    assert len(imaging.point_spread(psf).axes) == 5


def test_light_curves():
    assert len(imaging.light_curve(curve()).axes) == 2
    blind = replace(curve(1), flux=np.array([np.nan]), mag=np.array([np.nan]), limit=np.array([np.nan]))
    assert len(imaging.light_curve(blind).axes) == 2
