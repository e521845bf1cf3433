"""The pedestal goes, the light stays, whatever the overscan has been through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.frames import detector, raw
from nightpipe.base.errors import BadFrameError
from nightpipe.model.flags import Flag
from nightpipe.steps.detector.overscan import Overscan, pedestal, steady_lines


def test_two_amplifiers_lose_their_own_pedestals():
    chip = detector(amps=2)
    level = np.full((64, 128), 1000.0)
    level[:, 48:96] = level[:, 112:] = 1100.0
    frame = Overscan().run(raw(np.random.default_rng(1), 300.0, chip=chip, pedestal=level))
    assert frame.shape == (64, 96)
    assert np.array_equal(np.unique(frame.amp), [0, 1])
    for half in (frame.data[:, :48], frame.data[:, 48:]):
        assert np.mean(half) == pytest.approx(200.0, abs=1.0)
    assert frame.header["NPPED1"] == pytest.approx(1100.0, abs=1.0)


def test_sloping_pedestal_is_followed():
    slope = 1000 + 150 * np.exp(-np.arange(400) / 90.0)
    chip = detector(nx=400, ny=64, over=24, axis="x")
    frame = Overscan().run(raw(np.random.default_rng(2), 0.0, chip=chip, pedestal=slope[None, :]))
    columns = frame.data.mean(axis=0)
    assert np.std(columns) < 1.2  # 0.42 of it is the columns' own noise
    assert abs(columns.mean()) < 0.3


def test_light_that_spills_into_the_overscan_is_left_out():
    chip = detector(over=20)
    exposed = raw(np.random.default_rng(3), 100.0, chip=chip)
    data = exposed.data.copy()
    data[:, 96:99] += [4000, 300, 40]
    found = pedestal(data, chip.amplifiers[0], knots=8)
    assert found.lines == 17
    assert found.value.mean() == pytest.approx(1000.0, abs=0.4)


def test_error_of_the_pedestal_is_honest():
    """(measured - truth) / error of the mean level over many frames has unit scatter."""
    rng = np.random.default_rng(4)
    chip = detector(nx=32, ny=80, over=16)
    pulls = []
    for _ in range(150):
        found = pedestal(raw(rng, 0.0, chip=chip, digital=False).data, chip.amplifiers[0], knots=8)
        pulls.append((found.value[40] - 1000) / np.sqrt(found.var[40]))
    assert abs(np.mean(pulls)) < 0.3
    assert 0.75 < np.std(pulls) < 1.35


def test_cosmic_rays_in_the_overscan_do_not_matter():
    chip = detector()
    exposed = raw(np.random.default_rng(5), 0.0, chip=chip)
    data = exposed.data.copy()
    data[::5, 100] = 30000
    assert abs(Overscan().run(_with(exposed, data)).data.mean()) < 0.4


def test_no_overscan_keeps_the_pedestal_and_says_so():
    frame = Overscan().run(raw(np.random.default_rng(6), 0.0, chip=detector(axis="")))
    assert frame.data.mean() == pytest.approx(1000, abs=1)
    assert [caveat.code for caveat in frame.caveats] == ["overscan.none"]


def test_wrapped_values_and_bad_sections_are_flagged():
    chip = detector(bad=((3, 5, 0, 64),))
    exposed = raw(np.random.default_rng(7), 0.0, chip=chip)
    data = exposed.data.copy()
    data[0, 0] = 4.29e9
    data[1, 1] = np.nan
    frame = Overscan().run(_with(exposed, data))
    assert frame.mask[0, 0] & Flag.NO_DATA
    assert frame.data[0, 0] == 0
    assert frame.mask[1, 1] & Flag.NO_DATA
    assert (frame.mask[:, 3:5] & np.uint32(Flag.BAD)).all()
    assert not frame.mask[2:, 6:].any()


def test_orientation_puts_wavelength_along_x():
    chip = detector(nx=40, ny=90, dispersion="y", increasing=False)
    light = np.linspace(0, 9000, 90)[:, None] * np.ones(40)
    frame = Overscan().run(raw(np.random.default_rng(8), light, chip=chip))
    assert frame.shape == (40, 90)
    assert frame.data[:, 0].mean() > frame.data[:, -1].mean()


def test_array_too_small_for_its_sections():
    exposed = raw(np.random.default_rng(9))
    with pytest.raises(BadFrameError, match="raw0001"):
        Overscan().run(_with(exposed, exposed.data[:30]))


@settings(max_examples=25, deadline=None, derandomize=False)
@given(seed=st.integers(0, 2**31), level=st.integers(0, 60000), knots=st.integers(0, 40), bad=st.integers(0, 200))
def test_always_finite_and_shift_equivariant(seed, level, knots, bad):
    """Whole numbers add without rounding, so what a constant changes must be nothing, whatever the dice."""
    rng = np.random.default_rng(seed)
    exposed = raw(rng, 50.0)
    data = exposed.data.copy()
    data.flat[rng.integers(0, data.size, bad)] = rng.choice([np.nan, 0.0, 4.29e9, 65535.0], bad)
    frame = Overscan(knots=knots).run(_with(exposed, data))
    assert np.isfinite(frame.data).all()
    assert np.isfinite(frame.var).all()
    assert (frame.var >= 0).all()
    moved = Overscan(knots=knots).run(_with(exposed, data + np.float32(level)))
    ordinary = (data[:, :96] > 10) & (data[:, :96] < 60000)
    assert np.allclose(frame.data[ordinary], moved.data[ordinary], rtol=0, atol=0.01)  # a float32 of 65,000 has 0.004
    assert np.array_equal(frame.var, moved.var)


def test_steady_lines_keeps_all_of_a_quiet_overscan():
    lines = np.random.default_rng(10).normal(0, 5, (300, 40))
    assert steady_lines(lines).sum() >= 39


def _with(exposed, data):
    from dataclasses import replace

    return replace(exposed, data=data.astype(np.float32))
