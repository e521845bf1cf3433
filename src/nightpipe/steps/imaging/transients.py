"""Which peaks of a difference are sources: judged by shape, sign, neighbours, and what lies beneath."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.model.difference import Difference
from nightpipe.model.flags import UNUSABLE, Flag
from nightpipe.model.sources import Sources

FloatArray = NDArray[np.float64]
SHAPE, DIPOLE, MASKED, SATURATED, SHARP = 1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12
"""The bits of `Sources.quality` that make a candidate bogus."""


TRIMMED = 0.9
"""The worst tenth of the pixels is left out of chi2: a neighbour's residue at the edge makes no source bogus."""
BROAD = 0.6
"""Less of the PSF's light than this in the centre: a smear, not a point."""


OWN = ("x", "y", "flux", "error", "bits", "mask")
JUDGED = ("significance", "chi2", "sharpness", "dipole", "score", "host")
"""What is known of a candidate: what every source has, and its columns."""


class FindTransients(Step):
    """Find sources that appeared (or faded) in a difference, and tell real ones from residues."""

    version: ClassVar[int] = 2

    threshold: float = parameter(6.0, "least significance", unit="sigma", gt=1)
    faded: bool = parameter(False, "also what is fainter than in the reference")
    chi2: float = parameter(2.5, "largest reduced chi2 of the PSF on a candidate", gt=0)
    mismatch: float = parameter(0.12, "share of the peak by which PSF and candidate may differ beyond the noise", ge=0)
    dipole: float = parameter(0.5, "largest opposite peak nearby, as a share of the candidate's", gt=0)
    masked: float = parameter(0.25, "largest share of the PSF's light that falls on bad pixels", ge=0, le=1)
    bright: float = parameter(3.0, "FWHM around saturated pixels in which nothing is believed", unit="FWHM", ge=0)

    def run(self, difference: Difference) -> Sources:
        """Return all candidates, the most significant first; those with ``quality == 0`` are real.

        `flux` [electron/s] is that of the matched filter. Columns: ``significance``, ``chi2`` of the PSF within a
        FWHM, ``sharpness`` (the light of the centre's 3 x 3 pixels over what the PSF says; cosmic rays are sharp),
        ``dipole``, ``host`` (the reference's light under the filter over the candidate's), ``score`` (0 to 1, at 0.5
        the limit), ``ra``, ``dec``, ``mag``, ``mag_error``.
        """
        sign = np.sign(difference.significance) if self.faded else 1.0
        score = difference.significance * sign
        size = 2 * int(np.ceil(difference.fwhm / 2)) + 1
        top = ndimage.maximum_filter(score, size)
        y, x = np.nonzero((score == top) & (score > self.threshold))
        order = np.argsort(-score[y, x], kind="stable")
        y, x = y[order], x[order]
        saturated = (difference.mask & np.uint32(Flag.SATURATED)) != 0
        far = ndimage.distance_transform_edt(~saturated) if saturated.any() else np.full(score.shape, np.inf)
        peaks: dict[tuple[int, int], float] = {}
        for j, i in zip(y, x, strict=True):
            place = _climbed(difference.flux, int(j), int(i), int(np.ceil(difference.fwhm / 2)))
            peaks.setdefault(place, abs(float(difference.significance[j, i])))
        rows = [self._judged(difference, *place, value, float(far[place])) for place, value in peaks.items()]
        return _sources(difference, rows)

    def _judged(self, difference: Difference, j: int, i: int, value: float, far: float) -> dict[str, float]:
        """Return what is known of the candidate at a pixel whose significance is `value`."""
        dy, dx = _peak(difference.flux, j, i)
        flux = float(difference.flux[j, i])
        chi2, sharp, share = _shape(difference, j, i, dy, dx, flux, self.mismatch)
        opposite = _opposite(difference, j, i, value * float(np.sign(flux)))
        bits = (
            SHAPE * (chi2 > self.chi2 or sharp < BROAD)
            | DIPOLE * (opposite > self.dipole)
            | MASKED * (share > self.masked)
        )
        bits |= SATURATED * (far < self.bright * difference.fwhm) | SHARP * (sharp > 1.5)
        limits = (self.chi2 / max(chi2, 1e-6), self.dipole / max(opposite, 1e-6), 1.5 / max(sharp, 1e-6))
        odds = min(limits)
        return {
            "x": i + dx, "y": j + dy, "flux": flux, "error": abs(flux) / value, "significance": value * np.sign(flux),
            "chi2": chi2, "sharpness": sharp, "dipole": opposite, "bits": float(bits), "score": odds / (1 + odds),
            "host": float(difference.reference[j, i] / abs(float(difference.data[j, i]) or np.nan)),
            "mask": float(difference.mask[j, i]),
        }  # fmt: skip


def _climbed(flux: NDArray[np.float32], j: int, i: int, most: int) -> tuple[int, int]:
    """Return the peak of the light next to a peak of the significance, at most `most` steps away.

    What the subtraction leaves of a host counts as noise, so that on its slope the significance has its peak farther
    out than the source.
    """
    sign = 1.0 if flux[j, i] >= 0 else -1.0
    for _ in range(most):
        rows, columns = slice(max(j - 1, 0), j + 2), slice(max(i - 1, 0), i + 2)
        v, u = divmod(int(np.argmax(sign * flux[rows, columns])), len(range(*columns.indices(flux.shape[1]))))
        step = rows.start + v, columns.start + u
        if step == (j, i):
            break
        j, i = step
    return j, i


def _peak(image: NDArray[np.float32], j: int, i: int) -> tuple[float, float]:
    """Return where the peak lies within its pixel: parabolas through three pixels along both axes."""
    if not (0 < j < image.shape[0] - 1 and 0 < i < image.shape[1] - 1):
        return 0.0, 0.0
    steps = []
    for low, high in ((image[j - 1, i], image[j + 1, i]), (image[j, i - 1], image[j, i + 1])):
        bend = float(low + high - 2 * image[j, i])
        steps.append(float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5)) if bend else 0.0)
    return steps[0], steps[1]


def _shape(
    difference: Difference, j: int, i: int, dy: float, dx: float, flux: float, mismatch: float
) -> tuple[float, float, float]:
    """Return chi2 of the PSF within a FWHM, sharpness, and the share of the PSF's light on bad pixels."""
    half = difference.psf.shape[0] // 2
    reach = min(max(round(1.2 * float(difference.fwhm)), 2), half)
    ny, nx = difference.data.shape
    rows, columns = np.arange(j - reach, j + reach + 1), np.arange(i - reach, i + reach + 1)
    inside = np.outer((rows >= 0) & (rows < ny), (columns >= 0) & (columns < nx))
    cut = np.ix_(np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1))
    moved = ndimage.shift(difference.psf, (dy, dx), order=3, mode="constant")
    core = moved[half - reach : half + reach + 1, half - reach : half + reach + 1]
    bad = ~inside | ((difference.mask[cut] & np.uint32(UNUSABLE)) != 0)
    t = np.arange(-reach, reach + 1.0)
    near = np.hypot(t[:, None], t) <= reach
    data, var = difference.data[cut].astype(float), difference.var[cut].astype(float)
    light = np.maximum(difference.reference[cut], 0)
    slack = np.square(mismatch * flux * ndimage.maximum_filter(core, 3)) + np.square(
        max(difference.floor, 0.01) * light
    )
    use = near & ~bad
    if not use.any():
        return np.inf, np.inf, 1.0
    middle = flux * core
    sky = float(np.median((data - middle)[use]))  # a host's light that the kernel did not match
    squares = np.sort((np.square(data - middle - sky) / (var + slack))[use])
    chi2 = float(squares[: int(np.ceil(TRIMMED * squares.size))].mean())
    box = (slice(reach - 1, reach + 2),) * 2
    expected = float(middle[box].sum())
    sharp = float(data[box].sum() / expected) if expected else np.inf
    peak = float(data[reach, reach] / middle[reach, reach]) if middle[reach, reach] else np.inf
    share = float((bad * np.maximum(core, 0)).sum() / np.maximum(core, 0).sum())
    return chi2, max(sharp, peak / 1.2), share


def _opposite(difference: Difference, j: int, i: int, here: float) -> float:
    """Return the largest peak of the other sign within 1.2 FWHM, as a share of this one."""
    reach = int(np.ceil(1.2 * difference.fwhm))
    cut = (slice(max(j - reach, 0), j + reach + 1), slice(max(i - reach, 0), i + reach + 1))
    return max(float((-np.sign(here) * difference.significance[cut]).max()), 0.0) / abs(here)


def _sources(difference: Difference, rows: list[dict[str, float]]) -> Sources:
    table = {name: np.array([row[name] for row in rows], float) for name in (*OWN, *JUDGED)}  # also where none is found
    x, y, flux, error = (table[name] for name in OWN[:4])
    columns = {name: table[name] for name in JUDGED}
    columns["ra"], columns["dec"] = difference.wcs.to_sky(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["mag"] = difference.zp - 2.5 * np.log10(np.abs(flux))
        columns["mag_error"] = 1.0857 * error / np.abs(flux)
        place = difference.fwhm / 2.3548 * error / np.abs(flux)
    told = (Caveat("transients.moving", "moving objects were not checked: an asteroid is a new source too"),)
    bits = table["bits"].astype(np.int32)
    return Sources(
        x, y, place, place.copy(), flux, error, table["mask"].astype(np.uint32), bits, columns,
        difference.caveats + told,
    )  # fmt: skip
