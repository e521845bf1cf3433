"""One exposure of a standard against its table: the response at points, the bad ones set apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.maths.features import STRONG_TELLURIC, balmer, in_bands, paschen
from nightpipe.maths.rebin import edges, overlap, smoothed_to, widths
from nightpipe.model.flags import Flag
from nightpipe.model.references import Extinction, Standard
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.post.air import effective_airmass, transmission

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
Row = tuple[float, float, float, int, int]
"""Wavelength, log response, error, in a stellar line?, in a telluric band?"""

CALCIUM = (3934.8, 3969.6)
POINTS = 240
"""About so many points describe the response of a whole spectrum."""
STEEP = 0.12
"""Where the logarithm of the response changes by more over three bins they are made narrower."""
WHOLE = 0.7
"""A band needs this share of its pixels."""
GAP = 1.5e-4
"""Error of a star's interpolated flux per Angstrom between bands: 1.5 per cent in 100 Angstrom."""
WORST = 0.5
"""Points with a larger relative error say nothing."""
BROADER, MOVED = 0.1, 0.05
"""By how much lines may be broader than the spectrum says, relative, and wavelengths be off, in line widths."""
MATTERS = 0.012
"""Where this changes the star's flux by more, relative, its lines are left out."""
FINER = 4.0
"""A table that resolves lines so much better than the instrument says what these look like; else they are left out."""
THROUGH = 0.5
"""Bands that hide more are not corrected well enough for a point."""
UNSURE = 0.1
"""Error of a band's correction, relative to what the band hides."""


ARRAYS = ("wave", "value", "error", "clear", "telluric", "hidden")


@dataclass(frozen=True)
class Points:
    """Natural log of the response at `wave`, with the `error` from counting; `clear` of lines and bands.

    `telluric` marks points that only the atmosphere spoils, `hidden` is what its bands took and was put back; `name`
    says star and exposure, `saturated` is the share of saturated bins, `fwhm` the instrument's line width [Angstrom].
    """

    name: str
    star: str
    wave: FloatArray
    value: FloatArray
    error: FloatArray
    clear: Bools
    telluric: Bools
    hidden: FloatArray
    saturated: float
    fwhm: float
    caveats: tuple[Caveat, ...] = ()

    def only(self, keep: Bools) -> Points:
        """Return the points where `keep` holds."""
        arrays = {name: getattr(self, name)[keep] for name in ARRAYS}
        return replace(self, **arrays)


@dataclass(frozen=True)
class Rate:
    """Electrons per second and Angstrom above the atmosphere, `var`, which bins are `good`, and what the air's bands
    have `hidden` of them before it was put back (NaN: they were not corrected).
    """

    wave: FloatArray
    value: FloatArray
    var: FloatArray
    good: Bools
    fwhm: FloatArray
    hidden: FloatArray


def measure(spectrum: Spectrum, standard: Standard, extinction: Extinction | None) -> Points:
    """Return the response at points: in the table's bands, or where the table is a spectrum, in bins of our own.

    Table and counts are compared over the same wavelengths, the table at the instrument's resolution.
    """
    rate, caveats = _rate(spectrum, extinction)
    if is_spectrum(standard):
        expected = _at_resolution(rate, standard)
        doubt = _doubt(rate, standard, expected)
        rows = _in_bins(rate, expected, (standard.wave[0], standard.wave[-1]), doubt)
    else:
        rows = [*_in_bands(rate, standard), *_between_bands(rate, standard)]
    table = np.array([row for row in rows if row is not None and row[2] < WORST]).reshape(-1, 5)
    wave, value, error, stellar, telluric = table.T
    saturated = float(np.mean((spectrum.mask & np.uint32(Flag.SATURATED | Flag.NONLINEAR)) != 0))
    label = spectrum.exposure.name if spectrum.exposure is not None else spectrum.name
    name = f"{standard.name} {label}"
    clear = (stellar == 0) & (telluric == 0)
    hazy, fwhm = (telluric > 0) & (stellar == 0), float(np.median(rate.fwhm))
    hidden = np.interp(wave, rate.wave, np.where(np.isfinite(rate.hidden), rate.hidden, 1.0))
    return Points(name, standard.name, wave, value, error, clear, hazy, hidden, saturated, fwhm, caveats)


def template(spectrum: Spectrum, standard: Standard) -> FloatArray | None:
    """Return a standard's flux (n,) at a spectrum's resolution and wavelengths; None where its table is too coarse."""
    if not is_spectrum(standard):
        return None
    rate, _ = _rate(spectrum, None)
    return _at_resolution(rate, standard)


def is_spectrum(standard: Standard) -> bool:
    """Tell whether a table's bins touch each other and are narrow: a spectrum, not photometry in bands."""
    return bool(np.mean(standard.width <= 1.3 * widths(standard.wave)) > 0.9 and np.median(standard.width) <= 12.0)


def _rate(spectrum: Spectrum, extinction: Extinction | None) -> tuple[Rate, tuple[Caveat, ...]]:
    exptime = spectrum.exposure.exptime if spectrum.exposure is not None else float(spectrum.meta["exptime"])
    airmass, caveats = effective_airmass(spectrum.exposure)
    scale = 1.0 / (exptime * widths(spectrum.wave) * transmission(spectrum.wave, airmass, extinction))
    fwhm = np.where(np.isfinite(spectrum.fwhm) & (spectrum.fwhm > 0), spectrum.fwhm, 2.0 * widths(spectrum.wave))
    hidden = np.full(len(fwhm), np.nan) if spectrum.transmission is None else 1.0 - spectrum.transmission
    return Rate(spectrum.wave, spectrum.flux * scale, spectrum.var * scale**2, spectrum.good, fwhm, hidden), caveats


def _in_bins(
    rate: Rate, expected: FloatArray, ends: tuple[float, float], doubt: FloatArray | None = None
) -> list[Row | None]:
    """Compare with the `expected` flux in bins of a few resolution elements, pixels in lines left out one by one.

    `doubt` (n,) is by how much the expected flux may be wrong in the star's lines: where by little they stay.
    """
    usable = rate.good & (rate.wave >= ends[0]) & (rate.wave <= ends[1]) & (expected > 0)
    lines, sky = _stellar(rate.wave, rate.fwhm, 0.0), in_bands(rate.wave, STRONG_TELLURIC)
    if doubt is not None:
        lines &= ~(doubt < MATTERS)
    which = _bins(rate)
    where = usable, lines, sky
    wrong = np.zeros(len(expected)) if doubt is None else np.where(np.isfinite(doubt), doubt, 0.0)
    rows = [_bin(rate, expected, where, which == k, wrong) for k in range(which[-1] + 1)]
    fine: list[Row | None] = []
    for k, row in enumerate(rows):
        inside = np.flatnonzero(which == k)
        parts = np.array_split(inside, _parts(rows, k, len(inside)))
        fine += [row] if len(parts) < 2 else [_bin(rate, expected, where, _among(which, part), wrong) for part in parts]
    return fine


def _bins(rate: Rate) -> NDArray[np.int_]:
    """Return the number of each pixel's bin: some three line widths broad, but no more than `POINTS` bins in all."""
    size = np.maximum((rate.wave[-1] - rate.wave[0]) / POINTS, 3.0 * rate.fwhm)
    count = np.concatenate([[0.0], np.cumsum(np.diff(rate.wave) * 2.0 / (size[1:] + size[:-1]))])
    whole = max(round(float(count[-1])), 1)
    return np.minimum((count * whole / count[-1]).astype(int), whole - 1)


def _doubt(rate: Rate, standard: Standard, expected: FloatArray) -> FloatArray:
    """Return by how much the expected flux (n,) may be wrong, relative, for lines are broader or lie elsewhere.

    Infinite where the table's own bins hide what the lines look like.
    """
    broader = _at_resolution(rate, standard, 1.0 + BROADER)
    moved = np.interp(rate.wave + MOVED * rate.fwhm, rate.wave, expected)
    wrong = np.hypot(broader - expected, moved - expected)
    known = FINER * 2.0 * np.interp(rate.wave, standard.wave, standard.width) < rate.fwhm
    return np.where(known & (expected > 0), wrong / np.where(expected > 0, expected, 1.0), np.inf)


def _among(which: NDArray[np.int_], part: NDArray[np.intp]) -> Bools:
    inside = np.zeros(len(which), dtype=bool)
    inside[part] = True
    return inside


def _parts(rows: list[Row | None], k: int, pixels: int) -> int:
    """Return into how many bins the k-th goes: more where the response changes much from bin to bin, and at the ends,
    for the response reaches no further than the outermost bin's middle.
    """
    beside = [rows[j] for j in (k - 1, k, k + 1) if 0 <= j < len(rows)]
    values = [row[1] for row in beside if row is not None]
    change = max(values) - min(values) if len(values) > 1 else 0.0
    least = min(max(pixels // 3, 1), 3) if k in (0, len(rows) - 1) else 1
    return int(np.clip(change / STEEP, least, max(pixels // 4, least)))


def _bin(
    rate: Rate, expected: FloatArray, where: tuple[Bools, Bools, Bools], inside: Bools, doubt: FloatArray
) -> Row | None:
    """Return one bin: without its lines and bands where enough is left, else with them and marked."""
    usable, lines, sky = where
    choices = ((~lines & ~sky, 0, 0), (~lines, 0, 1), (~sky, 1, 0), (np.ones_like(sky), 1, 1))
    enough = max(3, 0.35 * inside.sum())
    found = next((choice for choice in choices if (usable & choice[0] & inside).sum() >= enough), None)
    if found is None:
        return None
    choice, stellar, telluric = found
    keep = usable & choice & inside
    width = widths(rate.wave)[keep]
    counts, flux = float(np.sum(rate.value[keep] * width)), float(np.sum(expected[keep] * width))
    if counts <= 0:
        return None
    error = float(np.sqrt(np.sum(rate.var[keep] * width**2))) / counts
    error = float(np.hypot(error, np.average(doubt[keep], weights=width * expected[keep])))
    return float(np.average(rate.wave[keep], weights=width)), float(np.log(counts / flux)), error, stellar, telluric


def _at_resolution(rate: Rate, standard: Standard, broader: float = 1.0) -> FloatArray:
    """Return the table at the instrument's resolution, or so much a broader one, at the spectrum's wavelengths."""
    instrument = broader * np.interp(standard.wave, rate.wave, rate.fwhm)
    own = 2.0 * standard.width  # what a table of these bins resolves
    blurred = smoothed_to(standard.wave, standard.flux, np.sqrt(np.maximum(instrument**2 - own**2, 0.0)))
    return np.asarray(np.interp(rate.wave, standard.wave, blurred))


def _in_bands(rate: Rate, standard: Standard) -> list[Row | None]:
    """Average the counts over each band of the table that lies wholly on the detector."""
    own = edges(rate.wave)
    low, high = standard.wave - standard.width / 2, standard.wave + standard.width / 2
    wave, width = standard.wave, standard.width
    stellar = _stellar(wave, rate.fwhm, width / 2)
    telluric = in_bands(low, STRONG_TELLURIC) | in_bands(high, STRONG_TELLURIC)
    return [
        _band(rate, own, (low[k], high[k]), (float(wave[k]), float(standard.flux[k]), stellar[k], telluric[k]))
        for k in np.flatnonzero((low >= own[0]) & (high <= own[-1]) & (width > 0))
    ]


def _between_bands(rate: Rate, standard: Standard) -> list[Row | None]:
    """Compare in bins between the bands of a sparse table, its flux interpolated from bands without stellar lines.

    The instrument may change there more than the star does; what the star may do adds to the error, with the gap.
    """
    plain = ~_stellar(standard.wave, rate.fwhm, standard.width / 2)
    nodes, log_flux, half = standard.wave[plain], np.log(standard.flux[plain]), standard.width[plain] / 2
    if len(nodes) < 2:
        return []
    found: list[Row | None] = []
    for row in _in_bins(rate, np.exp(np.interp(rate.wave, nodes, log_flux)), (nodes[0], nodes[-1])):
        if row is None or row[3] or np.any(np.abs(standard.wave - row[0]) < standard.width / 2):
            continue
        after = int(np.clip(np.searchsorted(nodes, row[0]), 1, len(nodes) - 1))
        gap = nodes[after] - half[after] - nodes[after - 1] - half[after - 1]
        if gap > 0:
            found.append((row[0], row[1], float(np.hypot(row[2], GAP * gap)), row[3], row[4]))
    return found


def _band(rate: Rate, own: FloatArray, ends: tuple[float, float], band: tuple[float, float, bool, bool]) -> Row | None:
    first, last = np.searchsorted(own, ends) - (1, -1)
    first, last = max(int(first), 0), min(int(last), len(own) - 1)
    share = overlap(own[first : last + 1], np.array(ends)).toarray()[0]
    kept = share * rate.good[first:last]
    if kept.sum() < WHOLE * share.sum():
        return None
    mean = float(kept @ rate.value[first:last] / kept.sum())
    if mean <= 0:
        return None
    error = float(np.sqrt(kept**2 @ rate.var[first:last]) / kept.sum() / mean)
    wave, flux, stellar, telluric = band
    return wave, float(np.log(mean / flux)), error, int(stellar), int(telluric)


def _stellar(wave: FloatArray, fwhm: FloatArray, beyond: float | FloatArray) -> Bools:
    """Return where hydrogen or calcium lines of the star spoil the comparison: cores that the table may not resolve."""
    half = np.broadcast_to(max(1.2 * float(np.median(fwhm)), 10.0) + np.asarray(beyond), wave.shape)
    hit = np.zeros(wave.shape, dtype=bool)
    for line in (*balmer(range(3, 11)), *CALCIUM, *paschen(range(7, 12))):
        hit |= np.abs(wave - line) <= half
    return hit
