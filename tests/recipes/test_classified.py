"""Which spectra of a target are asked what they are."""

from __future__ import annotations

import numpy as np

from nightpipe.base.run import PlainRun
from nightpipe.model.spectrum import Spectrum
from nightpipe.recipes import classify as recipe
from nightpipe.recipes.classify import classify


def asked(monkeypatch, *metas):
    """Return the names of the spectra that are given to the classifier, and the run."""
    names = []

    class Ask(PlainRun):
        def __call__(self, step, *, label="", **inputs):
            names.append(inputs["spectrum"])
            return inputs["spectrum"]

    monkeypatch.setattr(recipe, "_bank", lambda content: None)
    monkeypatch.setattr(recipe, "ranker", lambda: None)
    monkeypatch.setattr(recipe, "observed", lambda spectrum: spectrum.name)
    monkeypatch.setattr(recipe.banks, "content", lambda: "")
    one = np.ones(4)
    spectrum = Spectrum("", 4000.0 + np.arange(4), one, one, np.zeros(4, np.uint32), one, "adu", one)
    spectra = tuple(
        spectrum.but(name=f"OBJ{k}", meta={"snr_median": 30.0} | meta) for k, meta in enumerate(metas, start=1)
    )
    run = Ask()
    classify.function(run, spectra=spectra)
    return names, {one.code for one in run.caveats}


def test_every_object_of_a_slit_is_asked(monkeypatch):
    assert asked(monkeypatch, {}, {}) == (["OBJ1", "OBJ2"], set())


def test_of_a_graded_target_only_the_product_is_asked(monkeypatch):
    assert asked(monkeypatch, {"quality": 1}, {}, {}) == (["OBJ1"], set())
    assert asked(monkeypatch, {"quality": 4}, {}) == ([], {"classify.quality"})


def test_too_faint_is_told(monkeypatch):
    assert asked(monkeypatch, {"snr_median": 1.0}) == ([], {"classify.faint"})
