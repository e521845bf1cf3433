"""The headers of each instrument, card by card as its control system writes them."""

from __future__ import annotations

from nightpipe.base.errors import ConfigError
from nightpipe.simulate.dialects.alfosc import Alfosc
from nightpipe.simulate.dialects.base import Dialect
from nightpipe.simulate.dialects.dbsp import Dbsp
from nightpipe.simulate.dialects.kast import Kast
from nightpipe.simulate.dialects.sprat import Sprat

_DIALECTS: dict[str, type[Dialect]] = {
    "alfosc": Alfosc,
    "dbsp_blue": Dbsp,
    "dbsp_red": Dbsp,
    "kast_blue": Kast,
    "kast_red": Kast,
    "sprat": Sprat,
}


def dialect(name: str) -> Dialect:
    """Return the dialect of an arm (``alfosc``, ``dbsp_blue`` ...); ConfigError lists those there are."""
    if name not in _DIALECTS:
        raise ConfigError("an instrument whose headers can be written", name, f"one of {', '.join(_DIALECTS)}")
    return _DIALECTS[name](name)
