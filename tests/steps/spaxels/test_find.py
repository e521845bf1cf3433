"""The spectra of a lenslet unit on simulated domes: found, missed, false, and where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from builders.ifulamps import Afternoon, afternoon
from nightpipe.base.errors import BadFrameError, NoSolutionError
from nightpipe.model.flags import Flag
from nightpipe.model.spaxels import Spaxel, SpaxelSet
from nightpipe.steps.spaxels.find import FindSpaxels

pytestmark = pytest.mark.night


@pytest.fixture(scope="module", params=[("pixis", 1), ("andor", 2)], ids=["pixis", "andor"])
def found(request) -> tuple[Afternoon, SpaxelSet]:
    epoch, seed = request.param
    made = afternoon(seed, epoch=epoch)
    return made, FindSpaxels().run(made.electrons("dome"))


def off(made: Afternoon, spaxels: SpaxelSet, k: int) -> np.ndarray:
    """Return by how much the row of a lenslet is off, where there is light on the detector."""
    true = made.index(spaxels.q, spaxels.r)[k]
    columns = np.arange(max(spaxels.x[k] - 175, 0), min(spaxels.x[k] + 55, spaxels.shape[1] - 1))
    return spaxels.row(k, columns) - made.row(true, columns)


def test_all_lenslets_are_found_and_none_that_is_not_there(found):
    made, spaxels = found
    true = made.index(spaxels.q, spaxels.r)
    assert (true >= 0).all()
    assert len(set(true.tolist())) == len(true)
    lost = np.setdiff1d(np.arange(len(made.lenslets)), true)
    middle = made.width - 1 - made.lenslets.x[lost]
    assert ((middle > made.width - 5) | (middle < -30)).all(), "only those of which the edge leaves nothing are missing"
    assert len(lost) < 40


def test_rows_are_told_to_a_few_hundredths_of_a_pixel(found):
    made, spaxels = found
    measured = np.flatnonzero(spaxels.state == Spaxel.MEASURED)
    assert len(measured) > 1400
    values = [off(made, spaxels, int(k)) for k in measured]
    rms = np.sqrt(np.mean(np.concatenate(values) ** 2))
    each = np.array([np.sqrt(np.mean(one**2)) for one in values if one.size > 60])
    assert rms < 0.03
    assert np.median(each) < 0.02
    assert np.percentile(each, 99) < 0.05


def test_widths_and_places_on_the_sky(found):
    made, spaxels = found
    true = made.index(spaxels.q, spaxels.r)
    whole = (spaxels.state == Spaxel.MEASURED) & (spaxels.span[:, 0] > 0) & (spaxels.span[:, 1] < spaxels.shape[1] - 1)
    ratio = np.array([spaxels.width(int(k), spaxels.x[k] - 40.0) for k in np.flatnonzero(whole)])
    ratio /= made.lenslets.width[true[whole]]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.04)
    assert np.std(ratio) < 0.01
    away = np.hypot(spaxels.east - made.lenslets.east[true], spaxels.north - made.lenslets.north[true])
    assert away.max() < 0.15, "the lattice on the sky is the described one: pitch and angle differ a little"


def test_the_dead_are_told_from_the_living(found):
    made, spaxels = found
    true = made.index(spaxels.q, spaxels.r)
    assert set(true[spaxels.state == Spaxel.DEAD]) == set(np.flatnonzero(made.lenslets.dead)) & set(true)
    assert any(caveat.code == "spaxels.dead" for caveat in spaxels.caveats)


def test_the_profile_is_that_of_the_camera(found):
    from scipy.special import ndtr

    _, spaxels = found
    true = 0.95 * ndtr(spaxels.offset) + 0.05 * ndtr(spaxels.offset / 2.6)
    assert np.abs(spaxels.below - true).max() < 0.015
    assert (np.diff(spaxels.below) >= 0).all()
    assert (spaxels.below[0], spaxels.below[-1]) == pytest.approx((0.0, 1.0))


def test_a_spectrum_without_light_is_repaired_from_its_neighbours():
    made = afternoon(1)
    dome = made.electrons("dome")
    hidden = np.flatnonzero((np.hypot(made.lenslets.x - 950, made.lenslets.y - 950) < 600) & ~made.lenslets.dead)[::97]
    covered = np.zeros(dome.shape, dtype=bool)
    for k in hidden:
        columns = np.arange(int(made.column(k, 3500.0)) - 5, int(made.column(k, 10300.0)) + 6)
        rows = np.rint(made.row(k, columns)).astype(int)
        for step in range(-4, 5):
            covered[rows + step, columns] = True
    spaxels = FindSpaxels().run(dome.flagged(covered, Flag.BAD))
    true = made.index(spaxels.q, spaxels.r)
    repaired = np.flatnonzero(np.isin(true, hidden))
    assert len(repaired) == len(hidden)
    assert (spaxels.state[repaired] == Spaxel.REPAIRED).all()
    assert all(np.abs(off(made, spaxels, int(k))).max() < 0.8 for k in repaired)
    assert np.sqrt(np.mean([np.mean(off(made, spaxels, int(k)) ** 2) for k in repaired])) < 0.3
    assert any(caveat.code == "spaxels.repaired" for caveat in spaxels.caveats)


def test_sixty_dead_lenslets_lead_nobody_astray():
    made = afternoon(3, faults="dead-lenslets")
    spaxels = FindSpaxels().run(made.electrons("dome", count=1))
    true = made.index(spaxels.q, spaxels.r)
    assert (true >= 0).all()
    inner = np.hypot(made.lenslets.x - 950, made.lenslets.y - 950) < 800
    dead = np.flatnonzero(made.lenslets.dead & inner)
    assert len(dead) > 15
    assert np.isin(dead, true[spaxels.state == Spaxel.DEAD]).mean() > 0.9
    assert not made.lenslets.dead[true[spaxels.state == Spaxel.MEASURED]].any()


def test_what_is_no_dome_is_refused_with_what_it_is():
    made = afternoon(1)
    with pytest.raises(BadFrameError, match=r"short pieces of light.*line lamp"):
        FindSpaxels().run(made.electrons("lamp", "Hg"))
    dome = made.electrons("dome")
    rng = np.random.default_rng(2)
    empty = dome.but(data=rng.normal(0, 10, dome.shape).astype(np.float32), var=np.full(dome.shape, 100.0, np.float32))
    with pytest.raises(BadFrameError, match="0 spectra"):
        FindSpaxels().run(empty)
    bright = afternoon(1, faults="saturated-dome")
    with pytest.raises(BadFrameError, match="% of its pixels are"):
        FindSpaxels().run(bright.electrons("dome", count=1))


def test_a_frame_without_described_lenslets_is_refused():
    dome = afternoon(1).electrons("dome")
    with pytest.raises(NoSolutionError, match="lenslets"):
        FindSpaxels().run(dome.but(disperser=None))
