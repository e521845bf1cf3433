"""Division of lenslet spectra by the lenslets' response."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.flags import Flag
from nightpipe.model.spaxels import SpaxelFlat


class ApplySpaxelFlat(Step):
    """Divide each lenslet's spectrum by its response to an evenly lit field, wavelength by wavelength."""

    version: ClassVar[int] = 1
    least: float = parameter(0.1, "lenslets that respond less than this are masked, not divided", gt=0, lt=1)

    def run(self, spectra: SpaxelSpectra, flat: SpaxelFlat) -> SpaxelSpectra:
        """Return the spectra as lenslets of median response would have them; the flat's own error joins the variance.

        Beyond the flat's wavelengths its last value holds, flagged NO_FLAT. Raises BadFrameError for a flat of other
        lenslets.
        """
        if len(flat.values) != len(spectra):
            raise BadFrameError(
                f"a flat of {len(spectra)} lenslets", str(len(flat.values)), "use that of this geometry"
            )
        rows = range(len(spectra))
        value = np.array([np.interp(spectra.wave[k], flat.wave, flat.values[k]) for k in rows])
        error = np.array([np.interp(spectra.wave[k], flat.wave, flat.error[k]) for k in rows])
        dark = (value < self.least) | (flat.values.max(axis=1) <= 0)[:, None]
        value = np.where(dark, 1.0, value)
        flux = spectra.flux / value
        var = np.where(spectra.var > 0, (spectra.var + np.square(flux * np.where(dark, 0.0, error))) / value**2, 0.0)
        beyond = (spectra.wave < flat.wave[0]) | (spectra.wave > flat.wave[-1])
        mask = spectra.mask | np.where(beyond | dark, np.uint32(Flag.NO_FLAT), np.uint32(0))
        mask |= np.where(dark, np.uint32(Flag.BAD), np.uint32(0))
        scatter = None if spectra.scatter is None else (spectra.scatter / value).astype(np.float32)
        return spectra.but(
            flux=flux.astype(np.float32),
            var=var.astype(np.float32),
            mask=mask.astype(np.uint32),
            scatter=scatter,
            flat=True,
            caveats=flat.caveats,
        )
