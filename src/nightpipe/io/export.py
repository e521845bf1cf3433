"""Products as people and other programs use them: spectra and images as FITS, spectra as text, astropy's containers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import UnreadableFileError
from nightpipe.io import cards
from nightpipe.io.atomic import written
from nightpipe.io.interop import fits_unit, to_ccddata, to_specutils, to_table
from nightpipe.io.text import write_ascii
from nightpipe.model.exposure import Exposure, FrameType, Header, Setup, Site
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import Spectrum
from nightpipe.model.wave import WaveSolution

__all__ = [
    "cards_of",
    "read_spectra",
    "to_ccddata",
    "to_specutils",
    "to_table",
    "write_ascii",
    "write_cards",
    "write_image",
    "write_spectra",
]

RECORD = "RECORD"
FACTS = "FACTS"
OPTIONAL = {"BOXCAR": "boxcar", "BOXERR": "boxcar_var"}


def write_spectra(
    path: str | Path,
    spectra: tuple[Spectrum, ...],
    headers: tuple[Mapping[str, Any], ...] = (),
    *,
    record: str = "",
    reducer: str = "",
    durable: bool = True,
) -> None:
    """Write all objects of a target into one file: extensions OBJ1, OBJ2 ..., one row a bin.

    Columns WAVE (vacuum Angstrom), FLUX, ERR, MASK, SKY, FWHM, and BOXCAR, BOXERR, TRANS, TRANSERR (transmission of
    the air's bands), FLUXRAW (the flux not corrected for it), CORR (correlation with the next bins) where known. Each
    extension carries the original header of its exposure (`headers` replaces them) and the caveats; `record` (JSON, how
    it was made) and what the cards cannot hold follow as extensions of bytes. The file has checksums, is written under
    a temporary name and renamed. Raises StoreError.
    """
    from astropy.io import fits

    own = headers or tuple(one.header for one in spectra)
    tables = [
        _table(fits, spectrum, header, f"OBJ{number}")
        for number, (spectrum, header) in enumerate(zip(spectra, own, strict=True), start=1)
    ]
    first = spectra[0] if spectra else None
    caveats = merged(*(one.caveats for one in spectra))
    head = _primary(fits, None if first is None else first.exposure, caveats, reducer)
    head.header["NOBJ"] = (len(spectra), "objects, in extensions OBJ1 ...")
    facts = json.dumps([_facts(one) for one in spectra])
    _write(fits, path, [head, *tables, _bytes(fits, FACTS, facts), *_recorded(fits, record)], durable=durable)


def write_image(
    path: str | Path,
    frame: Frame,
    wave: WaveSolution | None = None,
    *,
    record: str = "",
    reducer: str = "",
    durable: bool = True,
) -> None:
    """Write an image with its variance, mask and the wavelength of each pixel: extensions SCI, VAR, MASK, WAVE."""
    from astropy.io import fits

    science = fits.ImageHDU(frame.data, name="SCI")
    cards.fill(science.header, cards.original(frame.header))
    science.header["BUNIT"] = fits_unit(frame.unit)
    variance = fits.ImageHDU(frame.var, name="VAR")
    variance.header["BUNIT"] = fits_unit(frame.unit, power=2)
    mask = fits.ImageHDU(frame.mask, name="MASK")
    _put(mask.header, cards.flag_cards())
    hdus = [_primary(fits, frame.exposure, frame.caveats, reducer), science, variance, mask]
    if wave is not None:
        along = fits.ImageHDU(wave.map(), name="WAVE")
        along.header["BUNIT"] = ("Angstrom", "vacuum wavelength of each pixel")
        hdus.append(along)
    _write(fits, path, [*hdus, *_recorded(fits, record)], durable=durable)


def write_cards(path: str | Path, name: str, keys: Mapping[str, Any], instead: tuple[str, ...] = ()) -> None:
    """Put cards into the extensions of the object `name` in a file of `write_spectra`, in place of those of the same
    name and of those that begin like one of `instead`; the spectra stay as they are.

    The file is written anew under a temporary name and renamed. Raises StoreError.
    """
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            if hdu.header.get("OBJNAME") == name:
                for card in [card for card in hdu.header if instead and card.startswith(instead)]:
                    del hdu.header[card]
                hdu.header.update(keys)
        _write(fits, path, list(hdus), durable=True)


def cards_of(path: str | Path, name: str) -> set[str]:
    """Return the cards that the extensions of the object `name` have in a file of `write_spectra`."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        return {card for hdu in hdus if hdu.header.get("OBJNAME") == name for card in hdu.header}


def read_spectra(path: str | Path) -> tuple[Spectrum, ...]:
    """Return the spectra of a file of `write_spectra`; raises UnreadableFileError for anything else."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False, checksum=False) as hdus:
            facts = json.loads(hdus[FACTS].data.tobytes().decode())
            return tuple(_spectrum(hdus[f"OBJ{number}"], known) for number, known in enumerate(facts, start=1))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UnreadableFileError(f"spectra of nightpipe in {path}", str(error), "name a product with OBJ1") from error


def _table(fits: Any, spectrum: Spectrum, header: Mapping[str, Any], name: str) -> Any:
    unit = fits_unit(spectrum.unit)
    columns = [
        fits.Column("WAVE", "D", unit="Angstrom", array=spectrum.wave),
        fits.Column("FLUX", "D", unit=unit, array=spectrum.flux),
        fits.Column("ERR", "D", unit=unit, array=spectrum.err),
        fits.Column("MASK", "J", array=spectrum.mask.astype(np.int32)),
        fits.Column("SKY", "D", unit=unit, array=spectrum.sky),
        fits.Column("FWHM", "D", unit="Angstrom", array=spectrum.fwhm),
    ]
    if spectrum.boxcar is not None and spectrum.boxcar_var is not None:
        columns.append(fits.Column("BOXCAR", "D", unit=unit, array=spectrum.boxcar))
        columns.append(fits.Column("BOXERR", "D", unit=unit, array=np.sqrt(np.maximum(spectrum.boxcar_var, 0.0))))
    if spectrum.transmission is not None and spectrum.transmission_error is not None:
        columns.append(fits.Column("TRANS", "D", array=spectrum.transmission))
        columns.append(fits.Column("TRANSERR", "D", array=spectrum.transmission_error))
        columns.append(fits.Column("FLUXRAW", "D", unit=unit, array=spectrum.flux * spectrum.transmission))
    if spectrum.correlation is not None:
        columns.append(fits.Column("CORR", f"{len(spectrum.correlation)}D", array=spectrum.correlation.T))
    table = fits.BinTableHDU(name=name)
    table.data = fits.FITS_rec.from_columns(fits.ColDefs(columns))  # `from_columns` would import all of astropy.table
    cards.fill(table.header, cards.original(header))
    cards.fill(table.header, list(cards.exposure_cards(spectrum.exposure).items()))
    _put(table.header, [*cards.spectrum_cards(spectrum), *cards.flag_cards(), *cards.caveat_cards(spectrum.caveats)])
    return table


def _primary(fits: Any, exposure: Exposure | None, caveats: tuple[Caveat, ...], reducer: str) -> Any:
    head = fits.PrimaryHDU()
    cards.fill(head.header, list(cards.exposure_cards(exposure).items()))
    _put(head.header, [*cards.software_cards(reducer), *cards.caveat_cards(caveats)])
    return head


def _put(header: Any, own: list[tuple[str, Any, str]]) -> None:
    """Set our cards; a comment that has no room on the card's line is left out."""
    for keyword, value, comment in own:
        width = max(len(value) + 2, 20) if isinstance(value, str) else 20
        fits_in = 10 + width + 3 + len(comment) <= 80
        header[keyword] = (value, comment) if comment and fits_in else value


def _bytes(fits: Any, name: str, text: str) -> Any:
    return fits.ImageHDU(np.frombuffer(text.encode(), dtype=np.uint8).copy(), name=name)


def _recorded(fits: Any, record: str) -> list[Any]:
    return [_bytes(fits, RECORD, record)] if record else []


def _write(fits: Any, path: str | Path, hdus: list[Any], *, durable: bool) -> None:
    with written(Path(path), durable=durable) as stream:
        fits.HDUList(hdus).writeto(stream, checksum=True, output_verify="silentfix")


def _facts(spectrum: Spectrum) -> dict[str, Any]:
    """Return what the table cannot hold, as plain values."""
    return {
        "name": spectrum.name,
        "unit": spectrum.unit,
        "meta": spectrum.meta,
        "header": spectrum.header,
        "exposure": None if spectrum.exposure is None else asdict(spectrum.exposure),
        "caveats": [[caveat.code, caveat.text] for caveat in spectrum.caveats],
    }


def _spectrum(hdu: Any, facts: dict[str, Any]) -> Spectrum:
    data, names = hdu.data, hdu.columns.names

    def column(name: str) -> NDArray[np.float64] | None:
        return np.ascontiguousarray(data[name], dtype=np.float64) if name in names else None

    wave, flux, err, sky, fwhm = (
        np.ascontiguousarray(data[n], dtype=np.float64) for n in ("WAVE", "FLUX", "ERR", "SKY", "FWHM")
    )
    box_err, correlation = column("BOXERR"), column("CORR")
    return Spectrum(
        name=facts["name"],
        wave=wave,
        flux=flux,
        var=err**2,
        mask=np.ascontiguousarray(data["MASK"]).astype(np.int32).astype(np.uint32),
        sky=sky,
        unit=facts["unit"],
        fwhm=fwhm,
        boxcar=column("BOXCAR"),
        boxcar_var=None if box_err is None else box_err**2,
        correlation=None if correlation is None else np.ascontiguousarray(correlation.reshape(len(wave), -1).T),
        transmission=column("TRANS"),
        transmission_error=column("TRANSERR"),
        exposure=None if facts["exposure"] is None else _exposure(facts["exposure"]),
        header=_header(facts["header"]),
        meta=_header(facts["meta"]),
        caveats=tuple(Caveat(code, text) for code, text in facts["caveats"]),
    )


def _header(values: dict[str, Any]) -> Header:
    return dict(values)


def _exposure(values: dict[str, Any]) -> Exposure:
    setup = dict(values["setup"])
    setup["binning"] = tuple(setup["binning"])
    setup["window"] = None if setup["window"] is None else tuple(setup["window"])
    site = None if values["site"] is None else Site(**values["site"])
    rest = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    whole: dict[str, Any] = {**rest, "setup": Setup(**setup), "site": site, "type": FrameType(values["type"])}
    return Exposure(**whole)
