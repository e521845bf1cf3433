"""The headers of each imager, card by card as its control system writes them."""

from __future__ import annotations

from nightpipe.base.errors import ConfigError
from nightpipe.simulate.imaging.dialects.alfosc import AlfoscImaging
from nightpipe.simulate.imaging.dialects.arcsat import Arcsat
from nightpipe.simulate.imaging.dialects.base import ImagingDialect
from nightpipe.simulate.imaging.dialects.generic import Generic
from nightpipe.simulate.imaging.dialects.lmi import Lmi
from nightpipe.simulate.imaging.dialects.ratir import Ratir
from nightpipe.simulate.imaging.dialects.rimas import Rimas
from nightpipe.simulate.imaging.dialects.sedm import SedmRc
from nightpipe.simulate.imaging.dialects.soxs import SoxsAcq

_DIALECTS: dict[str, type[ImagingDialect]] = {
    "alfosc-imaging": AlfoscImaging,
    "arcsat": Arcsat,
    "generic": Generic,
    "lmi": Lmi,
    "ratir": Ratir,
    "rimas": Rimas,
    "sedm-rc": SedmRc,
    "soxs-acq": SoxsAcq,
}


def dialect(name: str) -> ImagingDialect:
    """Return the dialect of an imager; ConfigError lists those there are."""
    if name not in _DIALECTS:
        raise ConfigError("an imager whose headers can be written", name, f"one of {', '.join(_DIALECTS)}")
    return _DIALECTS[name]()
