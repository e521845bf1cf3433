"""Small functions for what a header map cannot say; an instrument's TOML calls them by name.

A hook takes a function from card name to value (None where absent) and returns a fact, or None.
"""

from __future__ import annotations

from collections.abc import Callable

from nightpipe.instruments.hooks.cameras import plain_scale, ratir_dec, ratir_ra
from nightpipe.instruments.hooks.kast import kast_binning, kast_window
from nightpipe.instruments.hooks.pairs import alfosc_binning, plain_binning, sprat_binning
from nightpipe.model.exposure import Scalar

CardLookup = Callable[[str], Scalar | None]
Hook = Callable[[CardLookup], Scalar | None]

HOOKS: dict[str, Hook] = {
    "alfosc_binning": alfosc_binning,
    "kast_binning": kast_binning,
    "kast_window": kast_window,
    "plain_binning": plain_binning,
    "plain_scale": plain_scale,
    "ratir_dec": ratir_dec,
    "ratir_ra": ratir_ra,
    "sprat_binning": sprat_binning,
}
