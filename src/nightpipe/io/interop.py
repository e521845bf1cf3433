"""Our models as the containers that other packages use."""

from __future__ import annotations

from typing import Any

import numpy as np

from nightpipe.base.errors import NightpipeError
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import Spectrum


class ExtraMissingError(NightpipeError):
    """An optional package is not installed."""


def fits_unit(unit: str, power: int = 1) -> str:
    """Return a unit of ours, to the `power`, as the FITS standard writes it: ``erg s-1 cm-2 Angstrom-1``."""
    if not unit:
        return ""
    factor, _, rest = unit.partition(" ") if unit.startswith("1e") else ("", "", unit)
    above, *below = rest.split("/")
    words = [_raised(above, power), *(_raised(word, -power) for word in below)]
    return (f"10**({int(factor[2:]) * power}) " if factor else "") + " ".join(words)


def _raised(word: str, power: int) -> str:
    name = word.rstrip("0123456789")
    exponent = int(word[len(name) :] or 1) * power
    return name if exponent == 1 else f"{name}{exponent}"


def to_table(spectrum: Spectrum) -> Any:
    """Return the spectrum as an astropy QTable with units, meta and all columns."""
    from astropy.table import QTable

    unit = _unit(spectrum.unit)
    table = QTable(meta={"name": spectrum.name, **spectrum.meta})
    table["wave"] = spectrum.wave * _unit("Angstrom")
    for name in ("flux", "err", "sky"):
        table[name] = getattr(spectrum, name) * unit
    table["mask"] = spectrum.mask
    table["fwhm"] = spectrum.fwhm * _unit("Angstrom")
    if spectrum.boxcar is not None:
        table["boxcar"] = spectrum.boxcar * unit
    return table


def to_specutils(spectrum: Spectrum) -> Any:
    """Return the spectrum as `specutils.Spectrum` with standard deviations and mask; raises ExtraMissingError."""
    try:
        import specutils
    except ImportError as error:
        remedy = "pip install 'nightpipe[interop]'"
        raise ExtraMissingError("the package specutils", "it is not installed", remedy) from error
    from astropy.nddata import StdDevUncertainty

    kind = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    return kind(
        flux=spectrum.flux * _unit(spectrum.unit),
        spectral_axis=spectrum.wave * _unit("Angstrom"),
        uncertainty=StdDevUncertainty(spectrum.err),
        mask=~spectrum.good,
        meta={"name": spectrum.name, "header": dict(spectrum.header), **spectrum.meta},
    )


def to_ccddata(frame: Frame) -> Any:
    """Return the frame as `astropy.nddata.CCDData` with variance; flags keep our bits, mask what is unusable."""
    from astropy.nddata import CCDData, VarianceUncertainty

    return CCDData(
        frame.data,
        unit=_unit(frame.unit),
        uncertainty=VarianceUncertainty(frame.var),
        mask=~frame.good,
        flags=np.asarray(frame.mask),
        meta=dict(frame.header),
    )


def _unit(unit: str) -> Any:
    from astropy import units

    return units.Unit(fits_unit(unit)) if unit else units.dimensionless_unscaled
