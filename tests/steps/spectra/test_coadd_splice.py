"""Arms of a spectrograph: compared where they overlap, joined without averaging."""

from __future__ import annotations

import numpy as np
import pytest

from builders.object import exposures
from nightpipe.base.errors import BadFrameError
from nightpipe.steps.spectra.splice import Splice, overlap_ratio


def arms(ratio=1.0, snr=20.0):
    """Return a blue arm to 6200 and a red one from 5800 Angstrom with bins of another size."""
    (blue,) = exposures(1, snr=snr, seed=1)
    (red,) = exposures(1, snr=snr, seed=2, step=5.0, n=980, scale=(1.0 / ratio,))
    return part(blue, blue.wave < 6200.0), part(red, red.wave > 5800.0)


def part(spectrum, keep):
    names = ("wave", "flux", "var", "mask", "sky", "fwhm", "boxcar", "boxcar_var")
    return spectrum.but(**{name: getattr(spectrum, name)[keep] for name in names})


def test_agreeing_arms_are_joined_without_a_caveat():
    blue, red = arms()
    done = Splice().run(blue, red)
    join = done.meta["splice_wave"]
    assert 5800 < join < 6200
    assert np.all(np.diff(done.wave) > 0)
    assert np.array_equal(done.flux[done.wave < join], blue.flux[blue.wave < join])
    assert np.array_equal(done.flux[done.wave >= join], red.flux[red.wave >= join])
    assert done.meta["splice_ratio"] == pytest.approx(1.0, abs=4 * done.meta["splice_ratio_error"])
    assert done.caveats == ()


def test_disagreement_is_measured_told_and_applied_on_request_only():
    blue, red = arms(ratio=1.4)
    assert overlap_ratio(blue, red).value == pytest.approx(1.4, rel=0.03)
    left = Splice().run(blue, red)
    assert "splice.ratio" in [caveat.code for caveat in left.caveats]
    assert left.flux[-1] == red.flux[-1]
    matched = Splice(match=True).run(blue, red)
    assert matched.flux[-1] == pytest.approx(1.4 * red.flux[-1], rel=0.03)


def test_arms_that_do_not_meet_cannot_be_checked():
    blue, red = arms()
    done = Splice().run(part(blue, blue.wave < 5700.0), red)
    assert "splice.unchecked" in [caveat.code for caveat in done.caveats]
    assert "splice_ratio" not in done.meta


def test_wrong_order_and_units_are_refused():
    blue, red = arms()
    with pytest.raises(BadFrameError):
        Splice().run(red, blue)
    with pytest.raises(BadFrameError):
        Splice().run(blue, red.but(unit="electron/s/Angstrom"))
