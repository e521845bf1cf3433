from __future__ import annotations

import numpy as np
import pytest

from nightpipe.io.guiders import guider_epoch
from nightpipe.model.detector import Amplifier
from nightpipe.model.wcs import Wcs
from nightpipe.recipes.ifuguide import offset_of


class Chip:
    amplifiers = (Amplifier("r", (1040, 2045, 1015, 2045), (), "y", 1.8, 5.0),)


@pytest.mark.parametrize("turn", [0.0, 181.0])
def test_a_target_east_of_the_field_is_placed_there_whatever_the_camera_turns(turn):
    epoch = guider_epoch("sedm", 60565.0)
    step, angle = 0.394 / 3600, np.radians(turn)
    cd = ((-step * np.cos(angle), step * np.sin(angle)), (step * np.sin(angle), step * np.cos(angle)))
    wcs = Wcs((150.0, 30.0), (500.0, 500.0), cd)
    middle = wcs.to_sky(1039.5 - 1040, 968.5 - 1015)
    ra, dec = float(middle[0]) + 3.0 / 3600 / np.cos(np.radians(float(middle[1]))), float(middle[1]) - 2.0 / 3600
    assert offset_of(wcs, Chip(), epoch, ra, dec) == pytest.approx((3.0, -2.0), abs=0.01)
