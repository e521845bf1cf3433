from __future__ import annotations

import pytest

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io.guiders import guider_epoch


@pytest.mark.parametrize(
    ("mjd", "pixel"),
    [
        (58119.0, (1027.5, 1016.0)),
        (57000.0, (1027.5, 1016.0)),
        (58738.2, (1026.5, 976.0)),
        (58600.0, (1027.0, 978.0)),
        (60565.2, (1039.5, 968.5)),
    ],
)
def test_the_epoch_of_a_date(mjd, pixel):
    assert guider_epoch("sedm", mjd).pixel == pixel


def test_a_place_that_is_doubted_has_its_doubt_in_the_error():
    assert guider_epoch("sedm", 60594.9).error < 1.0
    assert guider_epoch("sedm", 60595.0).error > 4.0


def test_an_instrument_without_a_table():
    with pytest.raises(ReferenceMissingError, match="kast"):
        guider_epoch("kast", 58000.0)
