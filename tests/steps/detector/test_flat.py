"""The flat keeps what pixels and slit do, and nothing of the lamp."""

from __future__ import annotations

import numpy as np
import pytest

from builders.frames import clean
from nightpipe.base.errors import BadFrameError
from nightpipe.maths.fringes import ripples
from nightpipe.maths.poly import Poly1
from nightpipe.model.disperser import Disperser
from nightpipe.model.flags import Flag
from nightpipe.model.traces import Trace, TraceSet
from nightpipe.steps.detector.flat import FlatField, NormaliseFlat

NY, NX = 120, 480
Y, X = np.mgrid[:NY, :NX]
NARROW = np.exp(-0.5 * ((np.arange(NX) - 300) / 80.0) ** 2)


def slit(lower=10.0, upper=109.0, tilt=3.0, measured=True):
    """Return a slit whose edges rise by `tilt` pixels over the detector."""
    domain = (0.0, NX - 1.0)
    lines = [Poly1(np.array([value, tilt / 2]), domain) for value in ((lower + upper) / 2, lower, upper)]
    return TraceSet((Trace("slit", "slit", *lines),), measured)


def offset(tilt=3.0):
    return Y - 59.5 - tilt * (X / (NX - 1) - 0.5)


def dusty(u):
    """Return the illumination: a slope, and thin dust lines."""
    return (1 + 0.002 * u) * (
        1 - 0.05 * np.exp(-0.5 * ((u - 12) / 1.0) ** 2) - 0.03 * np.exp(-0.5 * ((u + 25) / 1.5) ** 2)
    )


def lamp(rng, *, top=60000.0, spectrum=None, response=None, extra=0.0, fringes_from=0.0, dispersion=5.0):
    """Return a lamp frame and its true flat."""
    shape = spectrum if spectrum is not None else np.exp(-0.5 * ((np.arange(NX) - 300) / 150.0) ** 2)
    inside = np.abs(offset()) <= 49.5
    truth = np.where(inside, dusty(offset()), 0) * (1 if response is None else response)
    frame = clean(rng, top * shape[None, :] * truth + extra, shape=(NY, NX))
    disperser = Disperser("g", dispersion, 6000.0, 20.0, 0.03, (4000, 8000), 10.0, fringes_from=fringes_from)
    return frame.but(disperser=disperser), truth, inside


def test_flat_is_response_times_illumination():
    rng = np.random.default_rng(1)
    response = rng.normal(1, 0.01, (NY, NX))
    frame, truth, _ = lamp(rng, response=response)
    flat = NormaliseFlat().run(frame, slit())
    core = (np.abs(offset()) < 47) & (flat.mask == 0)
    assert core.mean() > 0.6
    ratio = flat.data / np.where(truth > 0, truth, 1)
    ratio /= np.median(ratio[core])
    pulls = (ratio - 1)[core] / (np.sqrt(flat.var) / flat.data)[core]
    assert np.std(pulls) == pytest.approx(1, abs=0.1)
    columns = [np.mean(ratio[:, x][core[:, x]]) for x in range(100, 460)]
    assert np.std(columns) < 0.004  # the lamp's spectrum, a factor of 20, is gone


def test_dividing_evens_out_the_sky():
    rng = np.random.default_rng(2)
    response = rng.normal(1, 0.03, (NY, NX))
    frame, truth, _ = lamp(rng, response=response)
    flat = NormaliseFlat().run(frame, slit())
    sky = clean(rng, 20000 * truth, shape=(NY, NX))
    even = FlatField().run(sky, flat)
    core = (np.abs(offset()) < 46) & (flat.mask == 0)
    pulls = (even.data / np.median(even.data[core]) - 1)[core] * 20000 / np.sqrt(even.var[core])
    assert np.std(pulls) == pytest.approx(1, abs=0.06)
    before = np.std(sky.data[core] / 20000)
    assert before > 3 * np.std(even.data[core] / np.median(even.data[core]))


def test_dark_ends_get_the_illumination_and_a_flag():
    frame, _, inside = lamp(np.random.default_rng(3), spectrum=NARROW)
    flat = NormaliseFlat().run(frame, slit())
    end = inside & (X < 5) & (np.abs(offset()) < 40)
    assert (flat.mask[end] & np.uint32(Flag.NO_FLAT)).all()
    assert np.allclose(flat.data[end] / dusty(offset())[end], 1, atol=0.03)
    assert not flat.var[end].any()
    outside = np.abs(offset()) > 51
    assert np.all(flat.data[outside] == 1)
    assert (flat.mask[outside] & np.uint32(Flag.OUTSIDE_SLIT)).all()


def test_an_assumed_slit_puts_nothing_outside():
    frame, _, _ = lamp(np.random.default_rng(4))
    flat = NormaliseFlat().run(frame, slit(measured=False))
    assert not (flat.mask & np.uint32(Flag.OUTSIDE_SLIT)).any()


def test_lines_of_the_lamp_do_not_stay_in_the_flat():
    spectrum = np.exp(-0.5 * ((np.arange(NX) - 300) / 150.0) ** 2)
    spectrum *= 1 - 0.3 * np.exp(-0.5 * ((np.arange(NX) - 250) / 2.0) ** 2)
    frame, truth, _ = lamp(np.random.default_rng(5), spectrum=spectrum)
    flat = NormaliseFlat().run(frame, slit())
    rows = slice(40, 80)
    ratio = np.mean((flat.data / np.where(truth > 0, truth, 1))[rows], axis=0)
    assert abs(ratio[248:253] / np.median(ratio[200:300]) - 1).max() < 0.03  # of a line 30% deep


def test_fringes_are_named_with_range_and_amplitude():
    ripple = 1 + 0.04 * np.sin(2 * np.pi * (X / 9.0 + Y / 50.0)) * (X > 350)
    frame, _, _ = lamp(np.random.default_rng(6), response=ripple, fringes_from=6300.0)
    flat = NormaliseFlat().run(frame, slit())
    found = [c for c in flat.caveats if c.code == "flat.fringes"]
    assert len(found) == 1
    assert "4." in found[0].text or "3.9%" in found[0].text
    quiet, _, _ = lamp(np.random.default_rng(7), fringes_from=6300.0)
    assert not [c for c in NormaliseFlat().run(quiet, slit()).caveats if c.code == "flat.fringes"]


def test_fringes_stay_in_the_flat_to_be_divided_out():
    ripple = 1 + 0.04 * np.sin(2 * np.pi * (X / 9.0 + Y / 50.0)) * (X > 350)
    frame, _, _ = lamp(np.random.default_rng(8), response=ripple, fringes_from=6300.0)
    flat = NormaliseFlat().run(frame, slit())
    mean = np.mean(flat.data[58:61, 370:460], axis=0)
    assert np.std(mean / np.mean(mean)) == pytest.approx(0.04 / np.sqrt(2), rel=0.15)


def test_lines_of_the_lamp_are_no_fringes():
    """Lines are the same all along the slit, fringes are not."""
    lines = 1 + 0.05 * np.sin(np.arange(NX) / 1.7) * (np.arange(NX) > 350)
    spectrum = np.exp(-0.5 * ((np.arange(NX) - 300) / 150.0) ** 2) * lines
    frame, truth, _ = lamp(np.random.default_rng(19), spectrum=spectrum, fringes_from=6300.0)
    flat = NormaliseFlat().run(frame, slit())
    assert "flat.fringes" not in {c.code for c in flat.caveats}
    ratio = np.mean((flat.data / np.where(truth > 0, truth, 1))[40:80, 370:460], axis=0)
    assert np.std(ratio / np.mean(ratio)) < 0.01


def test_ripples_need_neighbouring_rows_to_agree():
    rng = np.random.default_rng(9)
    good = np.ones((60, 256), bool)
    assert ripples(rng.normal(1, 0.05, (60, 256)), good) == []
    phase = rng.uniform(0, 6, (60, 1))
    assert ripples(1 + 0.05 * np.sin(np.arange(256) / 1.5 + phase), good) == []
    found = ripples(1 + 0.05 * np.sin(np.arange(256) / 1.5) * np.ones((60, 1)) + rng.normal(0, 0.05, (60, 256)), good)
    assert (found[0].start, found[-1].stop) == (0, 256)
    assert found[0].amplitude == pytest.approx(0.05, rel=0.1)


def test_stray_light_is_recognised_by_the_dust_it_lacks():
    stray = 3000.0 * (1 + 0.3 * np.sin(Y / 25.0))
    frame, _, _ = lamp(np.random.default_rng(10), spectrum=NARROW, extra=stray)
    flat = NormaliseFlat().run(frame, slit())
    assert "flat.stray" in {c.code for c in flat.caveats}
    end = (np.abs(offset()) < 40) & (X < 20)
    assert (flat.mask[end] & np.uint32(Flag.NO_FLAT)).all()
    assert np.allclose(flat.data[end] / dusty(offset())[end], 1, atol=0.1)
    assert "flat.stray" not in {c.code for c in NormaliseFlat().run(lamp(np.random.default_rng(11))[0], slit()).caveats}


def test_dead_pixels_are_flagged():
    response = np.ones((NY, NX))
    response[60, 300] = 0.2
    frame, _, _ = lamp(np.random.default_rng(12), response=response)
    flat = NormaliseFlat().run(frame, slit())
    assert flat.mask[60, 300] & Flag.BAD
    assert ((flat.mask & np.uint32(Flag.BAD)) != 0).sum() == 1


def test_a_lamp_without_light_is_an_error():
    with pytest.raises(BadFrameError, match="lamp on"):
        NormaliseFlat().run(clean(np.random.default_rng(13), 3.0, shape=(NY, NX)), slit())


def test_division_propagates_the_variance():
    """The scatter over many flats and frames is what the formula says."""
    rng = np.random.default_rng(14)
    light, sigma = 900.0, 0.03
    frame = clean(rng, light, shape=(100, 200))
    zero = np.zeros((100, 200), np.uint32)
    value = (0.8 + rng.normal(0, sigma, (100, 200))).astype(np.float32)
    flat = frame.but(data=value, var=np.full_like(value, sigma**2), mask=zero, unit="")
    divided = FlatField().run(frame, flat)
    assert np.std((divided.data - light / 0.8) / np.sqrt(divided.var)) == pytest.approx(1, abs=0.03)
    from_model = divided.variance_of(np.full((100, 200), light / 0.8))
    assert np.median(from_model / divided.var) == pytest.approx(1, abs=0.02)


def test_flags_are_passed_on_and_none_is_lost():
    rng = np.random.default_rng(15)
    frame = clean(rng, 900.0)
    frame.mask[1, 1] = Flag.COSMIC
    flat = frame.but(
        data=np.ones_like(frame.data), var=np.zeros_like(frame.var), mask=np.zeros_like(frame.mask), unit=""
    )
    flat.mask[2, 2], flat.data[2, 2] = Flag.NO_FLAT, 0.0
    divided = FlatField().run(frame, flat)
    assert divided.mask[1, 1] == Flag.COSMIC
    assert divided.mask[2, 2] == Flag.NO_FLAT
    assert np.isfinite(divided.data).all()
    with pytest.raises(BadFrameError):
        FlatField().run(clean(rng, 1.0, shape=(64, 90)), flat)


def wide_slit(rng, places, depths, shift=0.0, top=50000.0):
    """Return a lamp frame of a slit that fills the detector, with dust at `places` moved by `shift`, and the truth."""
    y = np.mgrid[:200, :300][0]
    truth = 1 + 0.1 * np.cos((y - shift) / 60.0)
    for place, depth in zip(places, depths, strict=True):
        truth = truth * (1 - depth * np.exp(-0.5 * ((y - place - shift) / 1.2) ** 2))
    return clean(rng, top * truth, shape=(200, 300)), truth


def whole(ny=200, nx=300):
    domain = (0.0, nx - 1.0)
    edges = [Poly1(np.array([value]), domain) for value in ((ny - 1) / 2, -0.5, ny - 0.5)]
    return TraceSet((Trace("slit", "slit", *edges),), False)


@pytest.mark.parametrize("moved", [0.0, 3.0, -1.6])
def test_the_slit_may_have_moved_since_the_flat(moved):
    """Its dust is found in the frame's own light, and divided out where it lies now."""
    rng = np.random.default_rng(16)
    places, depths = rng.uniform(20, 180, 14), rng.uniform(0.01, 0.05, 14)
    flat = NormaliseFlat().run(wide_slit(rng, places, depths)[0], whole())
    sky, _ = wide_slit(rng, places, depths, shift=moved, top=400.0)
    even = FlatField().run(sky, flat)
    assert even.header["NPSLITDY"] == pytest.approx(moved, abs=0.25)
    rows = np.mean(even.data, axis=1)[10:-10] / 400
    assert np.std(rows / np.median(rows)) < 0.007  # 0.003 by noise; the dust's rms is 0.013
    blind = FlatField(reach=0).run(sky, flat)
    if abs(moved) > 2:
        rows = np.mean(blind.data, axis=1)[10:-10] / 400
        assert np.std(rows / np.median(rows)) > 0.011


def test_dust_that_cannot_be_seen_is_left_out():
    rng = np.random.default_rng(17)
    places, depths = rng.uniform(20, 180, 14), rng.uniform(0.01, 0.05, 14)
    flat = NormaliseFlat().run(wide_slit(rng, places, depths)[0], whole())
    dark, _ = wide_slit(rng, places, depths, shift=3.0, top=3.0)
    even = FlatField().run(dark, flat)
    assert "NPSLITDY" not in even.header
    used = np.median(dark.data / np.where(even.data == 0, 1, even.data), axis=1)
    assert np.std(np.diff(used)) < 0.004  # no dust lines
    assert np.ptp(used) > 0.05  # but the slit's broad illumination


def test_what_the_readout_does_to_border_rows_stays_there():
    rng = np.random.default_rng(18)
    places, depths = rng.uniform(20, 180, 14), rng.uniform(0.01, 0.05, 14)
    border = (1 + 0.04 * np.exp(-np.arange(200) / 2.0))[:, None]
    frames = [
        wide_slit(rng, places, depths, shift=s, top=t)[1] * border * t for s, t in ((0.0, 50000.0), (3.0, 2000.0))
    ]
    lamp_frame, sky = (clean(rng, light, shape=(200, 300)) for light in frames)
    even = FlatField().run(sky, NormaliseFlat().run(lamp_frame, whole()))
    rows = np.mean(even.data, axis=1)
    assert abs(rows[:3] / np.mean(rows[8:16]) - 1).max() < 0.01
