"""Simulated optics without files: the rig of an arm as its own headers describe it, and one exposure's light."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from nightpipe.simulate.bench import Bench, bench
from nightpipe.simulate.dialects import dialect
from nightpipe.simulate.night import _resolved, checked
from nightpipe.simulate.rig import Rig, build
from nightpipe.simulate.schedule import NightOptions, Shot, probe

ARMS = ("alfosc", "dbsp_blue", "dbsp_red", "kast_blue", "kast_red", "sprat")


def rig(arm: str, seed: int = 1, **options) -> tuple[Rig, Bench, NightOptions]:
    """Return the rig of an arm, what is known of it, and the options as the simulator reads them."""
    asked = checked(options)
    return _rig(arm, seed, asked), bench(arm), asked


@cache
def _rig(arm: str, seed: int, options: NightOptions) -> Rig:
    known, tongue = bench(arm), dialect(arm)
    shot = probe(known, options)
    optics, chip = _resolved(tongue, known, shot, options)
    return build(known, optics, chip, tongue.layout(shot, options).shape, seed, options.second_order)


def shot(known: Bench, options: NightOptions | None = None, **changes) -> Shot:
    """Return an exposure at the zenith with `changes`."""
    return replace(probe(known, options or checked({})), **changes)
