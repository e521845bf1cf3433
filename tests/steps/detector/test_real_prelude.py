"""The prelude on real frames: numbers that were measured by other means."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from builders.real import load
from builders.scenes import tracks
from nightpipe.maths.robust import clipped_stats
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.qc.detector import pair_chi
from nightpipe.steps.detector.bias import Bias
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.detector.cosmics import Cosmics, RejectRepeats
from nightpipe.steps.detector.flat import FlatField, NormaliseFlat
from nightpipe.steps.detector.gain import Electrons
from nightpipe.steps.detector.linearity import Linearity
from nightpipe.steps.detector.noise import MeasureNoise
from nightpipe.steps.detector.overscan import Overscan
from nightpipe.steps.spectra.trace import WholeSlit

pytestmark = pytest.mark.real


@cache
def night(folder: Path):
    """Return the bias, the noise and a function that cleans a frame by its number, of the ALFOSC night."""
    biases = tuple(load(folder / f"ALDc2{n}.fits.gz") for n in range(10004, 10015))
    flats = tuple(load(folder / f"ALDc200{n}.fits.gz") for n in range(337, 342))
    noise = MeasureNoise().run(biases, flats)
    bias = CombineFrames().run(tuple(Overscan().run(raw) for raw in biases))

    @cache
    def clean(number: int) -> Frame:
        frame = Linearity().run(Overscan().run(load(folder / f"ALDc2{number:05d}.fits.gz")))
        return Electrons().run(Bias().run(frame, bias), noise)

    return bias, noise, clean


@pytest.fixture
def alfosc(shared_data):
    return night(shared_data("alfosc-grism4-2020") / "raw")


def test_gain_and_read_noise_of_the_night(alfosc):
    """0.179 electron/adu and 5.7 electrons by two other measurements, 0.16 and 4.3 by the header."""
    _, noise, _ = alfosc
    assert noise.gain[0] == pytest.approx(0.179, rel=0.01)
    assert noise.read_noise[0] == pytest.approx(5.7, rel=0.02)
    codes = {caveat.code: caveat.text for caveat in noise.caveats}
    assert set(codes) == {"gain.differs", "noise.differs"}
    assert "0.179" in codes["gain.differs"]
    assert "0.16 by" in codes["gain.differs"]
    assert "4.3 by" in codes["noise.differs"]


def test_noise_model_holds_on_differences(alfosc):
    bias, noise, clean = alfosc
    one, two = clean(10006), clean(10008)
    shared = 2 * bias.var * noise.gain[0] ** 2  # the master's error cancels in the difference
    both = one.good & two.good
    chi = clipped_stats(((one.data - two.data) / np.sqrt(one.read_var + two.read_var - shared))[both], 5.0)[1]
    assert 0.98 < chi < 1.02
    one, two = clean(338), clean(340)
    lit = (one.data > 2000) & (two.data > 2000)
    ratio = float(np.median((one.data / np.where(lit, two.data, 1))[lit]))
    assert 0.98 < pair_chi(one, two, ratio) < 1.02


def test_pedestal_of_night_and_afternoon_are_brought_together(alfosc):
    """185 adu apart as read. The grism gives no light above row 1000 of a short exposure but what it scatters."""
    bias, noise, clean = alfosc
    assert abs(clipped_stats(bias.data)[0]) < 8  # adu
    star = clean(87)
    dark = star.data[:, :25] / noise.gain[0]  # the blue end, 3 s before the overscan rows were read
    assert abs(float(np.median(dark))) < 12
    assert star.header["NPPED0"] - bias.header["NPPED0"] == pytest.approx(190, abs=30)


def test_master_flat(alfosc):
    _, _, clean = alfosc
    lamp = CombineFrames(scale="level").run(tuple(clean(n) for n in range(337, 342)))
    flat = NormaliseFlat().run(lamp, WholeSlit().run(lamp))
    codes = {caveat.code for caveat in flat.caveats}
    assert {"flat.fringes", "flat.stray"} <= codes
    covered = (flat.mask & np.uint32(Flag.NO_FLAT)) == 0
    assert covered[:, 450:].mean() > 0.97
    assert not covered[:, :250].any()  # below 3900 A the lamp's light is stray
    assert np.median(flat.data[covered]) == pytest.approx(1, abs=0.02)
    assert 0.005 < clipped_stats(flat.data[covered])[1] < 0.04
    even = FlatField().run(clean(205), flat)
    assert np.isfinite(even.data).all()


def test_cosmic_rays_of_the_science_exposures(alfosc):
    """Two exposures of one target have none in common; another program finds 430 in one of them."""
    _, _, clean = alfosc
    one, two = (Cosmics().run(clean(n)) for n in (205, 206))
    found = [(frame.mask & np.uint32(Flag.COSMIC)) != 0 for frame in (one, two)]
    assert 250 < found[0].sum() < 700
    assert 120 < found[1].sum() < 500
    assert not (found[0] & found[1]).any()
    assert max(f.sum(axis=0).max() for f in found) <= 20  # a sky line would fill a column
    assert max(f.sum(axis=1).max() for f in found) <= 20  # an object, a row
    more = RejectRepeats().run(one, (two,))
    assert ((more.mask & np.uint32(Flag.COSMIC)) != 0).sum() - found[0].sum() < 60


def test_bright_standard_is_not_eaten(alfosc):
    _, _, clean = alfosc
    for number in (86, 87):
        found = (Cosmics().run(clean(number)).mask & np.uint32(Flag.COSMIC)) != 0
        assert found.sum() < 80
        row = int(np.argmax(np.median(clean(number).data, axis=1)))
        assert found[row - 8 : row + 9].sum() < 25


@pytest.mark.peer
def test_injected_tracks_against_astroscrappy(alfosc):
    """On the real frames 205 and 206: completeness at least astroscrappy's."""
    astroscrappy = pytest.importorskip("astroscrappy")
    _, noise, clean = alfosc
    rng = np.random.default_rng(1)
    for number in (205, 206):
        frame = clean(number)
        rays = tracks(rng, frame.shape, 200)
        struck = rays > 5 * np.sqrt(frame.var)
        hit = frame.but(data=frame.data + rays.astype(np.float32))
        ours = (Cosmics().run(hit).mask & np.uint32(Flag.COSMIC)) != 0
        peer, _ = astroscrappy.detect_cosmics(
            hit.data, gain=1.0, readnoise=noise.read_noise[0], satlevel=1e9, sigclip=4.5, sigfrac=0.3, objlim=5.0
        )
        assert (ours & struck).sum() >= (peer & struck).sum()


def test_kast_amplifiers(shared_data):
    raw = shared_data("kast-blue-2015") / "raw"
    biases = tuple(load(raw / f"b{n}.fits.gz") for n in range(14, 20))
    flats = tuple(load(raw / f"b{n}.fits.gz") for n in range(3, 9))
    noise = MeasureNoise().run(biases, flats)
    assert noise.gain == pytest.approx((1.20, 1.25), rel=0.02)
    assert noise.read_noise == pytest.approx((3.44, 3.37), rel=0.02)
    frames = [Overscan().run(bias) for bias in biases]
    left, right = frames[0].data[:, 900:1020], frames[0].data[:, 1030:1150]
    assert abs(np.mean(left) - np.mean(right)) < 0.5  # 22 adu as read
