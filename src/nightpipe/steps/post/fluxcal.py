"""From counts to flux above the atmosphere, for spectra and for images."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import MissingCardError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.features import STRONG_TELLURIC, in_bands
from nightpipe.maths.rebin import widths
from nightpipe.model.exposure import Exposure, Scalar
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.references import Extinction
from nightpipe.model.spectrum import Response, Spectrum
from nightpipe.model.wave import WaveSolution
from nightpipe.steps.post.air import effective_airmass, extinction_caveats, transmission

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

FLUX = "erg/s/cm2/Angstrom"
IMAGE_FLUX = "1e-17 erg/s/cm2/Angstrom"
COUNTS = "electron/s/Angstrom"


@dataclass(frozen=True)
class Scale:
    """What counts per bin are multiplied with: `factor`, where it is a flux (`valid`), its unit, airmass, caveats."""

    factor: FloatArray
    valid: Bools
    unit: str
    airmass: float
    caveats: tuple[Caveat, ...]


class FluxCalibrate(Step):
    """Turn electrons per bin into flux density above the atmosphere.

    ``flux = counts / exptime / width / response * 10**(0.4 * extinction * airmass)``; variance with the square. The
    level is that of the standard through the same slit: losses at the slit are not known. Outside the response's range
    there is no flux: both are zero there, and flagged.
    """

    flag_telluric: bool = parameter(True, "flag the bins in strong telluric bands, which are not corrected")
    flag_second_order: bool = parameter(True, "flag where second-order light can reach the detector")

    def run(self, spectrum: Spectrum, response: Response | None, extinction: Extinction | None) -> Spectrum:
        """Return the calibrated spectrum; without a response, counts per second corrected for extinction alone."""
        scale = _scale(spectrum.wave, widths(spectrum.wave), spectrum.exposure, response, extinction)
        mask, caveats = self._flags(spectrum, scale)
        factor = scale.factor
        return spectrum.but(
            flux=spectrum.flux * factor,
            var=spectrum.var * factor**2,
            sky=spectrum.sky * factor,
            boxcar=None if spectrum.boxcar is None else spectrum.boxcar * factor,
            boxcar_var=None if spectrum.boxcar_var is None else spectrum.boxcar_var * factor**2,
            mask=mask,
            unit=scale.unit,
            meta=spectrum.meta | {"airmass": scale.airmass, **_origin(response, extinction)},
            caveats=(*scale.caveats, *caveats, *(() if response is None else response.caveats)),
        )

    def _flags(self, spectrum: Spectrum, scale: Scale) -> tuple[NDArray[np.uint32], tuple[Caveat, ...]]:
        wave, mask, caveats = spectrum.wave, spectrum.mask.copy(), []
        mask |= np.where(scale.valid, 0, np.uint32(Flag.NO_FLUX)).astype(np.uint32)
        if self.flag_telluric:
            mask |= np.where(in_bands(wave, STRONG_TELLURIC), np.uint32(Flag.TELLURIC), 0).astype(np.uint32)
        limit = second_order_limit(spectrum)
        if self.flag_second_order and limit and wave[-1] > limit:
            mask |= np.where(wave >= limit, np.uint32(Flag.SECOND_ORDER), 0).astype(np.uint32)
            text = f"second-order light of {limit / 2:.0f} Angstrom and beyond may add to the flux from {limit:.0f} on"
            caveats.append(Caveat("flux.second_order", text))
        return mask, tuple(caveats)


class FluxCalibrateImage(Step):
    """Turn a sky-subtracted image into flux density per pixel above the atmosphere, variance and mask kept."""

    def run(self, frame: Frame, wave: WaveSolution, response: Response | None, extinction: Extinction | None) -> Frame:
        """Return the frame in flux density; without a response, in counts per second and Angstrom."""
        waves = wave.map()
        scale = _scale(waves, np.gradient(waves, axis=1), frame.exposure, response, extinction)
        # the square of a flux in ergs underflows single precision
        factor, unit = (scale.factor * 1e17, IMAGE_FLUX) if scale.unit == FLUX else (scale.factor, scale.unit)
        outside = np.where(scale.valid, 0, np.uint32(Flag.NO_FLUX)).astype(np.uint32)
        return frame.but(
            data=(frame.data * factor).astype(np.float32),
            var=(frame.var * factor**2).astype(np.float32),
            mask=frame.mask | outside,
            unit=unit,
            read_var=None,
            photon_var=None,
            flat_var=None,
            caveats=(*scale.caveats, *(() if response is None else response.caveats)),
        )


def _scale(
    wave: FloatArray,
    width: FloatArray,
    exposure: Exposure | None,
    response: Response | None,
    extinction: Extinction | None,
) -> Scale:
    exptime = 0.0 if exposure is None else exposure.exptime
    if exptime <= 0:
        raise MissingCardError("a positive exposure time", f"{exptime} s", "correct the header card, or decide it")
    airmass, caveats = effective_airmass(exposure)
    factor = 1.0 / (exptime * width * transmission(wave, airmass, extinction))
    caveats = (*caveats, *extinction_caveats(extinction))
    if response is None:
        text = "no response for this setup: counts per second, corrected for extinction alone"
        none = Caveat("flux.none", text if extinction is not None else "no response for this setup: counts per second")
        return Scale(factor, np.zeros(wave.shape, dtype=bool), COUNTS, airmass, (*caveats, none))
    log_response, valid = response.at(wave)
    inverse = np.exp(-np.where(valid, log_response, 0.0))  # beyond its range a response may run anywhere
    return Scale(np.where(valid, factor * inverse, 0.0), valid, FLUX, airmass, caveats)


def _origin(response: Response | None, extinction: Extinction | None) -> dict[str, Scalar]:
    origin: dict[str, Scalar] = {"extinction": "none" if extinction is None else extinction.site}
    if response is not None:
        origin |= {"response": ", ".join(response.standards), "response_source": response.source}
        origin["response_error"] = float(np.median(response.error))
    return origin


def second_order_limit(spectrum: Spectrum) -> float:
    """Return from where [Angstrom] second-order light can contaminate, 0 for nowhere.

    ``meta["second_order_from"]`` says where it begins without a filter; an order-blocking filter that cuts at c lets
    nothing through below c, hence no second order below 2 c.
    """
    begins = float(spectrum.meta.get("second_order_from", 0.0) or 0.0)
    if begins <= 0.0:
        return 0.0
    name = spectrum.exposure.setup.filter if spectrum.exposure is not None else ""
    return max(begins, 2.0 * cut_on(name))


def cut_on(name: str) -> float:
    """Return the wavelength [Angstrom] at which a long-pass filter opens, or 0: GG385, ``356_LP``, ``4020longpass``."""
    glass = re.search(r"(?i)\b(?:WG|GG|OG|RG)[ _-]?(\d{3})\b", name)
    found = glass or re.search(r"(?i)(\d{3,4})[ _-]?(?:LP|long[ _-]?pass)", name)
    if found is None:
        return 0.0
    return float(found[1]) * (10.0 if len(found[1]) == 3 else 1.0)
