"""The arms of a spectrograph joined where they overlap, each on its own sampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.coadd import Ratio, flux_ratio
from nightpipe.model.flags import Flag
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.spectra.ongrid import on_grid

FloatArray = NDArray[np.float64]

ARRAYS = ("wave", "flux", "var", "mask", "sky", "fwhm")
EXTRAS = ("boxcar", "boxcar_var")
AIR = {"transmission": 1.0, "transmission_error": 0.0}
"""What stands for an arm that was not corrected for the air's bands."""


class Splice(Step):
    """Join a blue and a red spectrum at the wavelength where their errors are equal; nothing is averaged or resampled.

    The ratio of the arms in the overlap is measured and told. It is only applied on request: a step at the join is a
    fact about the calibration.
    """

    match: bool = parameter(False, "multiply the red arm by the ratio of the overlap")
    tolerance: float = parameter(0.1, "arms that differ by more raise a caveat", ge=0.0)
    margin: float = parameter(10.0, "bins at the end of each arm that are not used where the other has any", ge=0.0)

    def run(self, blue: Spectrum, red: Spectrum) -> Spectrum:
        """Return the joined spectrum; raises BadFrameError where units differ or blue does not begin first."""
        if blue.unit != red.unit or blue.wave[0] >= red.wave[0]:
            found = f"{blue.unit} from {blue.wave[0]:.0f}, {red.unit} from {red.wave[0]:.0f} Angstrom"
            raise BadFrameError("a blue and a red spectrum in one unit", found, "calibrate both arms, blue first")
        ratio = overlap_ratio(blue, red)
        join = self._join(blue, red)
        right = _scaled(red, ratio.value) if self.match and np.isfinite(ratio.error) else red
        meta = blue.meta | {"splice_wave": join, "splice_matched": right is not red}
        if np.isfinite(ratio.error):
            meta |= {"splice_ratio": ratio.value, "splice_ratio_error": ratio.error}
        left_part, right_part = _cut(blue, blue.wave < join), _cut(right, right.wave >= join)
        return _joined(left_part, right_part).but(meta=meta, caveats=self._caveats(ratio))

    def _join(self, blue: Spectrum, red: Spectrum) -> float:
        """Return where to change arms: the wavelength in the overlap from which red has the smaller error."""
        low, high = _overlap(blue, red)
        if low >= high:
            return 0.5 * (low + high)
        margin = int(self.margin)
        usable_blue, usable_red = blue.wave[_fit_for_use(blue)], red.wave[_fit_for_use(red)]
        low, high = usable_red[min(margin, len(usable_red) - 1)], usable_blue[max(len(usable_blue) - 1 - margin, 0)]
        if low >= high:
            return float(0.5 * (low + high))
        grid = np.linspace(low, high, 200)
        noise = [np.interp(grid, one.wave, _smooth_noise(one)) for one in (blue, red)]
        better = noise[1] < noise[0]
        return float(grid[np.argmax(better)] if better.any() else high)

    def _caveats(self, ratio: Ratio) -> tuple[Caveat, ...]:
        if not np.isfinite(ratio.error):
            return (Caveat("splice.unchecked", "the arms do not overlap enough to be compared"),)
        if abs(ratio.value - 1.0) > self.tolerance + 2.0 * ratio.error:
            text = f"blue over red is {ratio.value:.3f} +- {ratio.error:.3f} where the arms overlap"
            return (Caveat("splice.ratio", text),)
        return ()


def overlap_ratio(blue: Spectrum, red: Spectrum) -> Ratio:
    """Return flux of the blue arm over that of the red where both are calibrated; infinite error without overlap."""
    low, high = _overlap(blue, red)
    inside = (blue.wave > low) & (blue.wave < high)
    if low >= high or inside.sum() < 3 * 8:
        return Ratio(1.0, np.inf, 0.0)
    moved = on_grid(red, blue, same=0.0)
    good = inside & _fit_for_use(blue) & moved.good & moved.steady
    return flux_ratio(blue.flux, moved.flux, (blue.var, moved.var), good)


def _fit_for_use(spectrum: Spectrum) -> NDArray[np.bool_]:
    return spectrum.good & ((spectrum.mask & np.uint32(Flag.NO_FLUX | Flag.TELLURIC)) == 0)


def _overlap(blue: Spectrum, red: Spectrum) -> tuple[float, float]:
    ends_blue, ends_red = (one.wave[_fit_for_use(one)] for one in (blue, red))
    if len(ends_blue) == 0 or len(ends_red) == 0:
        raise BadFrameError("calibrated bins in both arms", "none in one of them", "look at the response of that arm")
    return float(ends_red[0]), float(ends_blue[-1])


def _smooth_noise(spectrum: Spectrum) -> FloatArray:
    """Return the running median of the error of flux per square root of Angstrom."""
    from scipy.ndimage import median_filter

    noise = spectrum.err * np.sqrt(np.gradient(spectrum.wave))
    return np.asarray(median_filter(noise, size=31, mode="nearest"))


def _scaled(spectrum: Spectrum, factor: float) -> Spectrum:
    return spectrum.but(
        flux=spectrum.flux * factor,
        var=spectrum.var * factor**2,
        sky=spectrum.sky * factor,
        boxcar=None if spectrum.boxcar is None else spectrum.boxcar * factor,
        boxcar_var=None if spectrum.boxcar_var is None else spectrum.boxcar_var * factor**2,
    )


def _cut(spectrum: Spectrum, keep: NDArray[np.bool_]) -> Spectrum:
    arrays = {name: getattr(spectrum, name) for name in (*ARRAYS, *EXTRAS, *AIR)}
    cut: dict[str, Any] = {name: None if array is None else array[keep] for name, array in arrays.items()}
    correlation = None if spectrum.correlation is None else _closed(spectrum.correlation[:, keep])
    return replace(spectrum, **cut, correlation=correlation)


def _closed(correlation: FloatArray) -> FloatArray:
    """Return the correlation without what the last bins had in common with bins that were cut off."""
    result = correlation.copy()
    for lag in range(1, len(result) + 1):
        result[lag - 1, -lag:] = 0.0
    return result


def _joined(blue: Spectrum, red: Spectrum) -> Spectrum:
    arrays: dict[str, Any] = {name: np.concatenate([getattr(blue, name), getattr(red, name)]) for name in ARRAYS}
    for name in EXTRAS:
        parts = (getattr(blue, name), getattr(red, name))
        arrays[name] = None if parts[0] is None or parts[1] is None else np.concatenate(parts)
    for name, plain in AIR.items():
        parts = (getattr(blue, name), getattr(red, name))
        filled = [
            np.full(len(one.wave), plain) if part is None else part
            for one, part in zip((blue, red), parts, strict=True)
        ]
        arrays[name] = None if parts[0] is None and parts[1] is None else np.concatenate(filled)
    correlation, caveats = _side_by_side(blue, red), merged(blue.caveats, red.caveats)
    return replace(blue, **arrays, correlation=correlation, caveats=caveats)


def _side_by_side(blue: Spectrum, red: Spectrum) -> FloatArray | None:
    parts = [one.correlation if one.correlation is not None else np.zeros((0, len(one.wave))) for one in (blue, red)]
    lags = max(len(part) for part in parts)
    if lags == 0:
        return None
    return np.concatenate([np.pad(part, ((0, lags - len(part)), (0, 0))) for part in parts], axis=1)
