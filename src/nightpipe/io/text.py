"""Spectra as text: what archives of transients take, and what everybody can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightpipe.io.atomic import written
from nightpipe.io.cards import graded, plain
from nightpipe.model.exposure import Header
from nightpipe.model.flags import Flag
from nightpipe.model.spectrum import Spectrum


def write_ascii(path: str | Path, spectrum: Spectrum) -> None:
    """Write wavelength (vacuum Angstrom), flux and its *error* (one sigma), with key facts as ``# KEY: value``.

    Bins that may not be used, and bins outside the flux calibration of a calibrated spectrum, are left out.
    """
    keep = kept(spectrum)
    lines = [f"# {key}: {value}" for key, value in facts(spectrum).items()]
    lines += [f"# CAVEAT: {caveat}" for caveat in spectrum.caveats]
    lines += [f"# COLUMNS: wavelength[Angstrom] flux[{spectrum.unit}] flux_error[{spectrum.unit}]"]
    rows = zip(spectrum.wave[keep], spectrum.flux[keep], spectrum.err[keep], strict=True)
    lines += [f"{wave:.4f} {flux:.6e} {error:.6e}" for wave, flux, error in rows]
    text = "".join(str(plain(line)) + "\n" for line in lines)
    with written(Path(path), durable=True) as stream:
        stream.write(text.encode("ascii"))


def write_keys(path: Path, keys: Header, instead: tuple[str, ...] = ()) -> None:
    """Put keys into the header of a text spectrum, in place of those of the same name and of those that begin like one
    of `instead`; the spectrum stays as it is.
    """
    lines = path.read_text(encoding="ascii").splitlines()
    names = (*(f"# {name}:" for name in keys), *(f"# {name}" for name in instead))
    kept = [line for line in lines if not line.startswith(names)]
    place = next((n for n, line in enumerate(kept) if line.startswith("# COLUMNS:") or not line.startswith("#")), 0)
    own = [str(plain(f"# {name}: {value}")) for name, value in keys.items()]
    with written(path, durable=True) as stream:
        stream.write("".join(f"{line}\n" for line in [*kept[:place], *own, *kept[place:]]).encode("ascii"))


def kept(spectrum: Spectrum) -> NDArray[np.bool_]:
    """Return which bins are worth publishing."""
    calibrated = (spectrum.mask & np.uint32(Flag.NO_FLUX)) == 0
    return spectrum.good & calibrated if spectrum.unit.startswith("erg") else spectrum.good


def facts(spectrum: Spectrum) -> Header:
    """Return the key facts of a spectrum, in the order in which people read them."""
    exposure, meta = spectrum.exposure, spectrum.meta
    known: Header = {"TARGET": spectrum.name}
    if exposure is not None:
        known = {"TARGET": exposure.target, "OBJECT": spectrum.name}
        if exposure.ra is not None and exposure.dec is not None:
            known |= {"RA": f"{exposure.ra:.6f}", "DEC": f"{exposure.dec:.6f}"}
        known |= {"DATE-OBS": exposure.start, "MJD-MID": f"{float(meta.get('mjd', exposure.mjd)):.6f}"}
        known |= {"EXPTIME": f"{float(meta.get('exptime', exposure.exptime)):.2f}"}
        known |= {"INSTRUMENT": exposure.instrument, "SETUP": exposure.setup.label(), "OBSERVER": exposure.observer}
    formats = {"airmass": ".3f", "barycorr": ".3f", "bjd_tdb": ".6f", "slit_arcsec": ".2f", "snr_median": ".1f"}
    known |= {name.upper(): f"{float(meta[name]):{form}}" for name, form in formats.items() if name in meta}
    known |= {name.upper(): meta[name] for name in ("exposures", "extinction", "response") if name in meta}
    known |= graded(meta)
    known |= {"WAVELENGTH": "vacuum, topocentric", "FLUX_UNIT": spectrum.unit}
    return {name: value for name, value in known.items() if value != ""}
