"""Any one-dimensional spectrum, as people keep them: text, FITS images and tables, our own products."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import UnreadableFileError
from nightpipe.io.export import read_spectra
from nightpipe.maths.air import to_air
from nightpipe.maths.outliers import gaps, runs, spikes
from nightpipe.model.classification import Observed, observed
from nightpipe.model.exposure import Header

FloatArray = NDArray[np.float64]
LEAST_POINTS = 30
UNITS = ((1e-3, 1e10, "metres"), (30.0, 1e4, "micrometres"), (2600.0, 10.0, "nanometres"), (np.inf, 1.0, "Angstrom"))
"""Wavelengths below the first number are in the unit of which the second makes Angstrom."""
LOGARITHMS = (3.3, 4.4)
"""Numbers from 3.3 to 4.4 are log10 of 2,000 to 25,000 Angstrom: micrometres would be beyond all templates."""
BLUEST = 500.0
"""No spectrum that is classified begins bluer [Angstrom]."""
MISSING = 2.5
"""Where a step is so many times those beside it points are missing."""
GAP = 0.02
"""Gaps of so much of the wavelength are told: 6,000 km/s."""
NO_SIGNAL, TOO_STEADY = 0.3, 30.0
"""Where the signal to noise of a point is below the first and errors are so many times the scatter between neighbours
(no smoothing makes that), the third column holds something else: counts, inverse variances."""
EMPTY = 5
"""Points of the same number in a row that are no measurement."""
_WAVES = ("wave", "wavelength", "lambda", "lam", "loglam", "wl", "angstrom")
_FLUXES = ("flux", "flam", "f_lambda", "spec", "intensity", "counts", "optimal")
_ERRORS = ("err", "error", "fluxerr", "flux_err", "flux_error", "sigma", "stdev", "e_flux", "unc", "uncertainty")
_VARIANCES = ("var", "variance")
_INVERSES = ("ivar",)
_DECIMAL = re.compile(r"[-+]?\d+(,\d+)?([eE][-+]?\d+)?")
"""A number with a decimal comma, or a whole one."""


def read_any(path: str | Path) -> Observed:
    """Return the spectrum in a file; of a product with several objects the first.

    Text has two columns or three (wavelength, flux, error), comments with ``#``, decimal points or commas; FITS an
    image with a wavelength scale in its header, or a table whose columns say what they are. Wavelengths in micrometres
    and nanometres become Angstrom, descending ones are turned round, vacuum becomes air; what is not finite, a gap
    of zeros or a single spike is masked, and errors that are not positive are replaced by the scatter: each leaves a
    caveat. Raises `UnreadableFileError`
    saying what was found.
    """
    return read_all(path)[0]


def read_all(path: str | Path) -> tuple[Observed, ...]:
    """Return every spectrum in a file, see `read_any`."""
    path = Path(path)
    if not path.is_file():
        raise UnreadableFileError(f"a spectrum: {path}", "no such file", "check the name")
    with path.open("rb") as stream:
        start = stream.read(30)
    if start.startswith(b"\x1f\x8b") and ".fit" not in path.name:
        raise UnreadableFileError(f"a spectrum: {path}", "a compressed file", f"gunzip -k {path}")
    if not start.startswith((b"SIMPLE  =", b"\x1f\x8b")):
        return (_text(path),)
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():  # what is truncated or odd is told by an error of ours
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            return tuple(observed(one) for one in read_spectra(path))
        except UnreadableFileError:
            return (_fits(path),)


def _text(path: Path) -> Observed:
    header: Header = {}
    rows: list[list[str]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        plain = line.strip()
        if plain.startswith(("#", "%", ";", "!")):
            key, _, value = plain[1:].replace("=", ":", 1).partition(":")
            header[key.strip().upper()] = value.partition(" / ")[0].strip().strip("'").strip()
        elif plain:
            rows.append(_words(plain))
    columns = _numbers(path, rows)
    error = columns[2] if len(columns) > 2 else None
    return made(path.name, columns[0], columns[1], error, header)


def _words(line: str) -> list[str]:
    """Return the words of a line: commas part columns, but are decimal points where blanks part them already."""
    words = line.replace(";", " ").split()
    if len(words) > 1 and "," in line and all(_DECIMAL.fullmatch(word) for word in words):
        return [word.replace(",", ".") for word in words]
    return line.replace(",", " ").replace(";", " ").split()


def _numbers(path: Path, rows: list[list[str]]) -> FloatArray:
    """Return the columns of a text table; a line of column names may come first."""
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    width = min((len(row) for row in rows), default=0)
    if width < 2:
        remedy = "give two columns or three: wavelength, flux, error"
        raise UnreadableFileError(f"a spectrum in {path}", f"{len(rows)} lines of {width} columns", remedy)
    try:
        return np.array([[float(word) for word in row[: min(width, 3)]] for row in rows], dtype=np.float64).T
    except ValueError as error:
        raise UnreadableFileError(f"numbers in {path}", str(error), "mend or remove that line") from error


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _fits(path: Path) -> Observed:
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus:
                found = _of_table(hdu) if hasattr(hdu, "columns") else _of_image(hdu)
                if found is not None:
                    header = {str(key): hdus[0].header[key] for key in hdus[0].header if key} | found[3]
                    return made(path.name, found[0], found[1], found[2], header)
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise UnreadableFileError(f"a spectrum in {path}", str(error), "check that the file is whole") from error
    remedy = "an image needs CRVAL1 and CDELT1 (or CD1_1), a table columns named wave and flux"
    raise UnreadableFileError(f"a spectrum in {path}", "neither an image with a scale nor a table of one", remedy)


def _of_image(hdu: Any) -> tuple[Any, Any, Any, Header] | None:
    """Read an image whose first axis is wavelength; of IRAF's bands the first is the flux, the fourth its error."""
    header = hdu.header
    step = header.get("CDELT1") or header.get("CD1_1")
    if hdu.data is None or "CRVAL1" not in header or not step:
        return None
    data = np.asarray(hdu.data, dtype=np.float64)
    bands = data.reshape(-1, data.shape[-1])
    wave = float(header["CRVAL1"]) + (np.arange(bands.shape[1]) + 1.0 - float(header.get("CRPIX1", 1.0))) * float(step)
    if int(header.get("DC-FLAG", 0)) == 1 or "LOG" in str(header.get("CTYPE1", "")).upper():
        wave = 10.0**wave
    own = {key: header[key] for key in ("CTYPE1", "CUNIT1", "AIRORVAC") if key in header}
    return wave, bands[0], bands[3] if len(bands) >= 4 else None, own


def _of_table(hdu: Any) -> tuple[FloatArray, FloatArray, FloatArray | None, Header] | None:
    names = {str(name).lower(): str(name) for name in hdu.columns.names}
    wave, flux = _named(hdu, names, _WAVES), _named(hdu, names, _FLUXES)
    if wave is None or flux is None:
        return None
    if "loglam" in names and wave.max() < 10:
        wave = 10.0**wave
    error = _named(hdu, names, _ERRORS)
    variance, inverse = _named(hdu, names, _VARIANCES), _named(hdu, names, _INVERSES)
    if error is None and variance is not None:
        error = np.sqrt(np.maximum(variance, 0.0))
    if error is None and inverse is not None:
        error = 1.0 / np.sqrt(np.maximum(inverse, 1e-300))
    vacuum = {"AIRORVAC": "vac"} if "loglam" in names else {}
    return wave, flux, error, {**{key: hdu.header[key] for key in ("AIRORVAC",) if key in hdu.header}, **vacuum}


def _named(hdu: Any, names: dict[str, str], wanted: tuple[str, ...]) -> FloatArray | None:
    for name in wanted:
        if name in names:
            return np.asarray(hdu.data[names[name]], dtype=np.float64).ravel()
    return None


def made(name: str, wave: FloatArray, flux: FloatArray, error: FloatArray | None, header: Header) -> Observed:
    """Return a spectrum in order: Angstrom, air, increasing, masked where it cannot be used.

    Raises `UnreadableFileError` where fewer than 30 points can be used.
    """
    caveats: list[Caveat] = []
    scaled = _angstrom(name, wave, caveats)
    order = _in_order(scaled, caveats)
    wave, flux = scaled[order], flux[order]
    good = np.isfinite(flux)
    if not good.all():
        caveats.append(Caveat("spectrum.not_finite", f"{int((~good).sum())} points are not finite and were left out"))
    finite = int(good.sum())
    _leave_out(flux, good, caveats)
    if int(good.sum()) < LEAST_POINTS:
        empty = f", {finite - int(good.sum())} of zero flux or spikes" if finite > good.sum() else ""
        found = f"{int(good.sum())} points with finite wavelength and flux{empty}"
        raise UnreadableFileError(
            f"a spectrum of at least {LEAST_POINTS} points: {name}", found, "give the whole spectrum"
        )
    var = _variance(flux, None if error is None else error[order], good, caveats)
    _of_gaps(wave[good], caveats)
    if _is_vacuum(header):
        wave = to_air(wave)
    behind, ends = gaps(wave, MISSING)
    at = np.repeat(behind, 2)  # bins that are not there leave a gap: else those beside it would widen to fill it
    filled, kept = (np.insert(np.where(good, one, 0.0), at, 0.0) for one in (flux, flux if var is None else var))
    return Observed(
        name,
        np.insert(wave, at, ends.ravel()),
        filled,
        np.zeros_like(kept) if var is None else kept,
        np.insert(good, at, False),
        var is not None,
        0.0,
        header,
        tuple(caveats),
    )


def _leave_out(flux: FloatArray, good: NDArray[np.bool_], caveats: list[Caveat]) -> None:
    """Mask what is no data, in place, and tell what looks like none: gaps of zeros, spikes, a saturated top."""
    zero = runs(good & (flux == 0.0), EMPTY)
    if zero.any():
        caveats.append(
            Caveat("spectrum.empty", f"{int(zero.sum())} points of exactly zero flux hold no data: left out")
        )
        good &= ~zero
    spike = spikes(flux, good)
    if spike.any():
        text = f"{int(spike.sum())} single points far from both neighbours were left out: cosmic rays or bad pixels"
        caveats.append(Caveat("spectrum.spikes", text))
        good &= ~spike
    if not good.any():
        return
    top = runs(good & (flux == flux[good].max()), EMPTY)
    if top.any() and top.sum() < good.sum():
        text = f"{int(top.sum())} points in a row have exactly the largest flux: saturated?"
        caveats.append(Caveat("spectrum.saturated", text))


def _in_order(wave: FloatArray, caveats: list[Caveat]) -> NDArray[np.intp]:
    """Return which points to take so that wavelengths increase: those that are finite, of equal ones the first."""
    kept = np.flatnonzero(np.isfinite(wave))
    if len(kept) < len(wave):
        text = f"{len(wave) - len(kept)} points have no finite wavelength and were left out"
        caveats.append(Caveat("spectrum.not_finite", text))
    step = np.diff(wave[kept])
    if len(step) and np.all(step <= 0) and np.any(step < 0):
        caveats.append(Caveat("spectrum.descending", "the wavelengths descended and were turned round"))
    elif np.any(step < 0):
        caveats.append(Caveat("spectrum.order", "the wavelengths were in no order and were sorted"))
    order = kept[np.argsort(wave[kept], kind="stable")]
    return order[np.concatenate([[True], np.diff(wave[order]) > 0])] if len(order) else order


def _of_gaps(wave: FloatArray, caveats: list[Caveat]) -> None:
    """Tell of gaps as broad as a feature: what would lie there is not seen."""
    step = np.diff(wave)
    wide = np.flatnonzero((step > 10.0 * np.median(step)) & (step > GAP * wave[:-1]))
    if len(wide):
        where = ", ".join(f"{wave[k]:.0f} to {wave[k + 1]:.0f}" for k in wide)
        caveats.append(Caveat("spectrum.gap", f"no data from {where} Angstrom"))


def _angstrom(name: str, wave: FloatArray, caveats: list[Caveat]) -> FloatArray:
    """Return wavelengths in Angstrom; raises `UnreadableFileError` where no unit makes them wavelengths of light."""
    finite = wave[np.isfinite(wave)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    if LOGARITHMS[0] < low and high < LOGARITHMS[1]:
        caveats.append(Caveat("spectrum.unit", f"wavelengths up to {high:g} were taken for logarithms of Angstrom"))
        return np.asarray(10.0**wave)
    for below, factor, unit in UNITS:
        if 0.0 < high < below:
            if low * factor < BLUEST:
                found = f"numbers from {low:g} to {high:g}: the numbers of pixels?"
                raise UnreadableFileError(f"wavelengths in {name}", found, "give wavelengths in the first column")
            if factor != 1.0:
                caveats.append(Caveat("spectrum.unit", f"wavelengths up to {high:g} were taken for {unit}"))
            return np.asarray(wave * factor, dtype=np.float64)
    return np.asarray(wave, dtype=np.float64)


def _variance(
    flux: FloatArray, error: FloatArray | None, good: NDArray[np.bool_], caveats: list[Caveat]
) -> FloatArray | None:
    """Return the variance from the third column; None, with a caveat, where it cannot be one."""
    if error is None:
        return None
    usable = good & np.isfinite(error) & (error > 0)
    if usable.sum() < 0.5 * good.sum():
        text = "most errors are zero, negative or not finite: the noise is told from the scatter instead"
        caveats.append(Caveat("spectrum.errors", text))
        return None
    if usable.sum() < good.sum():
        count = int((good & ~usable).sum())
        caveats.append(Caveat("spectrum.errors", f"{count} points without a positive error were left out"))
        good &= usable
    size = float(np.median(np.abs(flux[usable])))
    typical = float(np.median(error[usable]))
    steps = np.diff(flux[usable])
    if size < NO_SIGNAL * typical and TOO_STEADY * 1.05 * float(np.median(np.abs(steps - np.median(steps)))) < typical:
        text = (
            f"the third column, {typical:.2g} for a flux of {size:.2g}, is no error: the noise is told from the scatter"
        )
        caveats.append(Caveat("spectrum.errors", text))
        return None
    if size < 1e-9 and float(np.median(error[usable])) < 1e-6 * size:
        caveats.append(
            Caveat("spectrum.variance", "the third column is far below the flux: it was taken for a variance")
        )
        return np.where(usable, error, 0.0)
    return np.where(usable, error, 0.0) ** 2


def _is_vacuum(header: Header) -> bool:
    words = " ".join(str(header.get(key, "")) for key in ("AIRORVAC", "WAVELENGTH", "VACUUM")).lower()
    return "vac" in words or words.strip() in ("t", "true")
