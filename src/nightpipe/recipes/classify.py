"""Classification of a target's spectra within a reduction."""

from __future__ import annotations

from functools import cache
from typing import Any

from nightpipe.base.errors import DataError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io import banks
from nightpipe.io.classifier import ranker
from nightpipe.io.download import local
from nightpipe.model.classification import observed
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.post.classify import Classify
from nightpipe.steps.post.evidence import ReadyBank, ready

LEAST_SNR = 2.0
"""Below this median signal-to-noise ratio of a bin, where it is known, nothing is asked."""


@recipe(
    "classify",
    inputs=("spectra",),
    outputs=("classifications",),
    steps=(Classify,),
    data=("classifier",),
    sets=(banks.SET,),
)
def classify(run: Run, *, spectra: tuple[Spectrum, ...]) -> dict[str, Any]:
    """Tell what kind of transient each spectrum that is good enough shows."""
    found = []
    for spectrum in spectra:
        if (snr := float(spectrum.meta.get("snr_median", LEAST_SNR))) < LEAST_SNR:
            run.caveat("classify.faint", f"{spectrum.name}: a signal to noise of {snr:.1f} is too little to classify")
            continue
        try:
            found.append(run(Classify, spectrum=observed(spectrum), bank=_bank(), ranker=ranker()))
        except DataError as error:  # too short, or no flux above zero: that is an answer, not a failure of the night
            run.caveat("classify.impossible", f"{spectrum.name}: {error}")
    return {"classifications": tuple(found)}


@cache
def _bank() -> ReadyBank:
    """Return the published bank, made ready once in a process; its content enters the recipe's key."""
    return ready(banks.read_bank(local(banks.SET) / "bank.npb"))
