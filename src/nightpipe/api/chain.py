"""The steps of the chain of images as people call them: where to begin anew, and where to stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection

from nightpipe.base.errors import ConfigError
from nightpipe.engine.config import near
from nightpipe.engine.night import Night
from nightpipe.engine.plan import Node
from nightpipe.engine.store import Store

CHAIN = ("imageprepare", "fringes", "skyframes", "measure", "align", "calibrateimages", "imagestack", "imagephotometry")
"""Recipes in their order; what looks at a finished stack follows."""
NAMES = {
    "prepare": "imageprepare", "flatten": "imageprepare", "mastersky": "skyframes", "makesky": "skyframes",
    "skysub": "measure", "cosmics": "measure", "crclean": "measure", "astrometry": "align",
    "zeropoint": "calibrateimages", "zpoint": "calibrateimages", "stack": "imagestack", "photometry": "imagephotometry",
}  # fmt: skip
"""What PhotoPipe calls them."""
AFTER = ("segments", "newsources", "difference", "lightcurve", "lightcurves", "colour")


def step_of(name: str) -> str:
    """Return the recipe that a step's name means; raises ConfigError."""
    found = NAMES.get(name, name)
    if found not in CHAIN:
        raise ConfigError("a step of the chain of images", name, near(name, NAMES) + f" ({', '.join(NAMES)})")
    return found


def until(name: str) -> Callable[[Night, Node], bool]:
    """Return which nodes run when the chain ends with a step: its own, with all that they need."""
    wanted = CHAIN[: CHAIN.index(step_of(name)) + 1]
    return lambda _night, node: node.recipe in wanted


def forget(store: Store, first: str = "", nodes: Collection[str] | None = None) -> int:
    """Take away what the store holds of a step and those after it (of everything without one); return how many runs.

    Of other `nodes` than those given, such as those of other objects, nothing is taken.
    """
    recipes = (*CHAIN[CHAIN.index(step_of(first)) :], *AFTER) if first else ()
    gone = [
        one["key"]
        for one in store.records()
        if (not recipes or one["recipe"] in recipes) and (nodes is None or one["node"] in nodes)
    ]
    for key in gone:
        shutil.rmtree(store.folder(key), ignore_errors=True)
    return len(gone)
