"""Masters beside earlier ones, and bad pixels that reach every frame."""

from __future__ import annotations

import numpy as np
import pytest

from builders.frames import clean, raw
from nightpipe.api.reduce import Request, planned
from nightpipe.base.run import PlainRun
from nightpipe.model.detector import Noise
from nightpipe.model.exposure import FrameType
from nightpipe.model.flags import Flag
from nightpipe.recipes import detector, masters
from nightpipe.recipes.book import BOOK
from nightpipe.simulate.night import write_night


def biases(rng, pedestal=1000.0):
    return tuple(raw(rng, 0.0, pedestal=pedestal, read_noise=5.0, kind=FrameType.BIAS) for _ in range(5))


def master(rng, run=None, earlier=(), **changes):
    return masters.bias.function(run or PlainRun(), frames=biases(rng, **changes), earlier=earlier)["bias"]


def test_a_bias_is_compared_with_an_earlier_one():
    rng = np.random.default_rng(1)
    before, run = master(rng), PlainRun()
    master(rng, run, (before,), pedestal=1300.0)
    assert [one.code for one in run.caveats] == ["bias.level"]
    (step,) = [value for name, value in run.metrics.items() if name.startswith("bias_step/")]
    assert step == pytest.approx(300.0, abs=1.0)
    quiet = PlainRun()
    master(rng, quiet, (before,))
    assert quiet.caveats == ()


def test_an_earlier_bias_of_another_format_is_no_comparison():
    rng = np.random.default_rng(2)
    small = master(rng)
    small = small.but(data=small.data[:-4], var=small.var[:-4], mask=small.mask[:-4])
    run = PlainRun()
    master(rng, run, (small,), pedestal=1300.0)
    assert run.caveats == ()
    assert run.metrics == {}


def test_bad_pixels_of_the_masters_are_flagged_in_a_frame():
    rng = np.random.default_rng(3)
    bias = master(rng)
    bias.data[10, 20] += 200.0
    lamp = clean(rng, 20000.0, shape=bias.shape)
    lamp.data[5, 5] *= 0.2
    run = PlainRun()
    bad = masters.badpixels.function(run, bias=bias, dark=None, lamp=lamp)["bad"]
    assert run.metrics["bad_pixels"] == 2
    noise = Noise(("1",), (1.0,), (5.0,), (0.0,), (0.0,), (1.0,), (5.0,), "pairs", "pairs")
    frame = detector.clean(PlainRun(), raw(rng, 300.0, read_noise=5.0), None, None, noise, bad)
    flagged = (frame.mask & np.uint32(Flag.BAD)) != 0
    assert flagged[10, 20]
    assert flagged[5, 5]
    assert flagged.sum() == 2


def test_faint_flats_make_no_bad_pixels():
    lamp = clean(np.random.default_rng(4), 6.0, shape=(80, 120))
    found = masters.badpixels.function(PlainRun(), bias=None, dark=None, lamp=lamp)["bad"]
    assert not np.any(found.mask)


@pytest.mark.night
def test_a_night_is_planned_with_its_bad_pixels(tmp_path):
    write_night("sprat", tmp_path / "raw", seed=3)
    _, plan = planned(BOOK, tmp_path / "raw", Request(tmp_path / "out"))
    found = [node for node in plan.nodes if node.recipe == "badpixels"]
    assert len(found) == 1
    assert found[0].inputs["lamp"]
    users = [node for node in plan.nodes if node.recipe in ("prepare", "arc")]
    assert users
    assert all(node.inputs["bad"] == (found[0]["bad"],) for node in users)


def test_an_earlier_nights_noise_is_told():
    from nightpipe.base.caveat import Caveat
    from nightpipe.engine.match import Match
    from nightpipe.engine.plan import RawRef
    from nightpipe.recipes.kept import plan_noise

    class Lends:
        """A builder whose earlier night measured gain and read noise."""

        def kept(self, exposure, kind, output):
            return RawRef("noise.fits"), Match(caveats=(Caveat(f"{output}.kept", "20 d earlier"),))

    ref, told = plan_noise(Lends(), (), (), None, None)
    assert ref == RawRef("noise.fits")
    assert [one.code for one in told] == ["noise.kept"]
