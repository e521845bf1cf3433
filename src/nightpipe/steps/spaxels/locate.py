"""Where the target is among the lenslets: by astrometry, by a person, or the brightest thing there is."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.step import Step, parameter
from nightpipe.maths.hexagons import hexagon_of
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.exposure import FrameType
from nightpipe.model.scene import Placed
from nightpipe.steps.spaxels.forced import force
from nightpipe.steps.spaxels.pixels import Pixels, pixels_of, scale_of
from nightpipe.steps.spaxels.white import matched, odd_lenslets, white_residual

FloatArray = NDArray[np.float64]


class LocateTarget(Step):
    """Say where the target is expected: where a person or astrometry has it, else the brightest source.

    Standards are always the brightest source. Where only the telescope's pointing is known, it confines the search:
    what alone stands out within two errors of it is believed to be the target (``header``); with a rival beside it,
    or farther off, it is no more than the brightest source.
    """

    version: ClassVar[int] = 2
    east: float | None = parameter(None, "where a person has the target, from the field's middle", unit="arcsec")
    north: float | None = parameter(None, "where a person has the target, from the field's middle", unit="arcsec")
    centre_error: float = parameter(0.4, "how well a person places it", unit="arcsec", gt=0)
    seeing: float = parameter(1.9, "FWHM of the source that is searched for", unit="arcsec", gt=0.5, le=6)
    least: float = parameter(6.0, "significance below which there is no source", unit="sigma", ge=3)
    sure: float = parameter(1.5, "error up to which astrometry is taken as it is", unit="arcsec", gt=0)
    rival: float = parameter(
        0.3, "significance of a second source, over that of the first, from which pointing alone tells no target", gt=0
    )
    low: float = parameter(5000.0, "first wavelength of the white light", unit="Angstrom", ge=3700)
    high: float = parameter(8500.0, "last wavelength of the white light", unit="Angstrom", le=10000)

    def run(self, spectra: SpaxelSpectra, place: Placed | None = None) -> Placed:
        """Return where the target is expected, with the error of it; `place` is what astrometry says."""
        if self.east is not None and self.north is not None:
            return Placed(self.east, self.north, np.eye(2) * self.centre_error**2, "person")
        standard = spectra.exposure is not None and spectra.exposure.type == FrameType.STANDARD
        if standard or place is None:
            return self._brightest(spectra, None, standard=standard)
        if not _inside(spectra, place.east, place.north):
            text = f"astrometry puts the target outside the field ({place.east:.1f}, {place.north:.1f} arcsec)"
            found = self._brightest(spectra, None, standard=False)
            told = tuple(one for one in found.caveats if one.code != "place.brightest")  # there is astrometry
            return replace(found, caveats=merged(place.caveats, told, (Caveat("place.outside", text),)))
        if place.error <= self.sure:
            return place
        return self._brightest(spectra, place, standard=False)

    def _brightest(self, spectra: SpaxelSpectra, place: Placed | None, *, standard: bool) -> Placed:
        pixels = pixels_of(spectra, scale_of(spectra, self.low, self.high), np.zeros(len(spectra), dtype=bool))
        total, error = self._white(pixels)
        area = hexagon_of(spectra.q, spectra.r, spectra.east, spectra.north).area
        level = float(np.median(error[error > 0]))  # weights alike: with photon noise, bright peaks would count less
        even = np.where(error > 0, level, 0.0)
        found = matched(total, even, spectra.east, spectra.north, self.seeing, area)
        if place is not None:
            found = np.where(_off(spectra, place.east, place.north) < 3.0 * place.error, found, -np.inf)
        best = int(np.argmax(found))
        caveats = () if place is None else place.caveats
        if not found[best] > self.least:
            east, north = (0.0, 0.0) if place is None else (place.east, place.north)
            text = f"no source stands out ({max(float(found[best]), 0.0):.1f} sigma): the spectrum is that of the place"
            size = np.eye(2) * (1.0 if place is None else place.error**2)
            return Placed(east, north, size, "middle", caveats=merged(caveats, (Caveat("place.nothing", text),)))
        east, north = _centroid(spectra, total, error, best, self.seeing)
        how, told = ("brightest", ()) if standard else self._believed(spectra, found, (east, north), place)
        spread = float(found[best])
        return Placed(east, north, np.eye(2) * 0.3**2, how, spread=spread, caveats=merged(caveats, told))

    def _believed(
        self, spectra: SpaxelSpectra, found: FloatArray, at: tuple[float, float], place: Placed | None
    ) -> tuple[str, tuple[Caveat, ...]]:
        """Return how the brightest source came to be the target, and what a user must know of that."""
        if place is None:
            text = "no astrometry: the brightest source was taken for the target"
            return "brightest", (Caveat("place.brightest", text),)
        away = float(np.hypot(at[0] - place.east, at[1] - place.north))
        others = found[_off(spectra, *at) > 1.5 * self.seeing]
        second = float(others.max(initial=-np.inf)) / float(found.max())
        if away > 2.0 * place.error:
            text = f"the brightest source was taken, {away:.1f} arcsec from where the telescope pointed"
            return "brightest", (Caveat("place.brightest", text),)
        if second > self.rival:
            text = f"the brightest of several sources was taken (the next has {second:.0%} of its significance)"
            return "brightest", (Caveat("place.brightest", text),)
        text = f"the only source near where the telescope pointed was taken, {away:.1f} arcsec off"
        return place.how, (Caveat("place.pointing", f"the place is known to {place.error:.1f} arcsec: {text}"),)

    def _white(self, pixels: Pixels) -> tuple[FloatArray, FloatArray]:
        """Return white light without sky, and its error, lenslet by lenslet."""
        use = np.ones(len(pixels), dtype=bool)
        gains = np.array([np.zeros(len(pixels)), pixels.step])
        for _ in range(3):
            forced = force(pixels, gains, use)
            use = ~odd_lenslets(pixels, forced)[pixels.spaxel]
        residual = pixels.flux - forced.model
        usual = np.maximum(median_filter(residual, size=9), 0.0)  # pixels lie in order along each spectrum
        calm = residual - usual < 8.0 * np.sqrt(pixels.var + usual) + 0.5 * usual
        return white_residual(pixels, residual, calm, self.low, self.high)


def _inside(spectra: SpaxelSpectra, east: float, north: float) -> bool:
    """Tell whether a place has lenslets with light around it: one within a pitch."""
    lit = spectra.good.any(axis=1)
    away = np.hypot(spectra.east[lit] - east, spectra.north[lit] - north)
    return bool(away.size and away.min() < hexagon_of(spectra.q, spectra.r, spectra.east, spectra.north).pitch)


def _off(spectra: SpaxelSpectra, east: float, north: float) -> FloatArray:
    """Return how far each lenslet is from a place [arcsec]."""
    return np.asarray(np.hypot(spectra.east - east, spectra.north - north))


def _centroid(
    spectra: SpaxelSpectra, total: FloatArray, error: FloatArray, best: int, fwhm: float
) -> tuple[float, float]:
    """Return the centroid of light under a Gaussian window that follows it (after SExtractor's windowed positions)."""
    east, north = float(spectra.east[best]), float(spectra.north[best])
    for _ in range(10):
        d2 = (spectra.east - east) ** 2 + (spectra.north - north) ** 2
        weight = np.where(error > 0, np.exp(-0.5 * d2 / (0.42 * fwhm) ** 2) * total, 0.0)
        if not weight.sum() > 0:
            break
        step = np.array([weight @ (spectra.east - east), weight @ (spectra.north - north)]) / weight.sum()
        step = np.clip(2.0 * step, -0.5, 0.5)
        east, north = east + float(step[0]), north + float(step[1])
        if np.hypot(*step) < 0.005:
            break
    if np.hypot(east - spectra.east[best], north - spectra.north[best]) > 1.5:
        return float(spectra.east[best]), float(spectra.north[best])
    return east, north
