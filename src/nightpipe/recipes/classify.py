"""Classification of a target's spectra within a reduction."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from nightpipe.base.errors import DataError
from nightpipe.base.log import logger
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io import banks
from nightpipe.io.classifier import ranker
from nightpipe.model.classification import observed
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.post.classify import Classify
from nightpipe.steps.post.evidence import ReadyBank, ready

LEAST_SNR = 2.0
"""Below this median signal-to-noise ratio of a bin, where it is known, nothing is asked."""

WORST_QUALITY = 2
"""A graded spectrum of a lenslet unit is classified up to this quality."""


@recipe(
    "classify",
    inputs=("spectra",),
    outputs=("classifications",),
    steps=(Classify,),
    data=("classifier",),
    sets=(banks.SET,),
)
def classify(run: Run, *, spectra: tuple[Spectrum, ...]) -> dict[str, Any]:
    """Tell what kind of transient each spectrum that is good enough shows.

    Where some are graded (a lenslet unit's), the others are the same light in another way and are not asked again.
    """
    found = []
    graded = tuple(one for one in spectra if "quality" in one.meta)
    for spectrum in graded or spectra:
        if (quality := int(spectrum.meta.get("quality", 0))) > WORST_QUALITY:
            run.caveat("classify.quality", f"{spectrum.name}: of quality {quality}, so it was not classified")
            continue
        if (snr := float(spectrum.meta.get("snr_median", LEAST_SNR))) < LEAST_SNR:
            run.caveat("classify.faint", f"{spectrum.name}: a signal to noise of {snr:.1f} is too little to classify")
            continue
        try:
            found.append(run(Classify, spectrum=observed(spectrum), bank=_bank(banks.content()), ranker=ranker()))
        except DataError as error:  # too short, or no flux above zero: that is an answer, not a failure of the night
            run.caveat("classify.impossible", f"{spectrum.name}: {error}")
    return {"classifications": tuple(found)}


@lru_cache(maxsize=1)
def _bank(content: str) -> ReadyBank:
    """Return all installed banks, made ready once in a process and again when their `content` has changed."""
    logger("classify").debug("templates of content %s are made ready", content)
    bank = banks.whole_bank()
    return ready(bank, strange=banks.not_themselves(bank))
