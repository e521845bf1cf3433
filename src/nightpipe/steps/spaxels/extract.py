"""Extraction of lenslet spectra: neighbours deblended, scattered light in the same solve, native pixels."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import merged
from nightpipe.base.step import Step, parameter
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.flags import UNUSABLE, Flag
from nightpipe.model.frame import Frame
from nightpipe.model.spaxels import Spaxel, SpaxelSet, SpaxelWaves
from nightpipe.steps.spaxels.deblend import Deblend, Places, Rules, Solution, flux_variance

FloatArray = NDArray[np.float64]
CORE = 0.1
"""Pixels with this share of a spectrum's light in a column pass their flags on to it."""


class ExtractSpaxels(Step):
    """Extract all lenslets' spectra at once: overlapping profiles deblended, scattered light in the same solve."""

    version: ClassVar[int] = 1
    spacing: float = parameter(
        56.0, "knots of the scattered light's surface; 0: no scattered light", unit="pixel", ge=0
    )
    grain: float = parameter(0.008, "relative rms of the pixels' response that no flat corrects", ge=0, lt=0.2)
    mismatch: float = parameter(0.02, "error granted to the profile when pixels are rejected, relative", ge=0, lt=1)
    clip: float = parameter(5.0, "pixels off the profile by more than this are rejected", unit="sigma", gt=2)
    rounds: int = parameter(8, "rounds of rejection at most", ge=0, le=30)
    least: float = parameter(0.6, "least share of a spectrum's light in a column on good pixels", gt=0, le=1)

    def run(self, frame: Frame, spaxels: SpaxelSet, waves: SpaxelWaves | None = None) -> SpaxelSpectra:
        """Return the spectra with variance, mask and scattered light; without `waves` their wavelengths are 0.

        The frame is the sum of the lenslets' profiles, integrated over pixels, times their fluxes, and of a smooth
        surface. All are one weighted linear least-squares problem; weights come from the model, as weights from noisy
        data make low pixels count more. The scattered light needs the whole frame: a surface through a column's gaps
        alone would add a tenth to the variance of each flux, the common one adds nothing.

        Raises
        ------
        BadFrameError
            The frame has another shape than the geometry, or no spectrum lies on it.
        """
        work = Deblend(frame, spaxels, Rules(self.spacing, self.grain, self.mismatch, self.clip, self.rounds))
        solution = work.solve()
        spread = work.places.spread
        return SpaxelSpectra(
            flux=spread(solution.found.flux).astype(np.float32),
            var=spread(flux_variance(work, solution)).astype(np.float32),
            mask=_mask(work, solution, spaxels, self.least),
            scatter=spread(solution.found.under).astype(np.float32),
            first=work.places.first,
            **along(work.places, spaxels, waves)._asdict(),
            east=spaxels.east,
            north=spaxels.north,
            q=spaxels.q,
            r=spaxels.r,
            exposure=frame.exposure,
            header=frame.header,
            meta=_facts(work, solution),
            caveats=merged(frame.caveats, spaxels.caveats, () if waves is None else waves.caveats),
        )


def _mask(work: Deblend, solution: Solution, spaxels: SpaxelSet, least: float) -> NDArray[np.uint32]:
    """Return the flags of each element: NO_DATA beyond the light, and why where too little of it was measured."""
    at, held = work.places, work.layout
    seen = np.where(solution.good, 0, np.where(work.frame.good, np.uint32(Flag.REJECTED), 0)).astype(np.uint32)
    seen |= work.frame.mask
    entry, j = np.nonzero(held.share > CORE)
    row = held.first[entry] + j
    inside = (row >= 0) & (row < seen.shape[1])
    core = np.zeros(at.column.size, dtype=np.uint32)
    np.bitwise_or.at(core, entry[inside], seen[at.column[entry[inside]], row[inside]])
    poor = (solution.found.kept < least) | (solution.found.var <= 0)
    flags = core & np.uint32(~int(UNUSABLE) & 0xFFFFFFFF) | core & np.uint32(Flag.SATURATED)
    flags |= np.where(poor, core & np.uint32(UNUSABLE) | np.uint32(Flag.NO_DATA), np.uint32(0))
    flags |= np.where(spaxels.state[at.lenslet] == Spaxel.DEAD, np.uint32(Flag.BAD), np.uint32(0))
    out = np.full((at.first.size, at.m), np.uint32(Flag.NO_DATA))
    out[at.lenslet, at.element] = flags
    return out


class Along(NamedTuple):
    """Wavelengths of spectra (n, m) at the pixels' middles, Angstrom a pixel covers, and FWHM of a line [Angstrom]."""

    wave: FloatArray
    step: FloatArray
    fwhm: FloatArray


def along(at: Places, spaxels: SpaxelSet, waves: SpaxelWaves | None) -> Along:
    """Return the wavelengths of the spectra; zeros without `waves`."""
    shape = (at.first.size, at.m)
    if waves is None:
        return Along(np.zeros(shape), np.zeros(shape), np.zeros(shape))
    column = at.first[:, None] + np.arange(at.m + 1) - 0.5
    edge, middle, width = np.empty(column.shape), np.empty(shape), np.empty(shape)
    trial = np.arange(waves.law_wave[0], waves.law_wave[-1], 5.0)
    law = waves.law(trial) / waves.scale
    row = spaxels.row(np.arange(shape[0]), spaxels.x)
    for k in range(shape[0]):
        place = waves.place(k, law, float(row[k]))
        edge[k] = _inverse(column[k], place, trial)
        middle[k] = _inverse(column[k, :-1] + 0.5, place, trial)
        width[k] = np.polynomial.polynomial.polyval(np.interp(middle[k], trial, law), waves.fwhm_px[k])
    step = np.diff(edge, axis=1)
    return Along(middle, step, width * step)


def _inverse(column: NDArray[Any], place: FloatArray, trial: FloatArray) -> FloatArray:
    """Return the wavelengths at columns; straight on beyond the law's ends, and where it turns back."""
    rising = np.concatenate([[True], place[1:] > np.maximum.accumulate(place)[:-1]])
    x, wave = place[rising], trial[rising]
    out = np.interp(column, x, wave)
    low, high = column < x[0], column > x[-1]
    out[low] = wave[0] + (column[low] - x[0]) * (wave[1] - wave[0]) / (x[1] - x[0])
    out[high] = wave[-1] + (column[high] - x[-1]) * (wave[-1] - wave[-2]) / (x[-1] - x[-2])
    return out


def _facts(work: Deblend, solution: Solution) -> dict[str, str | int | float | bool]:
    """Return how much light was scattered, how many pixels were rejected, and how well the model fits."""
    model = work.model(solution)
    use = solution.weight > 0
    pull = np.square(work.data - model) * solution.weight
    light, under = float(solution.found.flux.sum()), float(np.maximum(solution.scatter, 0.0).sum())
    return {
        "scattered_share": under / max(light + under, 1e-30),
        "rejected_pixels": int((work.frame.good & ~solution.good).sum()),
        "chi2_pixel": float(pull[use].mean()) if use.any() else 0.0,
        "spaxels": int(work.places.first.size),
    }
