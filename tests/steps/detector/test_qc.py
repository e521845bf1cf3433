"""Numbers that judge calibrations say what they should."""

from __future__ import annotations

import numpy as np
import pytest

from builders.frames import clean, detector, noise, raw
from nightpipe.model.flags import Flag
from nightpipe.qc.detector import bias_metrics, flat_metrics, frame_metrics, noise_metrics, pair_chi
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.detector.overscan import Overscan


def test_bias():
    rng = np.random.default_rng(1)
    found = bias_metrics(CombineFrames().run(tuple(Overscan().run(raw(rng)) for _ in range(6))))
    assert found["pedestal_adu"] == pytest.approx(1000, abs=1)
    assert found["noise_adu"] == pytest.approx(np.hypot(5 / 1.5, 12**-0.5), rel=0.03)
    assert found["bias_structure_adu"] < 0.5
    assert found["bias_frames"] == 6


def test_flat_and_frame():
    rng = np.random.default_rng(2)
    flat = clean(rng, 1000.0)
    flat = flat.but(data=flat.data / 1000, var=flat.var / 1e6, unit="")
    flat.mask[:16] = Flag.NO_FLAT
    assert flat_metrics(flat)["flat_coverage"] == pytest.approx(0.75)
    flat.mask[:] = Flag.NO_FLAT
    assert flat_metrics(flat) == {"flat_coverage": 0.0}
    frame = clean(rng, 100.0)
    frame.mask[3, 3] = Flag.COSMIC
    assert frame_metrics(frame)["cosmic_pixels"] == 1
    assert frame_metrics(frame)["error_median"] == pytest.approx(np.sqrt(125))


def test_noise_and_chi():
    assert noise_metrics(noise(detector(), gain=1.8))["gain_over_header_A0"] == pytest.approx(1.2)
    rng = np.random.default_rng(3)
    assert pair_chi(clean(rng, 500.0), clean(rng, 250.0), 2.0) == pytest.approx(1, abs=0.03)
