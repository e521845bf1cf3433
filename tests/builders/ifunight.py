"""Simulated nights of SEDM, reduced with a catalogue for the guider, and the truth beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import nightpipe
from nightpipe.io.catalogues.store import import_tables
from nightpipe.io.download import local, present
from nightpipe.maths.rebin import smoothed_to
from nightpipe.simulate.ifu.night import write_ifu_night


@dataclass(frozen=True)
class Night:
    """A reduced night: `raw`, `out`, `truth` are folders, `facts` those of the exposures of the sky by file stem."""

    raw: Path
    out: Path
    truth: Path
    reduction: object
    facts: dict

    def exposure(self, kind):
        """Return the name of the first exposure of a kind (``standard``, ``science``)."""
        return next(name for name, one in self.facts.items() if one["type"] == kind)

    def outputs(self, recipe, name):
        """Return the stored outputs of an exposure's run."""
        from nightpipe.api.outputs import Outputs
        from nightpipe.engine.store import Store

        outcomes = self.reduction.outcomes.values()
        found = next(one for one in outcomes if one.node.recipe == recipe and one.node.exposure == name)
        return Outputs(Store(self.out), found)

    def spectrum(self, kind="science"):
        """Return the product of the first exposure of a kind."""
        return self.outputs("ifucalibrate", self.exposure(kind)).all("spectra")[0]

    def true_flux(self, spectrum, kind="science"):
        """Return the target's true flux above the air, at the spectrum's resolution."""
        source = fits.getdata(self.truth / f"{self.exposure(kind)}.fits", "SOURCE1")
        flux = np.interp(spectrum.wave, source["WAVE"].astype(float), source["FLUX"].astype(float))
        return smoothed_to(spectrum.wave, flux, spectrum.fwhm)


def made(folder, *, seed=1, calibrations=(), figures=False, out="out", **options):
    """Simulate and reduce a night; what the guider needs to know of the sky lies in a store of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = write_ifu_night(folder / "raw", seed=seed, **options)
    data = folder / "data"
    data.mkdir()
    if present("templates"):
        (data / "templates").symlink_to(local("templates"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTPIPE_DATA", str(data))
        for table in sorted(truth.glob("rc-*/refcat.fits")):
            import_tables([table], "refcat2")
        reduction = nightpipe.reduce(
            folder / "raw", out=folder / out, workers=1, figures=figures, calibrations=calibrations
        )
    rows = json.loads((truth / "sedm.json").read_text())["exposures"]
    facts = {row["file"].removesuffix(".fits"): row for row in rows if row["type"] in ("standard", "science")}
    return Night(folder / "raw", folder / out, truth, reduction, facts)
